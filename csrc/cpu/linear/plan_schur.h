// The Schur complement of a plan that is written out in float32: products that stay exact for slow modes, and a sparse
// preconditioner for them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "cpu/linear/sparse_factor.h"
#include "cpu/linear/stored_matrix.h"

namespace wbm {

// H = diag(c + extra) - P' diag(1/(k1 r)) P of P = diag(u) K diag(v), c = P'1. With s the scale that brings the mean column sum to 1:
// P is stored as s P.
class PlanSchur {
 public:
  PlanSchur(std::int64_t n, std::int64_t m, Team& team, Interrupt* interrupt)
      : extra(m), interrupt_(interrupt), plan_(n, m, team), weight_(n), surplus_(n), anchors_(n), anchor_at_(n) {}

  std::vector<double> extra;  // what the diagonal has beyond c

  bool written() const { return written_; }

  // P from K, u, v and its own row sums r; k1 = 1 + eps / kappa1.
  template <typename Matrix>
  void write(const Matrix& k, const double* u, const std::vector<double>& v, const std::vector<double>& r,
             const std::vector<double>& c, double k1) {
    double total = 0.0;
    for (const double x : c) total += x;
    const std::int64_t n = plan_.rows(), m = plan_.columns();
    scale_ = total > 0.0 ? static_cast<double>(m) / total : 1.0;
    k1_ = k1;
    c_ = c;
    r_ = r;
    column_largest_.assign(plan_.padded(), 0.0f);
    plan_.team().split_if(plan_.parallel(), n, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        factor_kernels().scaled_row(k.row(i), u[i] * scale_, v.data(), plan_.row(i), m, plan_.padded());
        const double scaled = k1 * scale_ * r[i];
        weight_[i] = scaled > 1e-30 ? static_cast<float>(1.0 / scaled) : 0.0f;
      }
    });
    row_largest_.resize(n);
    for (std::int64_t i = 0; i < n; ++i)
      row_largest_[i] = plan_kernels().largest(plan_.row(i), plan_.padded(), column_largest_.data(), &anchor_at_[i]);
    written_ = true;
  }

  // out = H p; p is rounded to float32.
  void apply(std::vector<double>& p, std::vector<double>& out) {
    const std::int64_t n = plan_.rows(), m = plan_.columns();
    plan_.set_v([&](std::int64_t j) { return p[j]; });
    for (std::int64_t j = 0; j < m; ++j) p[j] = static_cast<float>(p[j]);
    // y_i = (anchor + s_i / r_i) / k1: what k1 takes off the anchor is a term of its own
    const double share = 1.0 - 1.0 / k1_;
    for (std::int64_t i = 0; i < n; ++i) {
      anchors_[i] = static_cast<float>(p[anchor_at_[i]]);
      surplus_[i] = static_cast<float>(share * anchors_[i]);
    }
    plan_.accumulate([&](std::int64_t r, int rows, const float* block, const float* x, float* to) {
      plan_kernels().difference(block, plan_.stride(), rows, x, &anchors_[r], &weight_[r], &surplus_[r], to, plan_.padded());
    });
    for (std::int64_t j = 0; j < m; ++j) out[j] = plan_.column_sums[j] / scale_ + extra[j] * p[j];
  }

  // The factor of [[k1 r, -P~], [-P~', c + extra]], P~ the entries above theta times the mass that their row or column has
  // beside its largest one. theta falls until enough entries are chosen, and rises up to kThinnest until a factor takes at
  // most `flops`; nullptr where it was interrupted.
  std::unique_ptr<SparseFactor> factor(double& theta, double flops) {
    const std::int64_t n = plan_.rows(), m = plan_.columns();
    const double enough = 0.6 * static_cast<double>(std::max(n, m));
    ThinPlan thin;
    std::vector<double> row_excess(n), column_excess(m);
    for (bool risen = false;;) {
      choose(theta, thin, row_excess, column_excess);
      if (!risen && static_cast<double>(thin.start[n]) < enough && theta > 1e-4) {
        theta *= 0.5;
        continue;
      }
      EliminationOrder order = minimum_degree(graph_of(thin), 0.25, interrupt_);
      if (raised(interrupt_)) return nullptr;
      if (order.flops > flops && theta < kThinnest) {
        theta *= 2.0;
        risen = true;
        continue;
      }
      // A share of the diagonal at least: rounding must not leave the matrix singular.
      for (std::int64_t i = 0; i < n; ++i) {
        const double diagonal = scale_ * r_[i];
        row_excess[i] = std::fmax(row_excess[i] + (k1_ - 1.0) * diagonal, 1e-12 * diagonal);
      }
      for (std::int64_t j = 0; j < m; ++j)
        column_excess[j] = std::fmax(column_excess[j] + scale_ * extra[j], 1e-12 * scale_ * c_[j]);
      return std::make_unique<SparseFactor>(thin, std::move(order), row_excess, column_excess, scale_, plan_.team(), interrupt_);
    }
  }
  static constexpr double kThinnest = 2.0;  // hardly more than one entry a row

 private:
  void choose(double theta, ThinPlan& thin, std::vector<double>& dropped_rows, std::vector<double>& dropped_columns) {
    const std::int64_t n = plan_.rows(), m = plan_.columns(), padded = plan_.padded();
    const auto threshold = [&](double sum, double top) {
      return static_cast<float>(theta * std::fmax(scale_ * sum - top, 1e-6 * scale_ * sum));
    };
    std::vector<float> by_column(padded, std::numeric_limits<float>::infinity()), dropped(padded, 0.0f);
    for (std::int64_t j = 0; j < m; ++j) by_column[j] = threshold(c_[j], column_largest_[j]);
    thin.rows = n;
    thin.columns = m;
    thin.start.assign(1, 0);
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      if (count + padded > static_cast<std::int64_t>(thin.index.size())) {
        const std::int64_t room = std::max(2 * count, count + 4 * padded);
        thin.index.resize(room);
        thin.value.resize(room);
      }
      count += plan_kernels().select(plan_.row(i), threshold(r_[i], row_largest_[i]), by_column.data(), padded,
                                     thin.index.data() + count, thin.value.data() + count, dropped.data(),
                                     &dropped_rows[i]);
      thin.start.push_back(count);
    }
    thin.index.resize(count);
    thin.value.resize(count);
    std::copy(dropped.begin(), dropped.begin() + m, dropped_columns.begin());
  }

  Interrupt* const interrupt_;
  StoredMatrix<float> plan_;
  std::vector<double> r_, c_;
  std::vector<float> weight_, surplus_, anchors_, row_largest_, column_largest_;
  std::vector<std::int32_t> anchor_at_;  // the largest entry of each row
  double scale_ = 1.0, k1_ = 1.0;
  bool written_ = false;
};

}  // namespace wbm
