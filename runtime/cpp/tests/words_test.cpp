#include "text/words.hpp"

#include "support.hpp"
#include "unicode/names.hpp"

using namespace clsclip;
using namespace clsclip::test;

TEST_CASE("Words are stripped, spaced once and composed") {
    CHECK(clean_word("  dining \t\n table ") == "dining table");
    CHECK(clean_word("cafe\u0301") == "caf\u00e9");
    CHECK(clean_word("\u3000犬\u00a0") == "犬");
}

TEST_CASE("Words that nobody can mean are refused") {
    for (const char* word : {"", "   ", "\u200b", "\u200d \u2060", "\ufeff"}) {
        CHECK_THROWS_WITH(clean_word(word), says("is empty"));
    }
    CHECK_THROWS_WITH(clean_word(std::string("a\0b", 3)), says("control character"));
    CHECK_THROWS_WITH(clean_word("a\x1b"), says("control character"));
    CHECK_THROWS_WITH(clean_word("\xc3"), says("not UTF-8"));
    CHECK_THROWS_WITH(clean_word("\xed\xa0\x80"), says("not UTF-8"));  // half of a surrogate pair
    CHECK_THROWS_WITH(clean_word(std::string(257, 'a')), says("257 characters"));
    CHECK_NOTHROW(clean_word(std::string(256, 'a')));
}

TEST_CASE("A word that comes again is kept once and told") {
    const std::vector<std::string> words{"dog", " dog", "cat", "Dog", "dog "};
    const Asked clean = clean_classes(words);
    CHECK(clean.classes == std::vector<std::string>{"dog", "cat", "Dog"});
    REQUIRE(clean.notes.size() == 1);
    CHECK(clean.notes[0] == "'dog' was asked 3 times and is reported once");
    CHECK_THROWS_AS(clean_classes({}), WordError);
}

TEST_CASE("Words are mended, and told") {
    const std::vector<std::string> words{"driver\u2019s_seat", "Tom &amp; Jerry", "dog, cat"};
    const Asked clean = clean_classes(words);
    CHECK(clean.classes == std::vector<std::string>{"driver's seat", "Tom & Jerry", "dog, cat"});
    REQUIRE(clean.notes.size() == 3);
    CHECK(clean.notes[0] == "'driver\u2019s_seat' was read as 'driver's seat' (curly quote, underscore)");
    CHECK(clean.notes[1] == "'Tom &amp; Jerry' was read as 'Tom & Jerry' (HTML entity)");
    CHECK(clean.notes[2] == "'dog, cat' was taken as one word; several classes are several words");
}

TEST_CASE("A class may have several prompts") {
    const std::vector<std::string> classes{"traffic_light", "dog"};
    const Asked clean = clean_classes(classes, {{"traffic_light", {"traffic_light", "signal", "traffic light"}}});
    CHECK(clean.classes == std::vector<std::string>{"traffic_light", "dog"});
    CHECK(clean.words() == std::vector<std::string>{"traffic light", "signal", "dog"});
    CHECK(clean.classes_of_words() == std::vector<std::size_t>{0, 0, 1});
    CHECK_THROWS_AS(clean_classes(classes, {{"cat", {"cat"}}}), OptionError);
    CHECK_THROWS_AS(clean_classes(classes, {{"dog", {}}}), WordError);
}

TEST_CASE("Names have no line breaks") {
    CHECK(is_name("traffic light", 256));
    CHECK(is_name("犬", 1));
    CHECK_FALSE(is_name("", 256));
    CHECK_FALSE(is_name("a\nb", 256));
    CHECK(is_name("a\u00a0b\u200c", 256));
    CHECK_FALSE(is_name("\xff", 256));
    CHECK_FALSE(is_name("abc", 2));
    CHECK(is_blank(" \u3000\t"));
    CHECK_FALSE(is_blank("\u200b"));
}

TEST_CASE("What is shown of a text is short and plain") {
    CHECK(shown("dog") == "'dog'");
    CHECK(shown("\x1b[31m") == "'\\x1b[31m'");
    CHECK(shown(std::string(1000, 'a')).size() <= 48);
}
