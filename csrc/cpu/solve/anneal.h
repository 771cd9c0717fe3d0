// A good start at a small epsilon.
#pragma once

#include "cpu/runtime/team.h"
#include "cpu/problem/view.h"

namespace wbm {

// Solves the problem loosely at 0.05 times the mean cost, then at half of that, and so on down to above view.epsilon; leaves
// the potentials in f, g. `passes` counts reads of the matrix. False when a level failed.
template <typename T>
bool anneal(const View<T>& view, Team& team, double* f, double* g, std::int64_t budget, std::int64_t& passes);

// What annealing starts from, in units of D.
template <typename T>
double warmest(const View<T>& view) {
  return view.cost_count ? 0.05 * view.cost_sum / static_cast<double>(view.cost_count) : 0.0;
}

}  // namespace wbm
