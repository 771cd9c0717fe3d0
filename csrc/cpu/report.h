// What a solve tells about the plan it delivers: costs, mass, residual, gauge.
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/team.h"
#include "cpu/view.h"

namespace wbm {

// What the costs and the residual are made of. Row and column sums of the plan, and <D, P>.
struct PlanSums {
  std::vector<double> rows, columns;
  double sharp = 0.0;
};

// add_row(i, column sums, sum, value) adds row i of the plan to its column sums, its sum and its cost. Chunks of rows have
// their own column sums, added in order: the result does not depend on the threads.
template <typename AddRow>
PlanSums sum_plan(std::int64_t n, std::int64_t m, Team& team, bool parallel, const AddRow& add_row) {
  constexpr std::int64_t kChunk = 128;
  const std::int64_t chunks = (n + kChunk - 1) / kChunk;
  PlanSums out{std::vector<double>(n, 0.0), std::vector<double>(m, 0.0)};
  std::vector<double> cost(n, 0.0), partial(chunks > 1 ? chunks * m : 0, 0.0);
  team.split_if(parallel, chunks, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t chunk = first; chunk < last; ++chunk) {
      double* column = chunks > 1 ? &partial[chunk * m] : out.columns.data();
      for (std::int64_t i = chunk * kChunk; i < std::min((chunk + 1) * kChunk, n); ++i)
        add_row(i, column, &out.rows[i], &cost[i]);
    }
  });
  for (std::int64_t chunk = 0; chunk < chunks && chunks > 1; ++chunk)
    for (std::int64_t j = 0; j < m; ++j) out.columns[j] += partial[chunk * m + j];
  for (const double x : cost) out.sharp += x;
  return out;
}

// The sums of the plan that (f, g) define. One read of D.
template <typename T>
PlanSums sum_plan(const View<T>& view, Team& team, const double* f, const double* g);

// Fills sharp, regularized, mass and residual of problem p.
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
