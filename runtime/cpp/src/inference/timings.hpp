/// Milliseconds by step.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "clsclip/clsclip.hpp"

namespace clsclip {

/// Milliseconds by step, in the order in which steps began.
class Timings {
public:
    /// Adds the time until its end to one step.
    class Step {
    public:
        Step(Timings& timings, std::string name) : timings_(timings), name_(std::move(name)) {}
        Step(const Step&) = delete;
        Step& operator=(const Step&) = delete;
        ~Step() {
            const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - start_;
            timings_.add(name_, taken.count());
        }

    private:
        Timings& timings_;
        std::string name_;
        std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
    };

    void add(const std::string& step, double milliseconds) {
        for (Timing& one : steps_) {
            if (one.step == step) {
                one.milliseconds += milliseconds;
                return;
            }
        }
        steps_.push_back({step, milliseconds});
    }

    [[nodiscard]] std::vector<Timing> take() { return std::move(steps_); }

private:
    std::vector<Timing> steps_;
};

}  // namespace clsclip
