// The Schur complement of the transport problem's linear systems, and conjugate gradients for it.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/linear/stored_matrix.h"

namespace wbm {

inline double dot(const std::vector<double>& x, const std::vector<double>& y) {
  double s[8] = {};
  std::size_t k = 0;
  for (; k + 8 <= x.size(); k += 8)
    for (int q = 0; q < 8; ++q) s[q] += x[k + q] * y[k + q];
  for (; k < x.size(); ++k) s[0] += x[k] * y[k];
  return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

// Moves x by preconditioned conjugate gradients for H x = b until settled() (asked when x and `residual` = b - H x are new) or
// `most` products are taken; returns their number. apply(p, out) sets out = H p, and may round p; precondition(r, z) sets
// z = M^-1 r; project(r) takes off what no x can remove.
class ConjugateGradients {
 public:
  template <typename Apply, typename Precondition, typename Project, typename Settled>
  int run(const Apply& apply, const Precondition& precondition, const Project& project, std::vector<double>& x,
          std::vector<double>& residual, int most, const Settled& settled) {
    const std::size_t m = x.size();
    preconditioned_.resize(m);
    product_.resize(m);
    precondition(residual, preconditioned_);
    direction_ = preconditioned_;
    double rho = dot(residual, preconditioned_);
    for (int products = 1; products <= most; ++products) {
      apply(direction_, product_);
      const double curvature = dot(direction_, product_);
      if (!(curvature > 0.0)) return products;  // rounding has met the null space
      const double length = rho / curvature;
      for (std::size_t j = 0; j < m; ++j) {
        x[j] += length * direction_[j];
        residual[j] -= length * product_[j];
      }
      project(residual);
      if (settled()) return products;
      precondition(residual, preconditioned_);
      const double next = dot(residual, preconditioned_);
      for (std::size_t j = 0; j < m; ++j) direction_[j] = preconditioned_[j] + next / rho * direction_[j];
      rho = next;
    }
    return most;
  }

 private:
  std::vector<double> direction_, preconditioned_, product_;
};

// H = diag(diagonal) - diag(v) K' diag(weight) K diag(v), positive semidefinite. With both marginals hard H 1 = 0: where
// `singular`, residuals are kept free of what no x can remove.
template <typename S>
class Schur {
 public:
  Schur(StoredMatrix<S>& matrix, bool singular_)
      : v(matrix.columns()), weight(matrix.rows()), diagonal(matrix.columns()), carried(matrix.columns()),
        singular(singular_), k_(matrix), weighted_(matrix.rows()) {}

  std::vector<double> v, weight, diagonal;
  std::vector<double> carried;  // c, in whose direction a singular residual is projected
  const bool singular;

  // out = H p
  void apply(const std::vector<double>& p, std::vector<double>& out) {
    k_.set_v([&](std::int64_t j) { return v[j] * p[j]; });
    k_.pass([this](std::int64_t r, int rows) {
      for (int c = 0; c < rows; ++c) weighted_[r + c] = weight[r + c] * k_.sums[r + c];
      return weighted_.data() + r;
    });
    for (std::size_t j = 0; j < p.size(); ++j) out[j] = diagonal[j] * p[j] - v[j] * k_.column_sums[j];
  }

  // residual -= c (1'residual) / (1'c)
  void project(std::vector<double>& residual) const {
    if (!singular) return;
    double sum = 0.0, total = 0.0;
    for (std::size_t j = 0; j < residual.size(); ++j) sum += residual[j], total += carried[j];
    if (!(total > 0.0)) return;
    for (std::size_t j = 0; j < residual.size(); ++j) residual[j] -= sum / total * carried[j];
  }

  template <typename Precondition, typename Settled>
  int conjugate_gradients(const Precondition& precondition, std::vector<double>& x, std::vector<double>& residual, int most,
                          const Settled& settled) {
    return solver_.run([this](const std::vector<double>& p, std::vector<double>& out) { apply(p, out); }, precondition,
                       [this](std::vector<double>& r) { project(r); }, x, residual, most, settled);
  }

 private:
  StoredMatrix<S>& k_;
  ConjugateGradients solver_;
  std::vector<double> weighted_;
};

}  // namespace wbm
