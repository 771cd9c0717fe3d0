// One problem of a batch as the CPU loops see it: rows of D, and the two marginals with their constants.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "cpu/kernels/kernels.h"
#include "problem.h"

namespace wbm {

inline constexpr double kInf = std::numeric_limits<double>::infinity();

// One marginal: masses (after rescaling), kappa, and the constants of its update
//     potential_i = offset_i - (lambda / epsilon) * epsilon log-sum_i,   offset_i = s log mass_i.
struct Side {
  std::int64_t size = 0;
  bool hard = true;
  double kappa = kInf;
  double ratio = 1.0;         // lambda / epsilon = kappa / (epsilon + kappa), 1 where hard
  double total = 0.0;         // sum of the masses
  double strength = 0.0;      // s = lambda (entropy) or epsilon (product)
  double dual_shift = 0.0;    // dual potential = potential - dual_shift * log mass: 0 (entropy), epsilon (product)
  std::vector<double> mass;
  std::vector<double> log_mass;       // -inf where the mass is 0
  std::vector<std::uint8_t> active;   // 1 = positive mass and at least one admissible partner with mass

  // r* of the residual: the mass itself (hard) or a exp(-dual / kappa) (soft).
  double target(std::int64_t i, double potential) const {
    if (!active[i]) return 0.0;
    return hard ? mass[i] : mass[i] * std::exp(-(potential - dual_shift * log_mass[i]) / kappa);
  }

  // KL(x | mass) = x log(x / mass) - x + mass
  double divergence(std::int64_t i, double x) const {
    return x > 0.0 ? x * (std::log(x) - log_mass[i]) - x + mass[i] : mass[i];
  }

  // The potential of index i from log sum_j exp(x_j / eps) = max / eps + log(sum).
  double update(std::int64_t i, double max, double sum, double epsilon) const {
    if (!active[i]) return mass[i] > 0.0 ? 0.0 : -kInf;
    return strength * log_mass[i] - ratio * (max + epsilon * std::log(sum));
  }

  // The constants that depend on epsilon.
  void tune(double epsilon, Reference reference) {
    ratio = hard ? 1.0 : kappa / (epsilon + kappa);
    strength = reference == Reference::entropy ? ratio * epsilon : epsilon;
    dual_shift = reference == Reference::entropy ? 0.0 : epsilon;
  }

  void set(std::int64_t count, const double* masses, double scale, double kappa_, double epsilon, Reference reference) {
    size = count;
    kappa = kappa_;
    hard = std::isinf(kappa_);
    tune(epsilon, reference);
    mass.assign(masses, masses + count);
    log_mass.resize(count);
    for (std::int64_t i = 0; i < count; ++i) mass[i] *= scale;
    total = vector_kernels().total(mass.data(), count);
    vector_kernels().logarithm(mass.data(), log_mass.data(), count);
    for (std::int64_t i = 0; i < count; ++i)  // the vector logarithm is one of normal numbers
      if (!(mass[i] >= 2.2250738585072014e-308)) log_mass[i] = std::log(mass[i]);
  }
};

template <typename T>
struct View {
  std::int64_t n = 0, m = 0;
  double epsilon = 1.0, inverse_epsilon = 1.0;
  Reference reference = Reference::entropy;
  Side rows, columns;
  double b_scale = 1.0;      // b was multiplied by this
  std::int32_t status = 0;   // what the inspection found
  double cost_sum = 0.0;     // over finite, unmasked entries with positive masses on both sides
  std::int64_t cost_count = 0;
  double cost_max = 0.0;     // largest |D_ij| among them
  Interrupt* interrupt = nullptr;

  bool both_hard() const { return rows.hard && columns.hard; }
  // Every pair may carry mass, and every entry of D was found to be finite.
  bool unrestricted() const { return cost_count == n * m && cost_count > 0; }
  std::int64_t stride() const { return cost_stride_; }
  const T* row(std::int64_t i) const { return cost_ + i * cost_stride_; }
  const std::uint8_t* mask_row(std::int64_t i) const { return mask_ ? mask_ + i * mask_stride_ : nullptr; }

  // The same problem at another epsilon.
  void tune(double value) {
    epsilon = value;
    inverse_epsilon = 1.0 / value;
    rows.tune(value, reference);
    columns.tune(value, reference);
  }

  // Reads problem p once: checks masses, strengths and D, finds what can carry mass, rescales b.
  // A refused problem has status & kRefused and must not be solved.
  void open(const Problem& problem, std::int64_t p);

  // The same for a caller that reads D himself and finds every pair allowed and every mass positive: D is not looked at, and
  // of its sums none is known.
  void open_full(const Problem& problem, std::int64_t p);

  // Points at D and the mask of problem p, unread: the problem is known to be the one that was opened.
  void place(const Problem& problem, std::int64_t p);

 private:
  void open_masses(const Problem& problem, std::int64_t p);
  void check_masses(const Problem& problem, std::int64_t p);
  void scan_cost();

  const T* cost_ = nullptr;
  const std::uint8_t* mask_ = nullptr;
  std::int64_t cost_stride_ = 0, mask_stride_ = 0;
};

}  // namespace wbm
