// One iteration of stabilised scaling by a group of blocks: one read of the kernel matrix, or of D where it is streamed.
#pragma once

#include "cuda/solve/solver_state.cuh"

namespace wbm::cuda {

// Whether the present sums are float32.
template <typename T, typename Group>
WBM_DEVICE bool single(const Place<T, Group>&, const Progress& now) {
  return sizeof(Real<T>) == 4 && !now.precise;
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
  for (int j = thread_x(); j < m; j += threads_x())
    weights[j] = static_cast<Real<T>>(columns.active[j] ? columns.mass[j] : 0.0);
  for (std::int64_t i = own.first + thread_x() / kWarp; i < own.last; i += warps) {
    const bool row_active = rows.active[i];
    const double base = f[i] * inverse_epsilon - rows.log_mass[i];
    const int first = static_cast<int>(i - own.first) * m;
    for (int j = lane; j < m; j += kWarp) {
      const bool active = row_active && columns.active[j] && matrix.allows(i, j);
      const double column = g[j] * inverse_epsilon - columns.log_mass[j];
      const double exponent = active ? base + column - matrix.at(i, j) * inverse_epsilon : -kInf;
      kernel[first + j] = exponential(static_cast<Real<T>>(exponent));
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

// A potential from its scaling; shift is that of f, or of g.
WBM_DEVICE double potential_of(double epsilon, double base, double shift, double scale) {
  return epsilon * (base + shift + log(scale));
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
    if (row_active[i]) at.f()[i] = potential_of(epsilon, rows[i].base, now.shift, rows[i].scale);
  for (std::int64_t j = own_columns.first + thread_x(); j < own_columns.last; j += threads_x())
    if (column_active[j]) at.g()[j] = potential_of(epsilon, base[j], -now.shift, scale[j]);
  at.group.barrier();
  now.moved = false;
}

// history(p, done) <- (f, g) of this block's own rows and columns, which the thread here has written itself.
template <typename T, typename Group>
WBM_FUNCTION void record_iteration(const Place<T, Group>& at, const Progress& now) {
  const Arguments<T>& all = at.args.all;
  if (!all.solution.history) return;
  double* slot = all.solution.history + (at.p * (all.options.max_iter + 1) + now.done) * (at.n() + at.m());
  const double epsilon = at.state().epsilon;
  const std::uint8_t *row_active = at.rows().active, *column_active = at.columns().active;
  const Range own_rows = at.own_rows(), own_columns = at.own_columns();
  const RowIterate* rows = at.row_iterates(now.copy);
  const double *base = at.column_base(now.copy), *scale = at.column_scale(now.copy);
  const bool log = now.mode == Mode::log;
  for (std::int64_t i = own_rows.first + thread_x(); i < own_rows.last; i += threads_x())
    slot[i] = log || !row_active[i] ? at.f()[i] : potential_of(epsilon, rows[i].base, now.shift, rows[i].scale);
  for (std::int64_t j = own_columns.first + thread_x(); j < own_columns.last; j += threads_x())
    slot[at.n() + j] = log || !column_active[j] ? at.g()[j] : potential_of(epsilon, base[j], -now.shift, scale[j]);
}

// What this block's rows say of the present plan, whose row sums the sweep has found, and of their next iterates.
template <typename T, typename Group>
WBM_FUNCTION Tally tally_rows(const Place<T, Group>& at, const Progress& now) {
  const double limit = single(at, now) ? kLimit<float> : kLimit<double>, log_limit = log(limit);
  const bool watches = at.watches();
  const Marginal rows = at.rows();
  const Range own = at.own_rows();
  const RowIterate *present = at.row_iterates(now.copy), *next = at.row_iterates(1 - now.copy);
  Tally tally = {0.0, 0.0, 0.0, 0.0};
  block_barrier();  // the next iterates of all rows
  for (std::int64_t i = own.first + thread_x(); i < own.last; i += threads_x()) {
    if (!rows.active[i]) continue;
    if (watches) {
      tally.watch(present[i].base + now.shift + log(present[i].scale), next[i].base + now.shift + log(next[i].scale));
    } else {
      const double r = present[i].scale * next[i].s;
      tally.error += fabs(r - present[i].target * now.relax);
      tally.mass += r;
    }
    tally.target += next[i].target;
    const bool safe = now.mode == Mode::streamed ? fabs(next[i].base - present[i].base) <= log_limit
                                                 : within(next[i].scale / rows.mass[i], limit);
    tally.unsafe += safe && within(next[i].s, limit) ? 0.0 : 1.0;
  }
  return tally;
}

template <typename T, typename Group>
WBM_DEVICE SweepRows rows_of_sweep(const Place<T, Group>& at, const Progress& now) {
  const Marginal rows = at.rows();
  const Range own = at.own_rows();
  const std::int64_t first = own.first;
  return {static_cast<int>(own.last - first), static_cast<int>(at.m()), &at.state(), rows.mass + first, rows.log_mass + first,
          rows.active + first, at.row_iterates(now.copy) + first, at.row_iterates(1 - now.copy) + first, now.shift};
}

template <typename S, typename T, typename Group>
WBM_DEVICE typename StreamedEntries<T, S>::Source source_of_sweep(const Place<T, Group>& at, const Progress& now) {
  return {at.matrix().from_row(at.own_rows().first), at.column_base(now.copy)};
}

// How many streamed rows shared memory keeps beside the column sums; none where registers hold a row, or it has no room.
template <typename S, typename T, typename Group>
WBM_DEVICE int kept_rows(const Place<T, Group>& at) {
  const Layout& layout = at.args.plan.layout;
  const std::size_t row = static_cast<std::size_t>(at.m()) * sizeof(S);
  return at.m() > kHeldColumns<S> ? static_cast<int>((layout.bytes - layout.kernel) / row) - 1 : 0;
}

// Functions of their own: what one of them needs in registers is not in the way of the other.
template <typename S, typename T, typename Group>
WBM_FUNCTION void sweep_rows_kept(const Place<T, Group>& at, const Progress& now) {
  sweep_by_kept<S, StreamedEntries<T, S>>(rows_of_sweep(at, now), source_of_sweep<S>(at, now), kept_rows<S>(at),
                                          static_cast<unsigned>(at.args.plan.layout.kernel), at.group.own() + kHeader);
}

template <typename T, typename Group>
WBM_FUNCTION void sweep_rows_stored(const Place<T, Group>& at, const Progress& now) {
  const Layout& layout = at.args.plan.layout;
  const auto kernel = static_cast<unsigned>(layout.kernel), weights = static_cast<unsigned>(layout.weights);
  sweep<Real<T>, StoredEntries<Real<T>>>(rows_of_sweep(at, now), {kernel, weights}, at.group.own() + kHeader);
}

template <typename S, typename T, typename Group>
WBM_FUNCTION void sweep_rows_held(const Place<T, Group>& at, const Progress& now) {
  sweep<S, StreamedEntries<T, S>>(rows_of_sweep(at, now), source_of_sweep<S>(at, now), at.group.own() + kHeader);
}

template <typename S, typename T, typename Group>
WBM_DEVICE void sweep_streamed(const Place<T, Group>& at, const Progress& now) {
  if (kept_rows<S>(at) > 0) return sweep_rows_kept<S>(at, now);
  sweep_rows_held<S>(at, now);
}

// The f update and this block's column sums. The tally is that of the plan before.
template <typename T, typename Group>
WBM_FUNCTION Tally sweep_rows(const Place<T, Group>& at, const Progress& now) {
  if (now.mode == Mode::stored) {
    sweep_rows_stored(at, now);
  } else if (!single(at, now)) {
    sweep_streamed<double>(at, now);
  } else if constexpr (sizeof(Real<T>) == 4) {
    sweep_streamed<float>(at, now);
  }
  return tally_rows(at, now);
}

// The g update of this block's own columns, from the sums in all windows. The tally: sum of the targets, unsafe columns.
template <typename T, typename Group>
WBM_FUNCTION Tally update_columns(const Place<T, Group>& at, const Progress& now) {
  const bool streamed = now.mode == Mode::streamed, watches = at.watches();
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
      if (watches)
        tally.watch(base - now.shift + log(at.column_scale(now.copy)[j]), absorbed - now.shift + log(next.scale));
    }
    at.column_base(1 - now.copy)[j] = absorbed;
    at.column_scale(1 - now.copy)[j] = next.scale;
  }
  return tally;
}

inline constexpr double kSettled = 1e-10;  // |u' - u|^2 / |u|^2 from which on float32 sums say no more

// The second half of the iteration. Rejected or to be refined: nothing has changed.
template <typename T, typename Group>
WBM_FUNCTION Step finish_scaling_iteration(const Place<T, Group>& at, Progress& now, const Tally& rows) {
  at.publish(2, update_columns(at, now));
  at.group.barrier();
  const Tally columns = at.collect(2);
  if (rows.unsafe + columns.unsafe > 0.0) return Step::rejected;
  if (at.watches()) {
    const double change = rows.error + columns.error, tol = at.args.all.options.tol;
    if (single(at, now) && change <= fmax(tol, kSettled * (rows.mass + columns.mass))) return Step::refine;
    now.met = change < tol;
  }
  now.copy = 1 - now.copy;
  now.moved = true;
  ++now.done;
  if (now.met) return Step::met;
  if (now.mode == Mode::stored) {
    const auto weights = at.weights();
    const double* scale = at.column_scale(now.copy);
    for (std::int64_t j = thread_x(); j < at.m(); j += threads_x()) weights[j] = static_cast<Real<T>>(scale[j]);
    block_barrier();
  }
  const State& state = at.state();
  double t = at.translation(rows.target, columns.target);
  if (!(fabs(t) < 20.0 * state.epsilon)) t = 0.0;
  now.shift += t * state.inverse_epsilon;
  now.relax = state.rows.hard ? 1.0 : exp(-t / state.rows.kappa);
  now.slack = at.slack_of(t);
  now.double_columns = now.precise;
  now.wait = now.pause = 0;
  return Step::accepted;
}

}  // namespace wbm::cuda
