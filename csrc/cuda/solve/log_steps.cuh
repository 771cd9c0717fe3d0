// One iteration of the log domain, four kernels and two reads of D:
//     row_log_sums               log sum_j exp((g_j - D_ij) / eps)
//     test_and_update_rows       residual of the plan as it stands (free: its sums are known), then f
//     update_columns             g, and the column sums of the plan
//     finish_iteration           the scaling criterion, the translation, the record (enqueued only where asked for)
// D is read in its own type; every operation on it is float64.
#pragma once

#include "cuda/problem/log_sum.cuh"
#include "cuda/problem/marginal.cuh"
#include "cuda/runtime/reduce.cuh"

namespace wbm::cuda {

// A block per row, O(n m).
template <typename T>
WBM_KERNEL(kMaxThreads) row_log_sums(Arguments<T> args) {
  const std::int64_t n = args.problem.n, m = args.problem.m;
  for (std::int64_t p = block_y(); p < args.problem.batch; p += grid_y()) {
    const State& state = args.work.states[p];
    if (state.finished) continue;
    const double inverse_epsilon = state.inverse_epsilon;
    const Matrix<T> matrix(args.problem, p);
    const double* g = args.solution.g + p * m;
    for (std::int64_t i = block_x(); i < n; i += grid_x()) {
      if (!args.work.row_active[p * n + i]) continue;
      LogSum s = empty_log_sum();
      for (std::int64_t j = thread_x(); j < m; j += threads_x()) add(s, matrix.exponent(i, j, g[j]), inverse_epsilon);
      s = block_reduce(s, MergeLogSums{inverse_epsilon});
      if (thread_x() != 0) continue;
      args.work.row_max[p * n + i] = s.max;
      args.work.row_sum[p * n + i] = s.sum;
    }
  }
}

// Sum of the plan over the line of a potential whose log sum is max / eps + log(sum).
WBM_DEVICE double line_mass(double potential, double max, double sum, double inverse_epsilon) {
  return exp((potential + max) * inverse_epsilon) * sum;
}

// Residual of (f, g) as they stand: the row log sums over g give P1, the last g update left P'1, and a translation
// changes neither, only what they should be.
template <typename T>
WBM_DEVICE double residual_of_plan(const Arguments<T>& args, const State& state, std::int64_t p) {
  const Marginal rows = rows_of(args, state, p), columns = columns_of(args, state, p);
  const double *f = args.solution.f + p * rows.size, *g = args.solution.g + p * columns.size;
  const double *max = args.work.row_max + p * rows.size, *sum = args.work.row_sum + p * rows.size;
  double error = 0.0, mass = 0.0;
  for (std::int64_t i = thread_x(); i < rows.size; i += threads_x()) {
    if (!rows.active[i]) continue;
    const double r = line_mass(f[i], max[i], sum[i], state.inverse_epsilon);
    error += fabs(r - rows.target(i, f[i]));
    mass += r;
  }
  for (std::int64_t j = thread_x(); j < columns.size; j += threads_x())
    error += fabs(args.work.column_mass[p * columns.size + j] - columns.target(j, g[j]));
  error = block_sum(error);
  mass = block_sum(mass);
  const double scale = fmax(mass, 0.5 * (state.rows.total + state.columns.total));
  return scale > 0.0 ? error / scale : 0.0;
}

// What rounding makes of exponents of this size: a residual below it may stop falling.
template <typename T>
WBM_DEVICE double rounding_level(const Arguments<T>& args, const State& state, std::int64_t p) {
  const Marginal rows = rows_of(args, state, p), columns = columns_of(args, state, p);
  const double *f = args.solution.f + p * rows.size, *g = args.solution.g + p * columns.size;
  double largest = double_of(state.cost_max);
  for (std::int64_t i = thread_x(); i < rows.size; i += threads_x())
    if (rows.active[i]) largest = fmax(largest, fabs(f[i]));
  for (std::int64_t j = thread_x(); j < columns.size; j += threads_x())
    if (columns.active[j]) largest = fmax(largest, fabs(g[j]));
  return 8 * 2.2e-16 * (4.0 + block_max(largest) * state.inverse_epsilon);
}

// True for every thread of the block when the problem is to stop: the residual is below tol (with a margin for the
// rounding between this residual and the reported one), or has not fallen for 20 tests at the rounding level.
template <typename T>
WBM_DEVICE bool test(const Arguments<T>& args, State& state, std::int64_t p) {
  const double before = state.best;
  std::int32_t since_best = state.since_best + 1;
  const double residual = residual_of_plan(args, state, p);
  if (residual < before) since_best = 0;
  const double best = fmin(before, residual);
  const bool met = residual <= args.options.tol * (1.0 - 1e-6);
  const bool stops = met || (since_best >= 20 && best <= rounding_level(args, state, p));
  if (thread_x() == 0) {
    state.best = best;
    state.since_best = since_best;
    state.finished = stops;
  }
  return stops;
}

// f from the rows' log sums, O(n).
template <typename T>
WBM_DEVICE void update_rows(const Arguments<T>& args, State& state, std::int64_t p) {
  const std::int64_t n = args.problem.n;
  const Marginal rows = rows_of(args, state, p);
  double* f = args.solution.f + p * n;
  const double *max = args.work.row_max + p * n, *sum = args.work.row_sum + p * n;
  for (std::int64_t i = thread_x(); i < n; i += threads_x()) {
    if (watches_scalings(args.options)) args.work.old_f[p * n + i] = f[i];
    f[i] = rows.update(i, max[i], sum[i], state.epsilon);
  }
  if (thread_x() == 0) ++state.iterations;
}

// A block per problem, O(n + m).
template <typename T>
WBM_DEVICE void test_and_update_rows_of(const Arguments<T>& args, std::int64_t p) {
  const bool watches_residual = args.options.tol > 0.0 && args.options.criterion == Criterion::marginal;
  State& state = args.work.states[p];
  if (state.finished) return;
  const bool first = state.iterations == 0;
  block_barrier();  // thread 0 counts below, after everyone has looked
  if (watches_residual && !first && test(args, state, p)) return;
  update_rows(args, state, p);
}

template <typename T>
WBM_KERNEL(kMaxThreads) test_and_update_rows(Arguments<T> args) {
  for (std::int64_t p = block_x(); p < args.problem.batch; p += grid_x()) test_and_update_rows_of(args, p);
}

// A tile per kTileColumns columns, O(n m): each thread takes every kTileRows-th row of its column.
template <typename T>
WBM_KERNEL(kTileThreads) update_columns(Arguments<T> args) {
  const std::int64_t n = args.problem.n, m = args.problem.m;
  for (std::int64_t p = block_y(); p < args.problem.batch; p += grid_y()) {
    const State& state = args.work.states[p];
    if (state.finished) continue;
    const double inverse_epsilon = state.inverse_epsilon;
    const Matrix<T> matrix(args.problem, p);
    const std::uint8_t* active = args.work.row_active + p * n;
    const double* f = args.solution.f + p * n;
    double* g = args.solution.g + p * m;
    for (std::int64_t first = block_x() * kTileColumns; first < m; first += grid_x() * kTileColumns) {
      const std::int64_t j = first + thread_x();
      LogSum s = empty_log_sum();
      for (std::int64_t i = thread_y(); j < m && i < n; i += kTileRows)
        if (active[i]) add(s, matrix.exponent(i, j, f[i]), inverse_epsilon);
      s = tile_reduce(s, MergeLogSums{inverse_epsilon});
      if (thread_y() != 0 || j >= m) continue;
      if (watches_scalings(args.options)) args.work.old_g[p * m + j] = g[j];
      const Marginal columns = columns_of(args, state, p);
      g[j] = columns.update(j, s.max, s.sum, state.epsilon);
      args.work.column_mass[p * m + j] = columns.active[j] ? line_mass(g[j], s.max, s.sum, inverse_epsilon) : 0.0;
    }
  }
}

// |u - u'|^2 over one side, u = exp(potential / eps).
WBM_DEVICE double scaling_change(const double* potential, const double* old, std::int64_t size,
                                 double inverse_epsilon) {
  double change = 0.0;
  for (std::int64_t i = thread_x(); i < size; i += threads_x()) {
    const double d = exp(potential[i] * inverse_epsilon) - exp(old[i] * inverse_epsilon);
    change += d * d;
  }
  return block_sum(change);
}

// log <mass, exp(-dual / kappa)>, the log of the total where the side is hard.
WBM_DEVICE double log_dual_mass(const Marginal& side, const double* potential) {
  LogSum s = empty_log_sum();
  for (std::int64_t i = thread_x(); i < side.size; i += threads_x()) {
    if (!side.active[i]) continue;
    const double shift = side.side.hard ? 0.0 : side.dual(i, potential[i]) / side.side.kappa;
    add(s, side.log_mass[i] - shift, 1.0);
  }
  s = block_reduce(s, MergeLogSums{1.0});
  return s.max + log(s.sum);
}

// f += t, g -= t leaves the plan alone and is optimal along that line for
//     t = kappa1 kappa2 / (kappa1 + kappa2) log(<a, exp(-f/kappa1)> / <b, exp(-g/kappa2)>)        (dual potentials)
// which removes the slow mode of large kappa. A hard side contributes its total mass and kappa -> inf.
template <typename T>
WBM_DEVICE void translate(const Arguments<T>& args, const State& state, std::int64_t p) {
  const Marginal rows = rows_of(args, state, p), columns = columns_of(args, state, p);
  if (rows.side.hard && columns.side.hard) return;
  const double kappa1 = rows.side.kappa, kappa2 = columns.side.kappa;
  const double strength = rows.side.hard ? kappa2 : columns.side.hard ? kappa1 : kappa1 * kappa2 / (kappa1 + kappa2);
  double *f = args.solution.f + p * rows.size, *g = args.solution.g + p * columns.size;
  const double t = strength * (log_dual_mass(rows, f) - log_dual_mass(columns, g));
  if (!is_finite(t)) return;
  for (std::int64_t i = thread_x(); i < rows.size; i += threads_x())
    if (rows.active[i]) f[i] += t;
  for (std::int64_t j = thread_x(); j < columns.size; j += threads_x())
    if (columns.active[j]) g[j] -= t;
}

// A block per problem, O(n + m).
template <typename T>
WBM_DEVICE void finish_iteration_of(const Arguments<T>& args, std::int64_t p) {
  const std::int64_t n = args.problem.n, m = args.problem.m;
  State& state = args.work.states[p];
  if (state.finished) return;
  const double* g = args.solution.g + p * m;
  if (watches_scalings(args.options)) {
    const double change =
        scaling_change(args.solution.f + p * n, args.work.old_f + p * n, n, state.inverse_epsilon) +
        scaling_change(g, args.work.old_g + p * m, m, state.inverse_epsilon);
    if (change < args.options.tol) {  // false where the change is NaN: an overflow counts as not met
      if (thread_x() == 0) state.status |= kConverged, state.finished = 1;
      if (args.solution.history) record(args, p, state.iterations);
      return;
    }
  }
  if (args.options.method == Method::accelerated && args.options.tol > 0.0) translate(args, state, p);
  if (args.solution.history) record(args, p, state.iterations);
}

template <typename T>
WBM_KERNEL(kMaxThreads) finish_iteration(Arguments<T> args) {
  for (std::int64_t p = block_x(); p < args.problem.batch; p += grid_x()) finish_iteration_of(args, p);
}

}  // namespace wbm::cuda
