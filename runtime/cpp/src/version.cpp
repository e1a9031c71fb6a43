#include "clsclip/clsclip.hpp"

namespace clsclip {

std::string_view version() noexcept {
    return CLSCLIP_VERSION;
}

}  // namespace clsclip
