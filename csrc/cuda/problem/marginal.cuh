// One problem as a kernel sees it: its matrix and its two marginals.
#pragma once

#include <cmath>

#include "cuda/runtime/device.cuh"
#include "cuda/problem/workspace.cuh"

namespace wbm::cuda {

WBM_DEVICE bool is_finite(double x) { return fabs(x) < kInf; }  // false for NaN

WBM_DEVICE bool watches_scalings(const Options& options) {
  return options.tol > 0.0 && options.criterion == Criterion::scaling;
}

// D and mask of problem p.
template <typename T>
struct Matrix {
  const T* cost;
  const std::uint8_t* mask;
  std::int64_t cost_stride, mask_stride;

  WBM_DEVICE Matrix(const Problem& problem, std::int64_t p)
      : cost(static_cast<const T*>(problem.cost) + p * problem.cost_stride_problem),
        mask(problem.mask ? problem.mask + p * problem.mask_stride_problem : nullptr),
        cost_stride(problem.cost_stride_row), mask_stride(problem.mask_stride_row) {}

  // The rows from `first` on.
  WBM_DEVICE Matrix from_row(std::int64_t first) const {
    Matrix rest = *this;
    rest.cost += first * cost_stride;
    if (mask) rest.mask += first * mask_stride;
    return rest;
  }

  WBM_DEVICE double at(std::int64_t i, std::int64_t j) const { return widened(cost[i * cost_stride + j]); }
  WBM_DEVICE bool allows(std::int64_t i, std::int64_t j) const { return !mask || mask[i * mask_stride + j]; }

  // potential - D_ij, -inf where the mask forbids the pair (whatever D holds there).
  WBM_DEVICE double exponent(std::int64_t i, std::int64_t j, double potential) const {
    return allows(i, j) ? potential - at(i, j) : -kInf;
  }
};

// One marginal of one problem; `side` is a copy, so that reading it costs no memory.
struct Marginal {
  Side side;
  std::int64_t size;
  const double *mass, *log_mass;
  const std::uint8_t* active;

  WBM_DEVICE double dual(std::int64_t i, double potential) const { return potential - side.dual_shift * log_mass[i]; }

  // What the sums of the plan have to be: the mass (hard) or mass exp(-dual / kappa).
  WBM_DEVICE double target(std::int64_t i, double potential) const {
    if (!active[i]) return 0.0;
    return side.hard ? mass[i] : mass[i] * exp(-dual(i, potential) / side.kappa);
  }

  // KL(x | mass) = x log(x / mass) - x + mass
  WBM_DEVICE double divergence(std::int64_t i, double x) const {
    return x > 0.0 ? x * (log(x) - log_mass[i]) - x + mass[i] : mass[i];
  }

  // The potential of index i from log sum_j exp(x_j / eps) = max / eps + log(sum).
  WBM_DEVICE double update(std::int64_t i, double max, double sum, double epsilon) const {
    if (!active[i]) return mass[i] > 0.0 ? 0.0 : -kInf;
    return side.strength * log_mass[i] - side.ratio * (max + epsilon * log(sum));
  }
};

template <typename T>
WBM_DEVICE Marginal rows_of(const Arguments<T>& args, const State& state, std::int64_t p) {
  const std::int64_t n = args.problem.n, first = p * n;
  return {state.rows, n, args.problem.a + first, args.work.log_a + first, args.work.row_active + first};
}

template <typename T>
WBM_DEVICE Marginal columns_of(const Arguments<T>& args, const State& state, std::int64_t p) {
  const std::int64_t m = args.problem.m, first = p * m;
  return {state.columns, m, args.work.b + first, args.work.log_b + first, args.work.column_active + first};
}

// history(p, iteration) <- (f, g), for the unrolled gradient. Every thread copies the indices thread_x(),
// thread_x() + threads_x(), ..., the ones it wrote itself where the caller wrote them in the same pattern.
template <typename T>
WBM_DEVICE void record(const Arguments<T>& args, std::int64_t p, std::int64_t iteration) {
  const std::int64_t n = args.problem.n, m = args.problem.m;
  double* slot = args.solution.history + (p * (args.options.max_iter + 1) + iteration) * (n + m);
  for (std::int64_t i = thread_x(); i < n; i += threads_x()) slot[i] = args.solution.f[p * n + i];
  for (std::int64_t j = thread_x(); j < m; j += threads_x()) slot[n + j] = args.solution.g[p * m + j];
}

}  // namespace wbm::cuda
