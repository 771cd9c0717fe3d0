// What every path to the solution shares: what is known of a plan's columns, its residual, the translation between the
// sides, and the level at which a residual is rounding.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/problem/view.h"

namespace wbm {

// |c - c*|_1 of a plan whose columns have not been summed: absolute + relative * mass. A column update leaves none, what
// moves the potentials in any other way leaves an unknown one, and a residual with unknown columns is infinite: whoever has
// not said what the columns are worth cannot take them for exact.
class ColumnError {
 public:
  ColumnError() = default;  // unknown
  static ColumnError exact() { return ColumnError(0.0, 0.0); }
  static ColumnError of(double absolute) { return ColumnError(absolute, 0.0); }
  // After f += t, g -= t, which leaves c alone: c* of a soft side goes by exp(t / kappa).
  ColumnError translated(const Side& columns, double t) const {
    return ColumnError(absolute_, relative_ + (columns.hard ? 0.0 : std::fabs(1.0 - std::exp(t / columns.kappa))));
  }

  double bound(double mass) const { return absolute_ + relative_ * mass; }
  bool known() const { return absolute_ < kInf; }

 private:
  ColumnError(double absolute, double relative) : absolute_(absolute), relative_(relative) {}
  double absolute_ = kInf, relative_ = 0.0;
};

// (|r - r*|_1 + |c - c*|_1) / max(mass, (sum a + sum b) / 2)
template <typename T>
double residual(const View<T>& view, double row_error, const ColumnError& columns, double mass) {
  const double scale = std::fmax(mass, 0.5 * (view.rows.total + view.columns.total));
  return scale > 0.0 ? (row_error + columns.bound(mass)) / scale : 0.0;
}

// f += t, g -= t leaves the plan alone and is optimal along that line for
//     t = kappa1 kappa2 / (kappa1 + kappa2) log(sum r* / sum c*),
// which removes the slow mode of large kappa. A hard side contributes its total mass and kappa -> inf. 0 where both are hard.
inline double translation(const Side& rows, const Side& columns, double log_row_targets, double log_column_targets) {
  if (rows.hard && columns.hard) return 0.0;
  const double strength = rows.hard      ? columns.kappa
                          : columns.hard ? rows.kappa
                                         : rows.kappa * columns.kappa / (rows.kappa + columns.kappa);
  return strength * (log_row_targets - log_column_targets);
}

// log sum r* = log sum_i a_i exp(-dual_i / kappa), also where a term leaves the range
inline double log_targets(const Side& side, const double* potential) {
  double top = -kInf, sum = 0.0;
  const auto exponent = [&](std::int64_t i) {
    return side.hard ? side.log_mass[i]
                     : side.log_mass[i] - (potential[i] - side.dual_shift * side.log_mass[i]) / side.kappa;
  };
  for (std::int64_t i = 0; i < side.size; ++i)
    if (side.active[i]) top = std::fmax(top, exponent(i));
  for (std::int64_t i = 0; i < side.size; ++i)
    if (side.active[i]) sum += std::exp(exponent(i) - top);
  return top + std::log(sum);
}

// One side's part of the dual objective: <a, f> (hard) or -kappa <a, exp(-f / kappa)> (soft, up to a constant), f the dual
// potential.
inline double dual_value(const Side& side, const double* potential) {
  if (!side.hard) return -side.kappa * std::exp(log_targets(side, potential));
  double sum = 0.0;
  for (std::int64_t i = 0; i < side.size; ++i)
    if (side.active[i]) sum += side.mass[i] * (potential[i] - side.dual_shift * side.log_mass[i]);
  return sum;
}

// The relative rounding of a plan entry exp((f + g - D) / eps), by the sizes of the terms of its exponent.
template <typename T>
double rounding_level(const View<T>& view, const double* f, const double* g) {
  double largest = view.cost_max;
  const auto include = [&](const Side& side, const double* potential) {
    for (std::int64_t i = 0; i < side.size; ++i)
      if (side.active[i]) largest = std::fmax(largest, std::fabs(potential[i]));
  };
  include(view.rows, f);
  include(view.columns, g);
  return 8 * 2.2e-16 * (4.0 + largest * view.inverse_epsilon);
}

}  // namespace wbm
