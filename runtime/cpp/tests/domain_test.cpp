#include "inference/domain.hpp"

#include <cmath>

#include "catch.hpp"

using namespace clsclip;

TEST_CASE("What a feature adds to the score of a domain is a sum over means and deviations") {
    // Four places of two values: means 3 and 1, deviations sqrt(5) and 2.
    const std::vector<float> feature{0, 3, 2, -1, 4, 3, 6, -1};
    const std::vector<double> weights{1, 10, 100, 1000};
    CHECK(domain_part(feature, weights) == Approx(3 + 10 + 100 * std::sqrt(5.0) + 2000));
}

TEST_CASE("An image is far above the line, and where there is none it is not") {
    Tensors features;
    features["level"] = {{2, 2}, {1, 0, -1, 0}};
    DomainSpec domain{"colors", "plain colors", DomainTest{{{"level", {1, 0, 0, 0}}}, 0}};
    CHECK(is_far(domain, features, 0));
    CHECK_FALSE(is_far(domain, features, 1));
    CHECK(domain_note(domain).find("unlike what the model knows (colors: plain colors)") != std::string::npos);
    domain.test->weights["another"] = {0, 0};  // that nobody gave
    CHECK_FALSE(is_far(domain, features, 0));
    domain.test.reset();
    CHECK_FALSE(is_far(domain, features, 0));
}
