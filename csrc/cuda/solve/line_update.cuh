// Stabilised scaling, one line (row or column) of a problem. Absorbed potentials make
// K_ij = exp((f^_i + g^_j - D_ij) / eps) / (a_i b_j), whose entries lie near 1 where the plan does; with
// base = f^/eps - log a, f / eps = base + log u, and s = K v
//
//     log u = alpha - ratio log s,   alpha = (s1/eps) log a - (1 - ratio) base      (u = a / s where hard).
#pragma once

#include "cuda/problem/marginal.cuh"

namespace wbm::cuda {

struct Range {
  std::int64_t first, last;
};

// Sums over the lines of a block or a group: |r - r*|, r, the next r*, lines that left the safe range. Where the scalings are
// watched, error and mass of the updates are |u' - u|^2 and |u'|^2 instead.
struct Tally {
  double error, mass, target, unsafe;

  // u = exp(potential / eps); the exponents of u and u'.
  WBM_DEVICE void watch(double before, double after) {
    const double u = exp(after), change = u - exp(before);  // NaN where both overflow: not met
    error += change * change;
    mass += u * u;
  }
};

struct AddTallies {
  WBM_DEVICE Tally operator()(const Tally& x, const Tally& y) const {
    return {x.error + y.error, x.mass + y.mass, x.target + y.target, x.unsafe + y.unsafe};
  }
};

WBM_DEVICE Tally shuffle_down(const Tally& x, int offset) {
  return {shuffle_down(x.error, offset), shuffle_down(x.mass, offset), shuffle_down(x.target, offset),
          shuffle_down(x.unsafe, offset)};
}

struct LineUpdate {
  double scale, target;  // u, and what the sums have to be then
};

// Entries of K below the smallest number of type S are lost. While s and u / a stay within [1 / limit, limit] all that is
// lost is below the rounding of the sums.
template <typename S>
inline constexpr double kLimit = sizeof(S) == 4 ? 1e10 : 1e90;
template <typename S>
inline constexpr double kFaint = sizeof(S) == 4 ? 1e-27 : 1e-200;

WBM_DEVICE bool within(double x, double limit) { return x >= 1.0 / limit && x <= limit; }  // false for NaN

WBM_DEVICE LineUpdate update_line(const Side& side, double mass, double log_mass, double base, double s,
                                  double inverse_epsilon) {
  LineUpdate next;
  if (side.hard) {
    next.scale = mass / s;
    next.target = mass;
  } else {
    // r* = a exp(-f/kappa) = exp(alpha / ratio + (1 - 1/ratio) log u)
    const double alpha = side.strength * inverse_epsilon * log_mass - (1.0 - side.ratio) * base;
    const double log_scale = alpha - side.ratio * log(s);
    next.scale = exp(log_scale);
    next.target = exp(alpha / side.ratio + (1.0 - 1.0 / side.ratio) * log_scale);
  }
  return next;
}

}  // namespace wbm::cuda
