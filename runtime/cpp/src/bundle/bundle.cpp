#include "bundle/bundle.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <system_error>
#include <vector>

#include "bundle/clip_bounds.hpp"
#include "bundle/graph_inputs.hpp"
#include "bundle/graph_rules.hpp"
#include "errors.hpp"
#include "sha256.hpp"

namespace clsclip {

namespace fs = std::filesystem;

namespace {

constexpr std::uintmax_t kMostManifestBytes = std::uintmax_t{1} << 24;
constexpr std::uintmax_t kBlock = std::uintmax_t{1} << 20;
constexpr std::uintmax_t kMostUnused = 2;  ///< a file with weights is at most so many times as large as what is used of it
constexpr std::uintmax_t kMostGraphBytes = std::uintmax_t{1} << 31;      ///< protobuf's own bound
constexpr std::uintmax_t kMostTokenizerBytes = std::uintmax_t{1} << 25;  ///< as its reader takes
constexpr std::size_t kAlignment = 8;
constexpr const char* kAgain = "Get the bundle again, or export it again with clsclip-export";

/// A graph in memory, of which every byte has been looked at.
struct WalkedGraph {
    std::shared_ptr<FileBytes> file;
    OnnxModel model;
    std::string around, inside;
};

}  // namespace

struct HeldFiles {
    std::mutex mutex;
    std::map<std::string, std::shared_ptr<const WalkedGraph>, std::less<>> graphs;
    std::map<std::string, std::shared_ptr<FileBytes>, std::less<>> files;
};

namespace {

fs::path find(const fs::path& path) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (path.empty() || status.type() == fs::file_type::not_found) {
        fail<BundleError>("no such bundle: ", path, ". Give the folder that clsclip-export wrote");
    }
    if (!fs::is_directory(status)) {
        fail<BundleError>(path, error ? " cannot be opened (" + error.message() + ")" : " is a file",
                          ", and a bundle is a folder. Give the folder that clsclip-export wrote");
    }
    const fs::path folder = fs::canonical(path, error);
    if (error) {
        fail<BundleError>("cannot open ", path, ": ", error.message(), ". Give the folder that clsclip-export wrote");
    }
    return folder;
}

/// What git did to a damaged file, if it is that; else how to get another.
std::string advice(const fs::path& path, const FileEntry& entry) {
    constexpr std::uintmax_t kLookedInto = std::uintmax_t{1} << 25;
    std::error_code error;
    if (const std::uintmax_t size = fs::file_size(path, error); error || size > kLookedInto) {
        return std::string(kAgain);
    }
    std::ifstream file(path, std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    if (content.starts_with("version https://git-lfs")) {
        return "It is Git LFS's pointer in place of the file. Run: git lfs pull";
    }
    std::string unix_ends;
    for (std::size_t at = 0; at < content.size(); ++at) {
        if (content[at] != '\r' || at + 1 == content.size() || content[at + 1] != '\n') {
            unix_ends.push_back(content[at]);
        }
    }
    Sha256 digest;
    digest.update({reinterpret_cast<const std::uint8_t*>(unix_ends.data()), unix_ends.size()});
    if (digest.hex() == entry.sha256) {
        return "Git has changed its line ends (core.autocrlf). Write '* -text' into .gitattributes, and check it out "
               "again";
    }
    return std::string(kAgain);
}

[[noreturn]] void fail_damaged(const fs::path& folder, const std::string& name, std::uintmax_t size,
                               const FileEntry& entry) {
    if (size != entry.bytes) {
        fail<BundleError>(name, " in ", folder, " is damaged: it has ", size, " bytes, and the manifest says ",
                          entry.bytes, ". ", advice(folder / name, entry));
    }
    fail<BundleError>(name, " in ", folder, " is damaged: its SHA-256 is not the one in the manifest. ",
                      advice(folder / name, entry));
}

/// Files whose readers have a bound are not read beyond it, whatever the manifest states.
void check_size(const fs::path& folder, const std::string& name, std::uintmax_t bytes) {
    const std::uintmax_t most = name == kTokenizer         ? kMostTokenizerBytes
                                : name.ends_with(".onnx") ? kMostGraphBytes
                                                          : UINTMAX_MAX;
    if (bytes > most) {
        fail<BundleError>(name, " in ", folder, " is over ", most >> 20, " MiB, which is the most that is read. ", kAgain);
    }
}

/// Read a file once and compare it with what the manifest states: its bytes, or none where they are not kept. A link is
/// followed, since it is the content that is verified.
std::shared_ptr<FileBytes> verified(const fs::path& folder, const std::string& name, const FileEntry& entry, bool keep) {
    const fs::path path = folder / name;
    check_size(folder, name, entry.bytes);
    try {
        std::error_code error;
        if (const std::uintmax_t size = fs::file_size(path, error); !error && size != entry.bytes) {
            fail_damaged(folder, name, size, entry);
        }
        if (!keep) {
            const FileDigest digest(path);
            if (digest.size != entry.bytes || digest.sha256 != entry.sha256) {
                fail_damaged(folder, name, digest.size, entry);
            }
            return nullptr;
        }
        auto file = std::make_shared<FileBytes>(path, entry.bytes);
        if (file->bytes().size() != entry.bytes || file->sha256() != entry.sha256) {
            fail_damaged(folder, name, file->bytes().size(), entry);
        }
        return file;
    } catch (const std::system_error& error) {
        if (error.code().value() == ENOENT || error.code().value() == ENOTDIR || error.code().value() == ELOOP) {
            fail<BundleError>(folder, " is incomplete: ", name, " is missing, or is no regular file. ", kAgain);
        }
        fail<BundleError>("cannot read ", path, ": ", error.code().message());
    }
}

std::string joined_spans(std::span<const std::uint8_t> data, const Spans& spans) {
    std::string all;
    for (const auto& [start, end] : spans) {
        all.append(reinterpret_cast<const char*>(data.data()) + start, end - start);
    }
    return all;
}

/// A file with weights as the manifest lists it: graphs name it beside themselves.
std::string listed(std::string_view graph, const std::string& location) {
    const std::size_t slash = graph.rfind('/');
    return slash == std::string_view::npos ? location : std::string(graph.substr(0, slash + 1)) + location;
}

/// Read, verify and walk a graph. Where it keeps weights must be in the manifest.
std::shared_ptr<const WalkedGraph> walk(const fs::path& folder, const std::string& name, const Manifest& manifest) {
    auto walked = std::make_shared<WalkedGraph>();
    walked->file = verified(folder, name, manifest.files.at(name), true);
    try {
        walked->model = checked_onnx(walked->file->bytes(), name == kDetector ? detector_rules() : bundle_rules());
        check_values(name, walked->model, manifest);
    } catch (const NotOnnxError& error) {
        fail<BundleError>(name, " in ", folder, " is not an ONNX graph as exporters write them (", error.what(), "). ",
                          kAgain);
    } catch (const UnknownGraphError& error) {
        fail<BundleError>(name, " in ", folder, " ", error.what(),
                          name == kDetector ? ", and no exporter of the supported detectors writes that. Export it again"
                                            : ", and a bundle that holds that needs a newer clsclip. Upgrade clsclip");
    } catch (const OtherValuesError& error) {
        fail<BundleError>(name, " in ", folder, " ", error.what(), ". ", kAgain);
    }
    walked->around = joined_spans(walked->file->bytes(), walked->model.around);
    walked->inside = graph_bytes(walked->file->bytes(), walked->model);
    for (OnnxTensor& tensor : walked->model.tensors) {
        if (tensor.place) {
            check_file_name(tensor.place->file);
            if (!manifest.files.contains(listed(name, tensor.place->file))) {
                fail<BundleError>(name, " in ", folder, " keeps weights in ", tensor.place->file,
                                  ", which the manifest does not list, so they cannot be verified. ", kAgain);
            }
        } else if (tensor.end - tensor.start >= kSmallTensor) {
            // Moved down to where its type wants it; more bytes than that stand before it, unused.
            const std::size_t shift = tensor.start % kAlignment;
            std::uint8_t* data = walked->file->writable().data();
            std::memmove(data + tensor.start - shift, data + tensor.start, tensor.end - tensor.start);
            tensor.start -= shift;
            tensor.end -= shift;
        }
    }
    return walked;
}

}  // namespace

Bundle Bundle::open(const fs::path& path) {
    const fs::path folder = find(path);
    const fs::path place = folder / kManifest;
    std::optional<FileBytes> document;
    try {
        document.emplace(place, kMostManifestBytes);
    } catch (const std::system_error& error) {
        if (error.code().value() == EFBIG) {
            fail<BundleError>(place, " is over ", kMostManifestBytes >> 20, " MiB, so it is no manifest. ", kAgain);
        }
        if (error.code().value() == ENOENT) {
            fail<BundleError>(folder, " is not a bundle: it has no ", kManifest,
                              ". Give the folder that clsclip-export wrote");
        }
        fail<BundleError>("cannot read ", place, ": ", error.code().message());
    }
    Bundle bundle{folder,
                  parse_manifest({reinterpret_cast<const char*>(document->bytes().data()), document->bytes().size()},
                                 folder.string()),
                  document->sha256(), std::make_shared<HeldFiles>()};
    std::vector<std::string_view> required{kImageEncoder, kTrunk};
    if (bundle.has(kTextEncoder) || bundle.has(kTokenizer)) {
        required.insert(required.end(), {kTextEncoder, kTokenizer});
    } else if (!bundle.has(kWordTable)) {
        fail<BundleError>(folder, " has neither ", kTextEncoder, " nor ", kWordTable,
                          ", so it knows no words. ", kAgain);
    }
    if (bundle.manifest.presence && !bundle.manifest.presence->from_trunk) {
        required.push_back(kPresence);
    }
    if (bundle.manifest.detector) {
        required.push_back(kDetector);
    }
    for (const std::string_view name : required) {
        (void)bundle.path(name);
    }
    const std::set<std::string_view> loaded{kImageEncoder, kStem, kTextEncoder, kTrunk, kPresence};
    std::set<std::string> kept{std::string(kTokenizer), std::string(kWordTable)};
    std::map<std::string, std::uintmax_t> used;
    for (const auto& [name, entry] : bundle.manifest.files) {
        if (!name.ends_with(".onnx")) {
            continue;
        }
        auto walked = walk(folder, name, bundle.manifest);
        for (const OnnxTensor& tensor : walked->model.tensors) {
            if (tensor.place) {
                used[listed(name, tensor.place->file)] += tensor.bytes();
                if (loaded.contains(name)) {
                    kept.insert(listed(name, tensor.place->file));
                }
            }
        }
        if (loaded.contains(name)) {
            bundle.held->graphs.emplace(name, std::move(walked));
        }
    }
    for (const auto& [name, bytes] : used) {
        if (bundle.manifest.files.at(name).bytes > kMostUnused * bytes + kBlock) {
            fail<BundleError>(name, " in ", folder, " has ", bundle.manifest.files.at(name).bytes,
                              " bytes, and the graphs use ", bytes, " of them. ", kAgain);
        }
    }
    for (const auto& [name, entry] : bundle.manifest.files) {
        if (!name.ends_with(".onnx")) {
            if (auto file = verified(folder, name, entry, kept.contains(name))) {
                bundle.held->files.emplace(name, std::move(file));
            }
        }
    }
    return bundle;
}

fs::path Bundle::path(std::string_view name) const {
    if (!has(name)) {
        fail<BundleError>(folder, " has no ", name, " among the files of its manifest. ", kAgain);
    }
    return folder / name;
}

namespace {

/// A graph that is held, or is read again.
std::shared_ptr<const WalkedGraph> walked_graph(const Bundle& bundle, std::string_view name) {
    {
        const std::lock_guard lock(bundle.held->mutex);
        if (const auto found = bundle.held->graphs.find(name); found != bundle.held->graphs.end()) {
            return found->second;
        }
    }
    return walk(bundle.folder, std::string(name), bundle.manifest);
}

}  // namespace

std::vector<std::string> Bundle::outputs(std::string_view name) const {
    (void)path(name);
    std::vector<std::string> names;
    for (const OnnxValue& one : walked_graph(*this, name)->model.outputs) {
        names.push_back(one.name);
    }
    return names;
}

GraphFile Bundle::graph(std::string_view name) const {
    GraphFile graph;
    graph.path = path(name);
    graph.bundle = fingerprint;
    const std::shared_ptr<const WalkedGraph> walked = walked_graph(*this, name);
    graph.around = walked->around;
    graph.inside = walked->inside;
    graph.inputs = inputs_of(walked->model);
    graph.digests[std::string(name)] = manifest.files.at(std::string(name)).sha256;
    graph.memory.push_back(walked->file);
    std::map<std::string, std::shared_ptr<const FileBytes>> others;
    for (const OnnxTensor& tensor : walked->model.tensors) {
        std::span<const std::uint8_t> from = walked->file->bytes();
        std::uint64_t offset = tensor.start;
        if (tensor.place) {
            const std::string file = listed(name, tensor.place->file);
            auto& other = others[file];
            if (other == nullptr) {
                other = read(file);
                graph.memory.push_back(other);
                graph.digests[file] = manifest.files.at(file).sha256;
            }
            from = other->bytes();
            offset = tensor.place->offset;
        } else if (tensor.end - tensor.start < kSmallTensor) {
            continue;
        }
        if (offset > from.size() || tensor.bytes() > from.size() - offset) {
            fail<BundleError>(name, " in ", folder, " has a tensor beyond the end of its file. ", kAgain);
        }
        graph.weights.push_back({tensor.name, tensor.type, tensor.shape, from.subspan(offset, tensor.bytes())});
    }
    return graph;
}

std::shared_ptr<const FileBytes> Bundle::read(std::string_view name) const {
    (void)path(name);
    {
        const std::lock_guard lock(held->mutex);
        if (const auto found = held->files.find(name); found != held->files.end()) {
            return found->second;
        }
    }
    return verified(folder, std::string(name), manifest.files.at(std::string(name)), true);
}

void Bundle::let_go(std::string_view graph) const {
    const std::lock_guard lock(held->mutex);
    if (const auto found = held->graphs.find(graph); found != held->graphs.end()) {
        held->graphs.erase(found);
    }
    std::set<std::string> needed{std::string(kTokenizer), std::string(kWordTable)};
    for (const auto& [name, walked] : held->graphs) {
        for (const OnnxTensor& tensor : walked->model.tensors) {
            if (tensor.place) {
                needed.insert(listed(name, tensor.place->file));
            }
        }
    }
    std::erase_if(held->files, [&](const auto& one) { return !needed.contains(one.first); });
}

void Bundle::release() const {
    const std::lock_guard lock(held->mutex);
    held->graphs.clear();
    held->files.clear();
}

}  // namespace clsclip
