// One iteration of stabilised scaling by a group of blocks: one read of the kernel matrix, or of D where it is streamed.
#pragma once

#include "cuda/solver_state.cuh"

namespace wbm::cuda {

// From f and g to scalings; with `stored` the kernel matrix is built in shared memory, one exponential an entry.
template <typename T, typename Group>
WBM_DEVICE void absorb(const Place<T, Group>& at, Progress& now, Mode mode) {
  const double inverse_epsilon = at.state.inverse_epsilon;
  const bool stored = mode == Mode::stored;
  now.mode = mode;
  now.copy = 0;
  now.shift = 0.0;
  now.relax = 1.0;
  now.moved = false;
  for (std::int64_t i = at.own_rows.first + thread_x(); i < at.own_rows.last; i += threads_x()) {
    const bool active = at.rows.active[i];
    at.row_base(0)[i] = active ? at.f[i] * inverse_epsilon - at.rows.log_mass[i] : -kInf;
    at.row_scale(0)[i] = active ? at.rows.mass[i] : 0.0;
    at.row_target(0)[i] = at.rows.target(i, at.f[i]);
  }
  for (std::int64_t j = at.own_columns.first + thread_x(); j < at.own_columns.last; j += threads_x()) {
    const bool active = at.columns.active[j];
    at.column_base(0)[j] = active ? at.g[j] * inverse_epsilon - (stored ? at.columns.log_mass[j] : 0.0) : -kInf;
    at.column_scale(0)[j] = !active ? 0.0 : stored ? at.columns.mass[j] : 1.0;
  }
  if (stored) {
    const auto kernel = at.kernel(), weights = at.weights();
    const int lane = thread_x() % kWarp, warps = threads_x() / kWarp;
    for (std::int64_t j = thread_x(); j < at.m; j += threads_x())
      weights[j] = static_cast<T>(at.columns.active[j] ? at.columns.mass[j] : 0.0);
    for (std::int64_t i = at.own_rows.first + thread_x() / kWarp; i < at.own_rows.last; i += warps) {
      const double base = at.f[i] * inverse_epsilon - at.rows.log_mass[i];
      for (std::int64_t j = lane; j < at.m; j += kWarp) {
        const bool active = at.rows.active[i] && at.columns.active[j] && at.matrix.allows(i, j);
        const double exponent =
            active ? base + (at.g[j] * inverse_epsilon - at.columns.log_mass[j]) - at.matrix.at(i, j) * inverse_epsilon
                   : -kInf;
        kernel[(i - at.own_rows.first) * at.m + j] = exponential(static_cast<T>(exponent));
      }
    }
  }
  at.group.barrier();
}

// f and g from the scalings.
template <typename T, typename Group>
WBM_DEVICE void write_potentials(const Place<T, Group>& at, Progress& now) {
  const double epsilon = at.state.epsilon;
  if (!now.moved) return;
  for (std::int64_t i = at.own_rows.first + thread_x(); i < at.own_rows.last; i += threads_x())
    if (at.rows.active[i])
      at.f[i] = epsilon * (at.row_base(now.copy)[i] + now.shift + log(at.row_scale(now.copy)[i]));
  for (std::int64_t j = at.own_columns.first + thread_x(); j < at.own_columns.last; j += threads_x())
    if (at.columns.active[j])
      at.g[j] = epsilon * (at.column_base(now.copy)[j] - now.shift + log(at.column_scale(now.copy)[j]));
  at.group.barrier();
  now.moved = false;
}

// The f update of one row, into the other copy, and what the row tells of the present plan.
template <typename T, typename Group>
struct UpdateRow {
  const Place<T, Group>& at;
  const Progress& now;
  double limit;

