// One iteration of stabilised scaling by a group of blocks: one read of the kernel matrix, or of D where it is streamed.
#pragma once

#include "cuda/solver_state.cuh"

namespace wbm::cuda {

// Whether the present sums are float32.
template <typename T, typename Group>
WBM_DEVICE bool single(const Place<T, Group>&, const Progress& now) {
  return sizeof(T) == 4 && !now.precise;
}

// K = exp((f + g - D) / eps) / (a b') of this block's rows, a row to a warp; the weights are b.
template <typename T, typename Group>
WBM_DEVICE void build_kernel(const Place<T, Group>& at) {
  const Matrix<T> matrix = at.matrix();
  const Marginal rows = at.rows(), columns = at.columns();
  const Range own = at.own_rows();
  const double *f = at.f(), *g = at.g();
  const double inverse_epsilon = at.state().inverse_epsilon;
  const auto kernel = at.kernel(), weights = at.weights();
  const int lane = thread_x() % kWarp, warps = threads_x() / kWarp, m = static_cast<int>(at.m());
  for (int j = thread_x(); j < m; j += threads_x()) weights[j] = static_cast<T>(columns.active[j] ? columns.mass[j] : 0.0);
  for (std::int64_t i = own.first + thread_x() / kWarp; i < own.last; i += warps) {
    const bool row_active = rows.active[i];
    const double base = f[i] * inverse_epsilon - rows.log_mass[i];
    const int first = static_cast<int>(i - own.first) * m;
    for (int j = lane; j < m; j += kWarp) {
      const bool active = row_active && columns.active[j] && matrix.allows(i, j);
      const double column = g[j] * inverse_epsilon - columns.log_mass[j];
      kernel[first + j] = exponential(static_cast<T>(active ? base + column - matrix.at(i, j) * inverse_epsilon : -kInf));
    }
  }
}

// From f and g to scalings.
template <typename T, typename Group>
WBM_FUNCTION void absorb(const Place<T, Group>& at, Progress& now, Mode mode) {
  const double inverse_epsilon = at.state().inverse_epsilon;
  const Marginal rows = at.rows(), columns = at.columns();
  const Range own_rows = at.own_rows(), own_columns = at.own_columns();
  const double *f = at.f(), *g = at.g();
  const bool stored = mode == Mode::stored;
  now.mode = mode;
  now.copy = 0;
  now.shift = 0.0;
  now.relax = 1.0;
  now.moved = false;
  for (std::int64_t i = own_rows.first + thread_x(); i < own_rows.last; i += threads_x())
    at.row_iterates(0)[i] = rows.active[i] ? RowIterate{f[i] * inverse_epsilon - rows.log_mass[i], rows.mass[i],
                                                        rows.target(i, f[i]), 0.0}
                                           : RowIterate{-kInf, 0.0, 0.0, 0.0};
  for (std::int64_t j = own_columns.first + thread_x(); j < own_columns.last; j += threads_x()) {
    const bool active = columns.active[j];
    at.column_base(0)[j] = active ? g[j] * inverse_epsilon - (stored ? columns.log_mass[j] : 0.0) : -kInf;
    at.column_scale(0)[j] = !active ? 0.0 : stored ? columns.mass[j] : 1.0;
  }
  if (stored) build_kernel(at);
  at.group.barrier();
}

// f and g from the scalings.
template <typename T, typename Group>
WBM_FUNCTION void write_potentials(const Place<T, Group>& at, Progress& now) {
  if (!now.moved) return;
  const double epsilon = at.state().epsilon;
  const std::uint8_t *row_active = at.rows().active, *column_active = at.columns().active;
  const Range own_rows = at.own_rows(), own_columns = at.own_columns();
  const RowIterate* rows = at.row_iterates(now.copy);
  const double *base = at.column_base(now.copy), *scale = at.column_scale(now.copy);
  for (std::int64_t i = own_rows.first + thread_x(); i < own_rows.last; i += threads_x())
    if (row_active[i]) at.f()[i] = epsilon * (rows[i].base + now.shift + log(rows[i].scale));
  for (std::int64_t j = own_columns.first + thread_x(); j < own_columns.last; j += threads_x())
    if (column_active[j]) at.g()[j] = epsilon * (base[j] - now.shift + log(scale[j]));
  at.group.barrier();
  now.moved = false;
}

// What this block's rows tell of the present plan, whose row sums the sweep has found, and of their next iterates.
template <typename T, typename Group>
WBM_FUNCTION Tally tally_rows(const Place<T, Group>& at, const Progress& now) {
  const double limit = single(at, now) ? kLimit<float> : kLimit<double>, log_limit = log(limit);
  const Marginal rows = at.rows();
  const Range own = at.own_rows();
  const RowIterate *present = at.row_iterates(now.copy), *next = at.row_iterates(1 - now.copy);
  Tally tally = {0.0, 0.0, 0.0, 0.0};
  block_barrier();  // the next iterates of all rows
  for (std::int64_t i = own.first + thread_x(); i < own.last; i += threads_x()) {
    if (!rows.active[i]) continue;
    const double r = present[i].scale * next[i].s;
    tally.error += fabs(r - present[i].target * now.relax);
    tally.mass += r;
    tally.target += next[i].target;
    const bool safe = now.mode == Mode::streamed ? fabs(next[i].base - present[i].base) <= log_limit
                                                 : within(next[i].scale / rows.mass[i], limit);
    tally.unsafe += safe && within(next[i].s, limit) ? 0.0 : 1.0;
  }
  return tally;
}

// The f update and this block's column sums. The tally is that of the plan before.
template <typename T, typename Group>
WBM_FUNCTION Tally sweep_rows(const Place<T, Group>& at, const Progress& now) {
  const auto partial = at.group.own() + kHeader;
  const Layout& layout = at.args.plan.layout;
  const Marginal marginal = at.rows();
  const Range own = at.own_rows();
  const std::int64_t first = own.first;
  const SweepRows rows{static_cast<int>(own.last - first), static_cast<int>(at.m()), &at.state(), marginal.mass + first,
                       marginal.log_mass + first, marginal.active + first, at.row_iterates(now.copy) + first,
                       at.row_iterates(1 - now.copy) + first, now.shift};
  if (now.mode == Mode::stored) {
    const typename StoredEntries<T>::Source source{static_cast<unsigned>(layout.kernel), static_cast<unsigned>(layout.weights)};
    sweep<T, StoredEntries<T>>(rows, source, partial);
  } else if (!single(at, now)) {
    sweep<double, StreamedEntries<T, double>>(rows, {at.matrix().from_row(first), at.column_base(now.copy)}, partial);
  } else if constexpr (sizeof(T) == 4) {
    sweep<float, StreamedEntries<T, float>>(rows, {at.matrix().from_row(first), at.column_base(now.copy)}, partial);
  }
  return tally_rows(at, now);
}

// The g update of this block's own columns, from the sums in all windows. The tally: sum of the targets, unsafe columns.
template <typename T, typename Group>
WBM_FUNCTION Tally update_columns(const Place<T, Group>& at, const Progress& now) {
  const bool streamed = now.mode == Mode::streamed;
  const double limit = single(at, now) ? kLimit<float> : kLimit<double>;
  const double faint = single(at, now) ? kFaint<float> : kFaint<double>;
  const double inverse_epsilon = at.state().inverse_epsilon;
  const Marginal columns = at.columns();
  const Range own = at.own_columns();
  Tally tally = {0.0, 0.0, 0.0, 0.0};
  for (std::int64_t j = own.first + thread_x(); j < own.last; j += threads_x()) {
    double sum = 0.0;
    for (int rank = 0; rank < at.group.size(); ++rank) sum += at.group.of(rank)[kHeader + j];
    const double base = at.column_base(now.copy)[j];
    LineUpdate next = {0.0, 0.0};
    double absorbed = base;
    if (columns.active[j]) {
      // Streamed entries carry the factor b_j, and their base is g / eps.
      const double mass = columns.mass[j], log_mass = columns.log_mass[j];
      const double t = streamed ? sum / mass : sum;
      next = update_line(columns.side, mass, log_mass, (streamed ? base - log_mass : base) - now.shift, t, inverse_epsilon);
      tally.target += next.target;
      tally.unsafe += within(t, limit) && within(next.scale / mass, limit) && sum >= faint ? 0.0 : 1.0;
      if (streamed) {
        absorbed = base + log(next.scale) - log_mass;
        next.scale = 1.0;
      }
    }
    at.column_base(1 - now.copy)[j] = absorbed;
    at.column_scale(1 - now.copy)[j] = next.scale;
  }
  return tally;
}

// The second half of the iteration. False: the scalings left their range, and nothing has changed.
template <typename T, typename Group>
WBM_FUNCTION bool finish_scaling_iteration(const Place<T, Group>& at, Progress& now, const Tally& rows) {
  at.tell(2, update_columns(at, now));
  at.group.barrier();
  const Tally columns = at.hear(2);
  if (rows.unsafe + columns.unsafe > 0.0) return false;
  now.copy = 1 - now.copy;
  if (now.mode == Mode::stored) {
    const auto weights = at.weights();
    const double* scale = at.column_scale(now.copy);
    for (std::int64_t j = thread_x(); j < at.m(); j += threads_x()) weights[j] = static_cast<T>(scale[j]);
    block_barrier();
  }
  const State& state = at.state();
  double t = at.translation(rows.target, columns.target);
  if (!(fabs(t) < 20.0 * state.epsilon)) t = 0.0;
  now.shift += t * state.inverse_epsilon;
  now.relax = state.rows.hard ? 1.0 : exp(-t / state.rows.kappa);
  now.slack = at.slack_of(t);
  now.exact = now.precise;
  now.moved = true;
  now.wait = now.pause = 0;
  ++now.done;
  return true;
}

}  // namespace wbm::cuda
