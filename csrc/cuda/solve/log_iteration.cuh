// One iteration in the log domain by a group of blocks, on f and g themselves: exact wherever the potentials stand, two reads
// of D. The first iteration is one, and every other that the scalings cannot take.
#pragma once

#include "cuda/problem/log_sum.cuh"
#include "cuda/solve/solver_state.cuh"

namespace wbm::cuda {

// A row to a warp. The next f goes beside the present one, and the tally is that of the present plan.
template <typename T, typename Group>
WBM_FUNCTION Tally log_rows(const Place<T, Group>& at) {
  const double inverse_epsilon = at.state().inverse_epsilon, epsilon = at.state().epsilon;
  const Matrix<T> matrix = at.matrix();
  const Marginal rows = at.rows();
  const Range own = at.own_rows();
  const double *f = at.f(), *g = at.g();
  RowIterate* next = at.row_iterates(0);
  Tally tally = {0.0, 0.0, 0.0, 0.0};
  const int lane = thread_x() % kWarp, warps = threads_x() / kWarp;
  for (std::int64_t i = own.first + thread_x() / kWarp; i < own.last; i += warps) {
    LogSum s = empty_log_sum();
    if (rows.active[i]) {
      for (std::int64_t j = lane; j < at.m(); j += kWarp) add(s, matrix.exponent(i, j, g[j]), inverse_epsilon);
      for (int bits = kWarp / 2; bits > 0; bits /= 2)
        s = MergeLogSums{inverse_epsilon}(s, {shuffle_xor(s.max, bits), shuffle_xor(s.sum, bits)});
    }
    if (lane != 0) continue;
    next[i].base = rows.update(i, s.max, s.sum, epsilon);
    if (!rows.active[i]) continue;
    const double r = exp((f[i] + s.max) * inverse_epsilon) * s.sum;
    tally.error += fabs(r - rows.target(i, f[i]));
    tally.mass += r;
  }
  return tally;
}

// Largest change that leaves the scalings in their range: then a new kernel matrix is worth its exponentials.
inline constexpr double kCalm = 8.0;

// f becomes the next one. The tally: sum of the targets, and how many potentials moved by more than kCalm epsilon.
template <typename T, typename Group>
WBM_DEVICE Tally take_rows(const Place<T, Group>& at) {
  const double calm = kCalm * at.state().epsilon, inverse_epsilon = at.state().inverse_epsilon;
  const bool watches = at.watches();
  const Marginal rows = at.rows();
  const Range own = at.own_rows();
  const RowIterate* next = at.row_iterates(0);
  double* f = at.f();
  Tally tally = {0.0, 0.0, 0.0, 0.0};
  for (std::int64_t i = own.first + thread_x(); i < own.last; i += threads_x()) {
    const double before = f[i], after = next[i].base;
    f[i] = after;
    if (watches) tally.watch(before * inverse_epsilon, after * inverse_epsilon);
    if (!rows.active[i]) continue;
    tally.target += rows.target(i, after);
    tally.unsafe += fabs(after - before) <= calm ? 0.0 : 1.0;
  }
  return tally;
}

// The log sums of this block's rows, for every column, go to its window: a warp's width of columns at a time, each warp
// every so-many-th row, the warps merged in order.
template <typename T, typename Group>
WBM_DEVICE void log_columns(const Place<T, Group>& at) {
  const MergeLogSums merge{at.state().inverse_epsilon};
  const Matrix<T> matrix = at.matrix();
  const std::uint8_t* active = at.rows().active;
  const Range own = at.own_rows();
  const double* f = at.f();
  const std::int64_t m = at.m();
  const auto window = at.group.own() + kHeader;
  const auto buffer = at.template buffer<double>();
  const int lane = thread_x() % kWarp, warp = thread_x() / kWarp, warps = threads_x() / kWarp;
  for (std::int64_t first = 0; first < m; first += kWarp) {
    const std::int64_t j = first + lane;
    LogSum s = empty_log_sum();
    for (std::int64_t i = own.first + warp; j < m && i < own.last; i += warps)
      if (active[i]) add(s, matrix.exponent(i, j, f[i]), merge.inverse_epsilon);
    block_barrier();  // the columns before these are merged
    buffer[2 * thread_x()] = s.max;
    buffer[2 * thread_x() + 1] = s.sum;
    block_barrier();
    if (warp != 0 || j >= m) continue;
    for (int w = 1; w < warps; ++w) s = merge(s, {buffer[2 * (w * kWarp + lane)], buffer[2 * (w * kWarp + lane) + 1]});
    window[j] = s.max;
    window[m + j] = s.sum;
  }
}

// The g update of this block's own columns, from all windows.
template <typename T, typename Group>
WBM_DEVICE Tally finish_log_columns(const Place<T, Group>& at) {
  const MergeLogSums merge{at.state().inverse_epsilon};
  const double epsilon = at.state().epsilon;
  const bool watches = at.watches();
  const Marginal columns = at.columns();
  const Range own = at.own_columns();
  double* g = at.g();
  Tally tally = {0.0, 0.0, 0.0, 0.0};
  for (std::int64_t j = own.first + thread_x(); j < own.last; j += threads_x()) {
    LogSum s = empty_log_sum();
    for (int rank = 0; rank < at.group.size(); ++rank) {
      const auto window = at.group.of(rank) + kHeader;
      s = merge(s, {window[j], window[at.m() + j]});
    }
    const double before = g[j], after = columns.update(j, s.max, s.sum, epsilon);
    g[j] = after;
    if (watches) tally.watch(before * merge.inverse_epsilon, after * merge.inverse_epsilon);
    if (!columns.active[j]) continue;
    tally.target += columns.target(j, after);
    tally.unsafe += fabs(after - before) <= kCalm * epsilon ? 0.0 : 1.0;
  }
  return tally;
}

template <typename T, typename Group>
WBM_DEVICE void translate_potentials(const Place<T, Group>& at, double t) {
  const std::uint8_t *rows = at.rows().active, *columns = at.columns().active;
  const Range own_rows = at.own_rows(), own_columns = at.own_columns();
  for (std::int64_t i = own_rows.first + thread_x(); i < own_rows.last; i += threads_x())
    if (rows[i]) at.f()[i] += t;
  for (std::int64_t j = own_columns.first + thread_x(); j < own_columns.last; j += threads_x())
    if (columns[j]) at.g()[j] -= t;
}

// The second half of the iteration, after the rows were found not to end the solve.
template <typename T, typename Group>
WBM_FUNCTION Step finish_log_iteration(const Place<T, Group>& at, Progress& now) {
  const Tally moved_rows = take_rows(at);
  block_barrier();  // f of every row
  log_columns(at);
  at.publish(1, moved_rows);
  at.group.barrier();
  const Tally rows = at.collect(1);
  at.publish(2, finish_log_columns(at));
  at.group.barrier();
  const Tally columns = at.collect(2);
  if (at.watches() && rows.error + columns.error < at.args.all.options.tol) {
    ++now.done;
    return Step::met;
  }
  const double t = at.translation(rows.target, columns.target);
  if (t != 0.0) {
    translate_potentials(at, t);
    at.group.barrier();
  }
  now.slack = at.slack_of(t);
  now.double_columns = true;
  ++now.done;
  return rows.unsafe + columns.unsafe == 0.0 ? Step::calm : Step::restless;
}

}  // namespace wbm::cuda
