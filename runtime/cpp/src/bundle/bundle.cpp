#include "bundle/bundle.hpp"

#include <algorithm>
#include <span>
#include <system_error>
#include <vector>

#include "bundle/external_data.hpp"
#include "mapped_file.hpp"
#include "errors.hpp"
#include "sha256.hpp"

namespace clsclip {

namespace fs = std::filesystem;

namespace {

constexpr std::uintmax_t kMostManifestBytes = std::uintmax_t{1} << 24;
constexpr const char* kAgain = "Get the bundle again, or export it again with clsclip-export";

std::string sha256_of(std::span<const std::uint8_t> bytes) {
    Sha256 digest;
    digest.update(bytes);
    return digest.hex();
}

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

/// A symbolic link may point elsewhere in the bundle, never out of it.
void check_inside(const fs::path& folder, const std::string& name) {
    std::error_code error;
    const fs::path real = fs::weakly_canonical(folder / name, error);
    const auto [left, unused] = std::mismatch(folder.begin(), folder.end(), real.begin(), real.end());
    if (error || left != folder.end()) {
        fail<BundleError>(name, " in ", folder, " is a link that leaves the bundle's folder, so it is refused. ",
                          kAgain);
    }
}

/// The bytes of a file that is known to be inside; BundleError if it cannot be read.
MappedFile map(const fs::path& path) {
    try {
        return MappedFile(path);
    } catch (const std::system_error& error) {
        fail<BundleError>("cannot read ", path, ": ", error.code().message());
    }
}

void verify(const fs::path& folder, const std::string& name, const FileEntry& entry) {
    check_inside(folder, name);
    std::error_code error;
    if (!fs::is_regular_file(folder / name, error)) {
        fail<BundleError>(folder, " is incomplete: ", name, " is missing. ", kAgain);
    }
    const MappedFile file = map(folder / name);
    if (file.bytes().size() != entry.bytes) {
        fail<BundleError>(name, " in ", folder, " is damaged: it has ", file.bytes().size(),
                          " bytes, and the manifest says ", entry.bytes, ". ", kAgain);
    }
    if (sha256_of(file.bytes()) != entry.sha256) {
        fail<BundleError>(name, " in ", folder, " is damaged: its SHA-256 is not the one in the manifest. ", kAgain);
    }
}

/// The files that a graph keeps weights in, as the manifest lists them.
std::vector<std::string> external_files(const fs::path& folder, const std::string& name, const Manifest& manifest) {
    std::set<std::string> locations;
    try {
        locations = external_locations(map(folder / name).bytes());
    } catch (const NotOnnxError& error) {
        fail<BundleError>(name, " in ", folder, " is not an ONNX graph (", error.what(), "). ", kAgain);
    }
    std::vector<std::string> files;
    for (const std::string& location : locations) {
        check_file_name(location);
        // Locations are relative to the graph that names them, and verified files to the bundle.
        const std::size_t slash = name.rfind('/');
        files.push_back(slash == std::string::npos ? location : name.substr(0, slash + 1) + location);
        if (!manifest.files.contains(files.back())) {
            fail<BundleError>(name, " in ", folder, " keeps weights in ", location,
                              ", which the manifest does not list, so they cannot be verified. ", kAgain);
        }
    }
    return files;
}

}  // namespace

Bundle Bundle::open(const fs::path& path) {
    const fs::path folder = find(path);
    const fs::path place = folder / kManifest;
    std::error_code error;
    if (!fs::is_regular_file(place, error)) {
        fail<BundleError>(folder, " is not a bundle: it has no ", kManifest,
                          ". Give the folder that clsclip-export wrote");
    }
    check_inside(folder, std::string(kManifest));
    const MappedFile document = map(place);
    if (document.bytes().size() > kMostManifestBytes) {
        fail<BundleError>(place, " is over ", kMostManifestBytes >> 20, " MiB, so it is no manifest. ", kAgain);
    }
    Bundle bundle{folder,
                  parse_manifest({reinterpret_cast<const char*>(document.bytes().data()), document.bytes().size()},
                                 folder.string()),
                  sha256_of(document.bytes())};
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
    for (const auto& [name, entry] : bundle.manifest.files) {
        verify(folder, name, entry);
    }
    for (const auto& [name, unused] : bundle.manifest.files) {
        if (name.ends_with(".onnx")) {
            (void)external_files(folder, name, bundle.manifest);
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

GraphFile Bundle::graph(std::string_view name) const {
    GraphFile graph{path(name), {}, fingerprint};
    std::vector<std::string> files = external_files(folder, std::string(name), manifest);
    files.emplace_back(name);
    for (const std::string& file : files) {
        graph.digests[file] = manifest.files.at(file).sha256;
    }
    return graph;
}

std::string Bundle::read(std::string_view name) const {
    const MappedFile file = map(path(name));
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace clsclip
