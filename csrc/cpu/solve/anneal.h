// A good start at a small epsilon.
#pragma once

#include "cpu/runtime/team.h"
#include "cpu/problem/view.h"

namespace wbm {

// What annealing starts from, in units of D.
template <typename T>
double warmest(const View<T>& view) {
  return view.cost_count ? 0.05 * view.cost_sum / static_cast<double>(view.cost_count) : 0.0;
}

// Levels 2^k epsilon, k = this number .. 1, the first of them between `warmest` and twice that; none where epsilon is not
// below it.
template <typename T>
std::int64_t annealing_levels(const View<T>& view);

// Solves the problem loosely at each level, from g = 0 or, where that is out of range, from f, g; leaves the potentials there. A level that plain iterations leave at a residual
// above `rough` is finished by Newton steps: without them its potentials are too far from the next level's. `passes` counts
// reads of the matrix. False when it did not reach the last level: f, g are then those of the level reached.
template <typename T>
bool anneal(const View<T>& view, Team& team, double* f, double* g, std::int64_t budget, double rough,
            std::int64_t& passes);

}  // namespace wbm
