/// A bundle on disk: found, read and verified before anything in it is used.
///
/// Every file that the manifest names is checked for size and SHA-256; files that it does not name are never opened. A
/// file is read once and what was hashed is what is used: whoever changes files afterwards changes nothing.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/manifest.hpp"
#include "file_bytes.hpp"
#include "graph.hpp"

namespace clsclip {

inline constexpr std::string_view kManifest = "manifest.json";
inline constexpr std::string_view kTokenizer = "tokenizer.json";
inline constexpr std::string_view kTextEncoder = "text_encoder.onnx";
inline constexpr std::string_view kImageEncoder = "image_encoder.onnx";
inline constexpr std::string_view kStem = "stem.onnx";
inline constexpr std::string_view kTrunk = "trunk.onnx";
inline constexpr std::string_view kPresence = "presence.onnx";
inline constexpr std::string_view kWordTable = "text_tokens.safetensors";
inline constexpr std::string_view kDetector = "detector.onnx";

struct HeldFiles;

/// A verified bundle. Copies share what they hold.
struct Bundle {
    std::filesystem::path folder;  ///< absolute, without links
    Manifest manifest;
    std::string fingerprint;  ///< SHA-256 of manifest.json, which holds the digests of all the other files
    std::shared_ptr<HeldFiles> held;  ///< what was read and is about to be used, until release()

    /// Read and verify. BundleError: there is no bundle, a file is missing or changed, a graph is none that exporters
    /// write, or the manifest is wrong or of a newer schema.
    [[nodiscard]] static Bundle open(const std::filesystem::path& path);

    [[nodiscard]] bool has(std::string_view name) const { return manifest.files.contains(std::string(name)); }

    /// Absolute path of a file. BundleError if the manifest does not list it.
    [[nodiscard]] std::filesystem::path path(std::string_view name) const;

    /// A graph: verified and walked, with its weights in memory. BundleError if the manifest does not list it, or its
    /// files are not any more what was verified.
    [[nodiscard]] GraphFile graph(std::string_view name) const;

    /// The names of a graph's outputs. BundleError as for graph().
    [[nodiscard]] std::vector<std::string> outputs(std::string_view name) const;

    /// The bytes of a small file, such as the tokenizer, as they were verified. BundleError as for graph().
    [[nodiscard]] std::shared_ptr<const FileBytes> read(std::string_view name) const;

    /// Let go of what was held; graphs keep what they use.
    void release() const;

    /// Let go of a graph, and of files that no other graph that is held keeps weights in; asked for again, they are read.
    void let_go(std::string_view graph) const;
};

}  // namespace clsclip