  WBM_DEVICE double operator()(std::int64_t i, double s, bool owner, Tally& tally) const {
    const bool active = at.rows.active[i];
    const double base = at.row_base(now.copy)[i];
    const LineUpdate next = active ? update_line(at.rows, i, base + now.shift, s, at.state.inverse_epsilon, limit)
                                   : LineUpdate{0.0, 0.0, true};
    if (!owner) return next.scale;
    const bool streamed = now.mode == Mode::streamed;
    if (active) {
      const double r = at.row_scale(now.copy)[i] * s;
      tally.error += fabs(r - at.row_target(now.copy)[i] * now.relax);
      tally.mass += r;
      tally.target += next.target;
      tally.unsafe += next.safe ? 0.0 : 1.0;
    }
    const int other = 1 - now.copy;
    at.row_base(other)[i] = streamed && active ? base + log(next.scale) - at.rows.log_mass[i] : base;
    at.row_scale(other)[i] = streamed && active ? at.rows.mass[i] : next.scale;
    at.row_target(other)[i] = next.target;
    return next.scale;
  }
};

// The f update and this block's column sums. The tally is that of the plan before.
template <typename T, typename Group>
WBM_DEVICE Tally sweep_rows(const Place<T, Group>& at, const Progress& now) {
  const auto window = at.group.own() + kHeader;
  if (now.mode == Mode::stored) {
    const StoredEntries<T> entries{at.kernel(), at.weights(), at.own_rows.first, at.m};
    return sweep<T>(entries, UpdateRow<T, Group>{at, now, kLimit<T>}, at.own_rows, at.m, at.template buffer<T>(), window);
  }
  const double *row_base = at.row_base(now.copy), *column_base = at.column_base(now.copy);
  if constexpr (sizeof(T) == 4) {
    if (!now.precise) {
      const StreamedEntries<T, float> entries{at.matrix, row_base, column_base, at.state.inverse_epsilon};
      return sweep<float>(entries, UpdateRow<T, Group>{at, now, kLimit<float>}, at.own_rows, at.m,
                          at.template buffer<float>(), window);
    }
  }
  const StreamedEntries<T, double> entries{at.matrix, row_base, column_base, at.state.inverse_epsilon};
  return sweep<double>(entries, UpdateRow<T, Group>{at, now, kLimit<double>}, at.own_rows, at.m,
                       at.template buffer<double>(), window);
}

// The g update of this block's own columns, from the sums in all windows. The tally: sum of the targets, unsafe columns.
template <typename T, typename Group>
WBM_DEVICE Tally update_columns(const Place<T, Group>& at, const Progress& now) {
  const bool single = sizeof(T) == 4 && !now.precise, streamed = now.mode == Mode::streamed;
  const double limit = single ? kLimit<float> : kLimit<double>, faint = single ? kFaint<float> : kFaint<double>;
  const int other = 1 - now.copy;
  Tally tally = {0.0, 0.0, 0.0, 0.0};
  for (std::int64_t j = at.own_columns.first + thread_x(); j < at.own_columns.last; j += threads_x()) {
    double sum = 0.0;
    for (int rank = 0; rank < at.group.size(); ++rank) sum += at.group.of(rank)[kHeader + j];
    const double base = at.column_base(now.copy)[j];
    LineUpdate next = {0.0, 0.0, true};
    double absorbed = base;
    if (at.columns.active[j]) {
      // Streamed entries carry the factor b_j, and their base is g / eps.
      const double t = streamed ? sum / at.columns.mass[j] : sum, log_mass = at.columns.log_mass[j];
      next = update_line(at.columns, j, (streamed ? base - log_mass : base) - now.shift, t, at.state.inverse_epsilon, limit);
      tally.target += next.target;
      tally.unsafe += next.safe && sum >= faint ? 0.0 : 1.0;
      if (streamed) {
        absorbed = base + log(next.scale) - log_mass;
        next.scale = 1.0;
      }
    }
    at.column_base(other)[j] = absorbed;
    at.column_scale(other)[j] = next.scale;
  }
  return tally;
}

// The second half of the iteration. False: the scalings left their range, and nothing has changed.
template <typename T, typename Group>
WBM_DEVICE bool finish_scaling_iteration(const Place<T, Group>& at, Progress& now, const Tally& rows) {
  at.tell(2, update_columns(at, now));
  at.group.barrier();
  const Tally columns = at.hear(2);
  if (rows.unsafe + columns.unsafe > 0.0) return false;
  now.copy = 1 - now.copy;
  if (now.mode == Mode::stored) {
    const auto weights = at.weights();
    const double* scale = at.column_scale(now.copy);
    for (std::int64_t j = thread_x(); j < at.m; j += threads_x()) weights[j] = static_cast<T>(scale[j]);
    block_barrier();
  }
  double t = at.translation(rows.target, columns.target);
  if (!(fabs(t) < 20.0 * at.state.epsilon)) t = 0.0;
  now.shift += t * at.state.inverse_epsilon;
  now.relax = at.rows.side.hard ? 1.0 : exp(-t / at.rows.side.kappa);
  now.slack = at.slack_of(t);
  now.exact = now.precise;
  now.moved = true;
  now.wait = now.pause = 0;
  ++now.done;
  return true;
}

}  // namespace wbm::cuda
