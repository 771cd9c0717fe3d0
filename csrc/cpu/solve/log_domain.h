// One iteration in the log domain, wherever the potentials stand: two reads of D and two exponentials an entry.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/kernels/kernels.h"
#include "cpu/problem/fixed_point.h"
#include "cpu/problem/view.h"
#include "cpu/runtime/team.h"

namespace wbm::cpu {

template <typename T>
class LogDomain {
 public:
  LogDomain(const View<T>& view, Team& team)
      : view_(view), team_(team), row_max_(view.n), row_sum_(view.n), column_max_(view.m), column_sum_(view.m) {}

  // log sum_j exp((g_j - D_ij) / eps) of every row: what the f update is made of, and with f the row sums of the plan.
  void sum_rows(const double* g) {
    team_.split(view_.n, [this, g](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        if (!view_.rows.active[i]) continue;
        const LogSum s = kernels_.log_sum(view_.row(i), view_.mask_row(i), g, view_.inverse_epsilon, view_.m);
        row_max_[i] = s.max;
        row_sum_[i] = s.sum;
      }
    });
  }

  // The residual of (f, g) after sum_rows(g), with what is known of the columns.
  double residual(const double* f, const ColumnError& columns) const {
    double error = 0.0, mass = 0.0;
    for (std::int64_t i = 0; i < view_.n; ++i) {
      if (!view_.rows.active[i]) continue;
      const double r = std::exp((f[i] + row_max_[i]) * view_.inverse_epsilon) * row_sum_[i];
      error += std::fabs(r - view_.rows.target(i, f[i]));
      mass += r;
    }
    return wbm::residual(view_, error, columns, mass);
  }

  // f_i = s1 log a_i - lambda1 log sum_j exp((g_j - D_ij) / eps), after sum_rows(g)
  void update_rows(double* f) const {
    for (std::int64_t i = 0; i < view_.n; ++i) f[i] = view_.rows.update(i, row_max_[i], row_sum_[i], view_.epsilon);
  }

  // g_j = s2 log b_j - lambda2 log sum_i exp((f_i - D_ij) / eps): the maxima first, then the sums, by column blocks.
  void update_columns(const double* f, double* g) {
    constexpr std::int64_t kBlock = 512;  // doubles of running maxima and sums that stay in the first-level cache
    const std::int64_t blocks = (view_.m + kBlock - 1) / kBlock, threads = team_.size();
    const std::int64_t width = blocks < threads ? (view_.m / threads + 8) / 8 * 8 : kBlock;
    team_.split((view_.m + width - 1) / width, [this, f, g, width](std::int64_t first, std::int64_t last) {
      for (std::int64_t block = first; block < last; ++block)
        update_columns(f, g, block * width, std::min((block + 1) * width, view_.m));
    });
  }

 private:
  void update_columns(const double* f, double* g, std::int64_t begin, std::int64_t end) {
    for (std::int64_t j = begin; j < end; ++j) column_max_[j] = -kInf, column_sum_[j] = 0.0;
    for (std::int64_t i = 0; i < view_.n; ++i)
      if (view_.rows.active[i])
        kernels_.column_max(view_.row(i), view_.mask_row(i), f[i], column_max_.data(), begin, end);
    for (std::int64_t i = 0; i < view_.n; ++i)
      if (view_.rows.active[i])
        kernels_.column_sum(view_.row(i), view_.mask_row(i), f[i], column_max_.data(), column_sum_.data(),
                            view_.inverse_epsilon, begin, end);
    for (std::int64_t j = begin; j < end; ++j)
      g[j] = view_.columns.update(j, column_max_[j], column_sum_[j], view_.epsilon);
  }

  const View<T>& view_;
  Team& team_;
  const RowKernels<T>& kernels_ = row_kernels<T>();
  std::vector<double> row_max_, row_sum_, column_max_, column_sum_;
};

}  // namespace wbm::cpu
