// What a solve tells about the plan it delivers: costs, mass, residual, gauge.
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/runtime/team.h"
#include "cpu/problem/view.h"

namespace wbm {

// What the costs and the residual are made of: row and column sums of the plan, <D, P>; and, for a backward to come, the
// sums of P log P.
struct PlanSums {
  std::vector<double> rows, columns, row_entropy, column_entropy;
  double sharp = 0.0;
};

// Where a row of the plan is added: column sums, its own sum and cost; the entropies where they are wanted, else nullptr.
struct RowSums {
  double *column, *sum, *value, *column_entropy, *entropy;
};

// add_row(i, RowSums) adds row i of the plan. Chunks of rows have their own column sums, added in order: the result does not
// depend on the threads.
template <typename AddRow>
PlanSums sum_plan(std::int64_t n, std::int64_t m, Team& team, bool parallel, bool entropies, const AddRow& add_row) {
  constexpr std::int64_t kChunk = 128;
  const std::int64_t chunks = (n + kChunk - 1) / kChunk, width = entropies ? 2 * m : m;
  PlanSums out;
  out.rows.assign(n, 0.0);
  out.columns.assign(m, 0.0);
  if (entropies) out.row_entropy.assign(n, 0.0), out.column_entropy.assign(m, 0.0);
  std::vector<double> cost(n, 0.0), partial(chunks * width, 0.0);
  team.split_if(parallel, chunks, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t chunk = first; chunk < last; ++chunk) {
      double* column = &partial[chunk * width];
      for (std::int64_t i = chunk * kChunk; i < std::min((chunk + 1) * kChunk, n); ++i)
        add_row(i, RowSums{column, &out.rows[i], &cost[i], entropies ? column + m : nullptr,
                           entropies ? &out.row_entropy[i] : nullptr});
    }
  });
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
    const double* column = &partial[chunk * width];
    for (std::int64_t j = 0; j < m; ++j) out.columns[j] += column[j];
    if (entropies)
      for (std::int64_t j = 0; j < m; ++j) out.column_entropy[j] += column[m + j];
  }
  for (const double x : cost) out.sharp += x;
  return out;
}

// The sums of the plan that (f, g) define. One read of D.
template <typename T>
PlanSums sum_plan(const View<T>& view, Team& team, const double* f, const double* g);

// sum x (dual) + kappa KL(x | mass) of one side's sums x, and |x - target|_1.
struct SideReport {
  double dual = 0.0, divergence = 0.0, error = 0.0;
};

// Fills sharp, regularized, mass and residual of problem p.
template <typename T>
void report(const View<T>& view, double mass, double sharp, const SideReport& rows, const SideReport& columns,
            const Solution& out, std::int64_t p);
template <typename T>
void report(const View<T>& view, const PlanSums& sums, const double* f, const double* g, const Solution& out, std::int64_t p);

// Both hard: f + t, g - t define the same plan for every t; t makes <a,f>/sum(a) = <b,g>/sum(b).
template <typename T>
void set_gauge(const View<T>& view, double* f, double* g);

// NaN for everything of a problem that was refused, with the reason in its status.
template <typename T>
void refuse(const View<T>& view, const Solution& out, std::int64_t p, std::int32_t status);

// Row i of the plan for j in [begin, end).
template <typename T>
void plan_row(const View<T>& view, std::int64_t i, const double* f, const double* g, double* row, std::int64_t begin,
              std::int64_t end);

}  // namespace wbm
