/// 10,000 predictions take no more memory than the first thousand.
#include <fstream>
#include <malloc.h>
#include <unistd.h>

#include "support.hpp"

using namespace clsclip;
using namespace clsclip::test;

namespace {

/// Resident memory of this process in KiB.
long resident() {
    std::ifstream file("/proc/self/statm");
    long total = 0, pages = 0;
    file >> total >> pages;
    return pages * (::sysconf(_SC_PAGESIZE) / 1024);
}

}  // namespace

TEST_CASE("Memory stays flat over 10,000 predictions", "[backend][slow]") {
    Options options;
    options.threads = 1;
    Segmenter segmenter = Segmenter::load(kTiny, options);
    const Scene scene;
    Request request;
    request.regions = {{{4, 4, 20, 16}, "red", 1}, {{0, 0, 32, 32}, "", 1}};
    long begin = 0;
    for (int round = 0; round < 10'000; ++round) {
        segmenter.set_image(scene.view());
        const Result whole = segmenter.predict({"red", "green"});
        const Result near = segmenter(scene.view(), {"red", "blue"}, request);
        if (whole.area(0) != 140 || near.area(0) == 0) {
            FAIL("round " << round);
        }
        (void)whole.rle(0);
        if (round == 999) {
            ::malloc_trim(0);
            begin = resident();
        }
    }
    ::malloc_trim(0);
    const long end = resident();
    std::printf("resident after 1,000 predictions %ld KiB, after 10,000 %ld KiB\n", begin, end);
    CHECK(static_cast<double>(end) <= 1.02 * static_cast<double>(begin));
}
