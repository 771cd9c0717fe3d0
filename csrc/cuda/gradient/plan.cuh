// The plan of the implicit gradient, its sums, and dL/dD. Formulae: cpu/implicit.cpp.
#pragma once

#include "cuda/gradient/lines.cuh"

namespace wbm::cuda {

// O(n m): P, its sums over the lines of one side, and those of P . E with E = log P. Entries that flushed to zero count as
// zero. The pass over the side that the linear system eliminates (kStores) keeps the plan, a line of it contiguous.
template <typename T, typename Line, bool kStores>
WBM_DEVICE void sum_plan(const AdjointArguments<T>& args) {
  for (std::int64_t p = block_y(); p < args.base.problem.batch; p += grid_y()) {
    const AdjointView<T> view(args, p);
    if (view.refused()) continue;
    const LineView<Line, T> lines(view);
    const std::int64_t length = lines.other.size;
    for (Line line(view.n, view.m); line.more(); line.next()) {
      double sum = 0.0, entropy = 0.0;
      for (std::int64_t k = line.first(); line.exists() && k < length; k += line.step()) {
        const double e = view.log_plan(line.row(k), line.column(k)), x = exp(e);
        if (kStores) view.entries[line.index * length + k] = x;
        sum += x;
        entropy += x > 0.0 ? x * e : 0.0;
      }
      sum = line_sum(line, sum);
      entropy = line_sum(line, entropy);
      if (!line.leads()) continue;
      lines.arrays.sums[line.index] = sum;
      lines.arrays.h[line.index] = entropy;
    }
  }
}

template <typename T, bool kStores>
WBM_KERNEL(kMaxThreads) sum_plan_rows(AdjointArguments<T> args) {
  sum_plan<T, RowLine, kStores>(args);
}
template <typename T, bool kStores>
WBM_KERNEL(kTileThreads) sum_plan_columns(AdjointArguments<T> args) {
  sum_plan<T, ColumnLine, kStores>(args);
}

// What an empty line with the log sum top / eps + log(total) and the upstream q passes on along one of its entries.
WBM_DEVICE double passed_on(const Side& side, double q, double exponent, double top, double total, double inverse_epsilon) {
  return side.ratio * q * exp((exponent - top) * inverse_epsilon) / total;
}

// A block per row, O(n m): dL/dD = P . (s (1 + E) + x + y + w), and what empty lines pass on.
template <typename T>
WBM_KERNEL(kMaxThreads) write_implicit_cost(AdjointArguments<T> args) {
  for (std::int64_t p = block_y(); p < args.base.problem.batch; p += grid_y()) {
    const AdjointView<T> view(args, p);
    const double inverse_epsilon = view.state.inverse_epsilon;
    for (std::int64_t i = block_x(); i < view.n; i += grid_x()) {
      T* out = static_cast<T*>(args.adjoint.grad_cost) + (p * view.n + i) * view.m;
      const double q = view.refused() ? 0.0 : view.row.passed[i];
      const double constant = view.refused() ? 0.0 : view.sharp + view.regularized + view.row.x[i];
      for (std::int64_t j = thread_x(); j < view.m; j += threads_x()) {
        if (view.refused()) {
          out[j] = narrowed<T>(kNan);
          continue;
        }
        const double e = view.log_plan(i, j), x = exp(e);
        double d = x > 0.0 ? x * (e * view.sharp + view.column.x[j] + constant) : 0.0;
        if (q != 0.0 && view.columns.active[j])
          d += passed_on(view.rows.side, q, view.matrix.exponent(i, j, view.g[j]), view.row.top[i], view.row.total[i],
                         inverse_epsilon);
        if (view.column.passed[j] != 0.0 && view.rows.active[i])
          d += passed_on(view.columns.side, view.column.passed[j], view.matrix.exponent(i, j, view.f[i]),
                         view.column.top[j], view.column.total[j], inverse_epsilon);
        out[j] = narrowed<T>(d);
      }
    }
  }
}

// A block per row, O(n m): dL/dD = P (s + w).
template <typename T>
WBM_KERNEL(kMaxThreads) write_frozen_cost(AdjointArguments<T> args) {
  for (std::int64_t p = block_y(); p < args.base.problem.batch; p += grid_y()) {
    const AdjointView<T> view(args, p);
    const double weight = view.sharp + view.regularized;
    for (std::int64_t i = block_x(); i < view.n; i += grid_x()) {
      T* out = static_cast<T*>(args.adjoint.grad_cost) + (p * view.n + i) * view.m;
      for (std::int64_t j = thread_x(); j < view.m; j += threads_x()) {
        const double x = view.refused() ? kNan : exp(view.log_plan(i, j));
        out[j] = narrowed<T>(x == 0.0 ? 0.0 : x * weight);
      }
    }
  }
}

}  // namespace wbm::cuda
