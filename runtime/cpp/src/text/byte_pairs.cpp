#include "text/byte_pairs.hpp"

#include <algorithm>
#include <queue>

#include "errors.hpp"
#include "unicode/unicode.hpp"

namespace clsclip {

namespace {

std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

/// A merge that may happen; the one of the lowest rank, then the leftmost, comes first.
struct Candidate {
    std::uint32_t rank;
    std::size_t at;
    std::int32_t id;

    friend bool operator<(const Candidate& a, const Candidate& b) {
        return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
    }
};

}  // namespace

/// A part of a word, in a list of those that are left.
struct BytePairs::Symbol {
    static constexpr std::size_t none = static_cast<std::size_t>(-1);

    std::int32_t id;
    std::size_t before = none;
    std::size_t after = none;
    bool joined = false;  ///< to the one before it
};

BytePairs::BytePairs(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
                     Options options)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
    const auto need = [&](const std::string& token, std::size_t rank) {
        const auto id = id_of(token);
        if (!id) {
            fail<BundleError>("merge number ", rank, " needs a token that is not in the vocabulary");
        }
        return *id;
    };
    for (std::size_t rank = 0; rank < merges.size(); ++rank) {
        const auto& [left, right] = merges[rank];
        const std::int32_t left_id = need(left, rank);
        const std::int32_t right_id = need(right, rank);
        const std::size_t cut = std::min(options_.prefix.size(), right.size());
        merges_.push_back({pair_of(left_id, right_id), static_cast<std::uint32_t>(rank), need(left + right.substr(cut), rank)});
    }
    // Of a pair that comes twice, the last counts.
    std::sort(merges_.begin(), merges_.end(), [](const Merge& a, const Merge& b) {
        return a.pair != b.pair ? a.pair < b.pair : a.rank > b.rank;
    });
    const auto same = [](const Merge& a, const Merge& b) { return a.pair == b.pair; };
    merges_.erase(std::unique(merges_.begin(), merges_.end(), same), merges_.end());
    if (options_.unknown) {
        unknown_ = id_of(*options_.unknown);
        if (!unknown_) {
            fail<BundleError>("the token for unknown characters is not in the vocabulary");
        }
    }
}

std::optional<std::int32_t> BytePairs::id_of(std::string_view token) const {
    const auto found = vocabulary_.find(token);
    return found == vocabulary_.end() ? std::nullopt : std::optional(found->second);
}

const BytePairs::Merge* BytePairs::find(std::int32_t left, std::int32_t right) const {
    const std::uint64_t pair = pair_of(left, right);
    const auto found = std::lower_bound(merges_.begin(), merges_.end(), pair,
                                        [](const Merge& one, std::uint64_t wanted) { return one.pair < wanted; });
    return found != merges_.end() && found->pair == pair ? &*found : nullptr;
}

std::vector<BytePairs::Symbol> BytePairs::symbols_of(std::u32string_view word) const {
    std::vector<Symbol> symbols;
    symbols.reserve(word.size());
    bool after_unknown = false;
    std::string token;
    for (std::size_t at = 0; at < word.size(); ++at) {
        token = at == 0 ? "" : options_.prefix;
        append_utf8(token, word[at]);
        if (at + 1 == word.size()) {
            token += options_.suffix;
        }
        const auto id = id_of(token);
        if (id) {
            symbols.push_back({*id});
        } else if (unknown_ && !(after_unknown && options_.fuse_unknown)) {
            symbols.push_back({*unknown_});
        }
        after_unknown = !id;
    }
    for (std::size_t at = 0; at + 1 < symbols.size(); ++at) {
        symbols[at].after = at + 1;
        symbols[at + 1].before = at;
    }
    return symbols;
}

void BytePairs::join(std::vector<Symbol>& symbols) const {
    std::priority_queue<Candidate> waiting;
    const auto consider = [&](std::size_t at) {
        const std::size_t after = symbols[at].after;
        if (after == Symbol::none) {
            return;
        }
        if (const Merge* merge = find(symbols[at].id, symbols[after].id); merge != nullptr) {
            waiting.push({merge->rank, at, merge->id});
        }
    };
    for (std::size_t at = 0; at < symbols.size(); ++at) {
        consider(at);
    }
    while (!waiting.empty()) {
        const Candidate best = waiting.top();
        waiting.pop();
        Symbol& left = symbols[best.at];
        if (left.joined || left.after == Symbol::none) {
            continue;
        }
        Symbol& right = symbols[left.after];
        const Merge* merge = find(left.id, right.id);
        if (merge == nullptr || merge->id != best.id) {
            continue;  // one of the two has become something else since
        }
        left.id = best.id;
        left.after = right.after;
        right.joined = true;
        if (left.after != Symbol::none) {
            symbols[left.after].before = best.at;
        }
        if (left.before != Symbol::none) {
            consider(left.before);
        }
        consider(best.at);
    }
}

void BytePairs::encode(std::u32string_view word, std::vector<std::int64_t>& ids) const {
    if (options_.ignore_merges) {
        if (const auto whole = id_of(encode_utf8(word)); whole) {
            ids.push_back(*whole);
            return;
        }
    }
    std::vector<Symbol> symbols = symbols_of(word);
    join(symbols);
    for (const Symbol& one : symbols) {
        if (!one.joined) {
            ids.push_back(one.id);
        }
    }
}

}  // namespace clsclip
