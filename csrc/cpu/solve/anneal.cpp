#include "cpu/solve/anneal.h"

#include <algorithm>

#include "cpu/runtime/interrupt.h"
#include "cpu/solve/scaling.h"

namespace wbm {
namespace {

constexpr int kSweeps = 10;         // plain iterations a level
constexpr double kCalm = 1e-3;      // residual at which a level is left at once
constexpr double kRough = 1e-2;     // residual above which a level is finished by Newton steps: without them the potentials
                                    // are too far from the next level's for its own steps
}  // namespace

template <typename T>
bool anneal(const View<T>& view, Team& team, double* f, double* g, std::int64_t budget, std::int64_t& passes) {
  View<T> level = view;
  passes = 0;
  bool first = true;
  for (double epsilon = warmest(view); epsilon > 1.01 * view.epsilon; epsilon = std::max(0.5 * epsilon, view.epsilon)) {
    level.tune(epsilon);
    const auto scaling = make_scaling<T, float>(level, team);
    if (!scaling) return false;
    if (first) {
      if (!scaling->absorb_cold()) return false;
    } else {
      scaling->absorb(f, g, ColumnError());
    }
    double residual = kInf;
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      if (++passes > budget || raised(view.interrupt)) return false;
      const Scaling::Outcome outcome = scaling->iterate(kCalm, 1.0, true, residual);
      if (outcome == Scaling::Outcome::rejected) return false;
      if (outcome == Scaling::Outcome::met) break;
    }
    scaling->read(f, g);
    if (residual > kRough) {
      const auto precise = make_scaling<T, double>(level, team);
      if (!precise) return false;
      std::int64_t spent = 0;
      precise->absorb(f, g, ColumnError());
      precise->newton(kRough, budget - passes, spent, residual);
      passes += spent;
      precise->read(f, g);
    }
    first = false;
  }
  return true;
}

template bool anneal<float>(const View<float>&, Team&, double*, double*, std::int64_t, std::int64_t&);
template bool anneal<double>(const View<double>&, Team&, double*, double*, std::int64_t, std::int64_t&);

}  // namespace wbm
