// Over-relaxation of the scaling iterations: how far beyond its own update a scaling is carried.
//
// One iteration is a step of nonlinear Gauss-Seidel on the dual, f <- F(g), g <- G(f), whose error falls by a factor eta in
// the end. With f <- f + omega (F(g) - f), and g alike, every eigenvalue lambda of the relaxed iteration belongs to one mu of
// the plain one by (lambda + omega - 1)^2 = lambda omega^2 mu (Young), and
//
//     omega* = 2 / (1 + sqrt(1 - eta))       gives the rate omega* - 1 = (1 - sqrt(1 - eta)) / (1 + sqrt(1 - eta)) < eta:
//
// the square root of the iterations. eta is not known and is read off the residuals: below omega* the observed rate lambda
// exceeds omega - 1, and eta = (lambda + omega - 1)^2 / (lambda omega^2). Far from the solution nothing of this holds: there
// omega is 1, and wherever residuals rise it goes back towards 1.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace wbm {

class Relaxation {
 public:
  static constexpr int kWindow = 4;

  double omega() const { return omega_; }

  // Iterations until omega may change.
  int window() const { return kWindow - count_; }

  // The residual before another iteration at omega().
  void observe(double residual) {
    if (!(residual < kNear)) return reset();
    if (++count_ < kWindow) return;
    const double rate = std::pow(residual / anchor_, 1.0 / count_);
    const bool known = anchor_ < kNear;
    anchor_ = residual;
    count_ = 0;
    if (!known) return;
    if (!(rate < 1.0)) {
      most_ = 1.0 + 0.7 * (omega_ - 1.0);
      omega_ = std::fmin(omega_, most_);
      return;
    }
    if (!(rate > omega_ - 1.0)) return;  // at or above the best omega
    const double eta = (rate + omega_ - 1.0) * (rate + omega_ - 1.0) / (rate * omega_ * omega_);
    if (eta < 1.0) omega_ = std::fmax(1.0, std::fmin(2.0 / (1.0 + std::sqrt(1.0 - eta)), most_));
  }

  // The iterations go on from somewhere else.
  void reset() {
    omega_ = 1.0;
    anchor_ = std::numeric_limits<double>::infinity();
    count_ = kWindow - 1;
  }

 private:
  static constexpr double kNear = 0.5;

  double omega_ = 1.0, most_ = 1.95, anchor_ = std::numeric_limits<double>::infinity();
  int count_ = kWindow - 1;
};

}  // namespace wbm
