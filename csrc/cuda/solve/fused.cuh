// The whole iteration of a batch in one launch: a group of blocks a problem, each problem until it stops by itself.
#pragma once

#include "cuda/solve/log_iteration.cuh"
#include "cuda/solve/scaling_iteration.cuh"

namespace wbm::cuda {

// What rounding makes of exponents of this size: a residual below it may stop falling.
template <typename T, typename Group>
WBM_FUNCTION double rounding_of(const Place<T, Group>& at, Progress& now) {
  write_potentials(at, now);
  double largest = double_of(at.state().cost_max);
  const std::uint8_t *rows = at.rows().active, *columns = at.columns().active;
  const Range own_rows = at.own_rows(), own_columns = at.own_columns();
  for (std::int64_t i = own_rows.first + thread_x(); i < own_rows.last; i += threads_x())
    if (rows[i]) largest = fmax(largest, fabs(at.f()[i]));
  for (std::int64_t j = own_columns.first + thread_x(); j < own_columns.last; j += threads_x())
    if (columns[j]) largest = fmax(largest, fabs(at.g()[j]));
  largest = block_max(largest);
  if (thread_x() == 0) at.group.own()[12] = largest;
  at.group.barrier();
  for (int rank = 0; rank < at.group.size(); ++rank) {
    const double other = at.group.of(rank)[12];
    largest = fmax(largest, other) + 0.0 * other;  // NaN if one is
  }
  return 8 * 2.2e-16 * (4.0 + largest * at.state().inverse_epsilon);
}

template <typename T>
WBM_DEVICE Mode fast_mode(const SolveArguments<T>& args, const Progress& now) {
  return args.plan.stored && (sizeof(Real<T>) == 8 || !now.precise) ? Mode::stored : Mode::streamed;
}

// float32 sums have done what they can: float64 from here, on the potentials reached.
template <typename T, typename Group>
WBM_DEVICE void refine(const Place<T, Group>& at, Progress& now) {
  write_potentials(at, now);
  now.precise = true;
  now.best = kInf;
  now.since_best = 0;
}

// What is recorded is differentiated as it stands: by float64 sums.
template <typename T>
WBM_DEVICE bool precise_from_the_start(const Arguments<T>& args) {
  const Options& options = args.options;
  const bool tight = options.tol > 0.0 && options.tol < 2e-7 && !watches_scalings(options);
  return sizeof(Real<T>) == 8 || tight || args.solution.history;
}

enum class Outcome { go_on, refine, met, stagnated };

// The residual of the present plan, whose row sums are `rows`: met only on float64 sums of columns and rows. Where the
// scalings are watched the iteration says itself whether it was the last.
template <typename T, typename Group>
WBM_FUNCTION Outcome test_residual(const Place<T, Group>& at, Progress& now, const Tally& rows) {
  const Options& options = at.args.all.options;
  if (!(options.tol > 0.0) || now.slack == kInf || at.watches()) return Outcome::go_on;
  const double residual = at.residual(rows, now);
  const bool double_sums = now.precise || now.mode == Mode::log;
  if (residual <= options.tol * (1.0 - 1e-6)) {
    if (!double_sums) return Outcome::refine;
    if (now.double_columns) return Outcome::met;
  }
  now.since_best = residual < now.best ? 0 : now.since_best + 1;
  now.best = fmin(now.best, residual);
  if (now.since_best < 20) return Outcome::go_on;
  if (!double_sums && now.best <= 1e-5) return Outcome::refine;
  return double_sums && now.best <= rounding_of(at, now) ? Outcome::stagnated : Outcome::go_on;
}

// True when the problem has stopped by itself, false at the iteration limit.
template <typename T, typename Group>
WBM_DEVICE bool iterate(const Place<T, Group>& at, Progress& now) {
  const Options& options = at.args.all.options;
  now.precise = precise_from_the_start(at.args.all);
  while (now.done < options.max_iter) {
    at.publish(0, now.mode == Mode::log ? log_rows(at) : sweep_rows(at, now));
    at.group.barrier();
    const Tally rows = at.collect(0);
    const Outcome outcome = test_residual(at, now, rows);
    if (outcome == Outcome::met || outcome == Outcome::stagnated) return true;
    Step step = Step::refine;
    if (outcome != Outcome::refine)
      step = now.mode == Mode::log ? finish_log_iteration(at, now) : finish_scaling_iteration(at, now, rows);
    if (step == Step::refine) {
      refine(at, now);
      absorb(at, now, fast_mode(at.args, now));
    } else if (step == Step::rejected) {
      // Nothing gained since the last absorption: wait longer and longer before the next one, which has float64 sums.
      now.pause = now.pause < 32 ? 2 * now.pause + 1 : 64;
      now.wait = now.pause;
      if (now.pause > 1 && !now.precise) refine(at, now);
      write_potentials(at, now);
      now.mode = Mode::log;
    } else {
      record_iteration(at, now);
      if (step == Step::met) return now.met = true;
      if (step != Step::accepted && now.done < options.max_iter && --now.wait < 0 &&
          (now.done == 1 || step == Step::calm))
        absorb(at, now, fast_mode(at.args, now));
    }
  }
  return false;
}

template <typename T, typename Group>
WBM_DEVICE void solve_group(const SolveArguments<T>& args) {
  const Group group(args);
  for (std::int64_t p = group.first; p < args.all.problem.batch; p += group.step) {
    if (args.all.work.states[p].finished) continue;
    const Place<T, Group> at{args, group, p};
    Progress now;
    const bool stopped = iterate(at, now);
    write_potentials(at, now);
    group.barrier();  // no block leaves, or writes to its window, while another may read it
    if (group.rank() != 0 || thread_x() != 0) continue;
    State& state = args.all.work.states[p];
    state.iterations = now.done;
    state.finished = stopped;
    if (now.met) state.status |= kConverged;
  }
}

template <typename T>
WBM_KERNEL(kSolveThreads) solve_by_block(WBM_ARGUMENTS SolveArguments<T> args) {
  solve_group<T, BlockGroup>(args);
}

template <typename T>
WBM_KERNEL(kSolveThreads) solve_by_cluster(WBM_ARGUMENTS SolveArguments<T> args) {
  solve_group<T, ClusterGroup>(args);
}

template <typename T>
WBM_KERNEL(kSolveThreads) solve_by_grid(WBM_ARGUMENTS SolveArguments<T> args) {
  solve_group<T, GridGroup>(args);
}

// One block: the counters of the grid's barriers.
template <typename T>
WBM_KERNEL(kMaxThreads) clear_counters(SolveArguments<T> args) {
  for (int k = thread_x(); k < args.plan.groups; k += threads_x()) args.iterates.counters[k] = 0;
}

}  // namespace wbm::cuda
