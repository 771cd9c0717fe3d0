// One problem as the blocks of its group see it while they iterate. What a thread keeps in `Progress` is the same in every
// thread of the group: all of it follows from sums that every block adds up in the same order.
#pragma once

#include "cuda/solve/group.cuh"
#include "cuda/solve/sweep.cuh"

namespace wbm::cuda {

enum class Mode { log, stored, streamed };

struct Progress {
  Mode mode = Mode::log;
  int copy = 0;                 // which of the two copies of Iterates holds the present ones
  bool precise = false;         // sums in float64 from now on
  bool double_columns = false;  // the present columns come from float64 sums
  bool moved = false;           // iterations were accepted since f and g were last written
  bool met = false;             // the scaling criterion is
  double shift = 0.0;           // f / eps = base + shift + ..., g / eps = base - shift + ...
  double relax = 1.0;           // what the last translation multiplies the row targets by
  double slack = kInf;          // relative error of the columns: 0 after their update, more after a translation, else unknown
  double best = kInf;           // smallest residual in this precision
  std::int32_t since_best = 0;
  std::int64_t done = 0, wait = 0, pause = 0;
};

// What became of an iteration: in the log domain accepted, all potentials calm or not; of scalings accepted, or left out as
// their range was left, or to be done again with float64 sums; and accepted as the last, the scaling criterion met.
enum class Step { calm, restless, accepted, rejected, refine, met };

// The present problem's arrays, and the rows and columns that are this block's own. What can be computed is not kept: the
// registers belong to the sweep.
template <typename T, typename Group>
struct Place {
  const SolveArguments<T>& args;
  const Group& group;
  std::int64_t p;

  WBM_DEVICE std::int64_t n() const { return args.all.problem.n; }
  WBM_DEVICE std::int64_t m() const { return args.all.problem.m; }
  WBM_DEVICE const State& state() const { return args.all.work.states[p]; }
  WBM_DEVICE Matrix<T> matrix() const { return Matrix<T>(args.all.problem, p); }
  WBM_DEVICE Marginal rows() const { return rows_of(args.all, state(), p); }
  WBM_DEVICE Marginal columns() const { return columns_of(args.all, state(), p); }
  WBM_DEVICE double* f() const { return args.all.solution.f + p * n(); }
  WBM_DEVICE double* g() const { return args.all.solution.g + p * m(); }
  WBM_DEVICE RowIterate* row_iterates(int copy) const { return args.iterates.rows[copy] + p * n(); }
  WBM_DEVICE double* column_base(int copy) const { return args.iterates.column_base[copy] + p * m(); }
  WBM_DEVICE double* column_scale(int copy) const { return args.iterates.column_scale[copy] + p * m(); }

  WBM_DEVICE Range own_rows() const { return part(n(), args.plan.band); }
  WBM_DEVICE Range own_columns() const { return part(m(), (m() + group.size() - 1) / group.size()); }
  WBM_DEVICE Range part(std::int64_t size, std::int64_t band) const {
    const std::int64_t first = group.rank() * band;
    return {first < size ? first : size, first + band < size ? first + band : size};
  }

  template <typename S>
  WBM_DEVICE Shared<S> buffer() const {
    return dynamic_shared<S>(kBuffer);
  }
  WBM_DEVICE Shared<Real<T>> weights() const { return dynamic_shared<Real<T>>(args.plan.layout.weights); }
  WBM_DEVICE Shared<Real<T>> kernel() const { return dynamic_shared<Real<T>>(args.plan.layout.kernel); }

  // Adds the block's tally up and puts it where the others find it after the next barrier. One of three slots;
  // the fourth is rounding_of's.
  WBM_FUNCTION void publish(int slot, Tally tally) const {
    tally = block_reduce(tally, AddTallies{});
    if (thread_x() != 0) return;
    auto window = group.own();
    window[4 * slot] = tally.error;
    window[4 * slot + 1] = tally.mass;
    window[4 * slot + 2] = tally.target;
    window[4 * slot + 3] = tally.unsafe;
  }

  // What all blocks have published, added up in the order of a fixed tree: bitwise the same in every block. One block has
  // nothing to add to what it has published itself.
  WBM_FUNCTION Tally collect(int slot) const {
    if (group.size() == 1) return published(0, slot);
    Tally total = {0.0, 0.0, 0.0, 0.0};
    for (int rank = thread_x(); rank < group.size(); rank += threads_x()) total = AddTallies{}(total, published(rank, slot));
    return block_reduce(total, AddTallies{});
  }
  WBM_DEVICE Tally published(int rank, int slot) const {
    const auto window = group.of(rank);
    return {window[4 * slot], window[4 * slot + 1], window[4 * slot + 2], window[4 * slot + 3]};
  }

  WBM_DEVICE bool watches() const { return watches_scalings(args.all.options); }

  WBM_DEVICE double scale_of(double mass) const { return fmax(mass, 0.5 * (state().rows.total + state().columns.total)); }

  // Of the plan whose row sums were tallied; its columns are exact but for the slack.
  WBM_DEVICE double residual(const Tally& tally, const Progress& now) const {
    const double error = tally.error + tally.mass * now.slack, scale = scale_of(tally.mass);
    return scale > 0.0 ? error / scale : 0.0;
  }

  // t = kappa1 kappa2 / (kappa1 + kappa2) log(sum r* / sum c*), the translation f += t, g -= t that is optimal along its line;
  // 0 where there is none.
  WBM_DEVICE double translation(double row_target, double column_target) const {
    const Side &r = state().rows, &c = state().columns;
    const Options& options = args.all.options;
    if (options.method != Method::accelerated || !(options.tol > 0.0) || (r.hard && c.hard)) return 0.0;
    const double strength = r.hard ? c.kappa : c.hard ? r.kappa : r.kappa * c.kappa / (r.kappa + c.kappa);
    const double t = strength * log((r.hard ? r.total : row_target) / (c.hard ? c.total : column_target));
    return is_finite(t) ? t : 0.0;
  }

  WBM_DEVICE double slack_of(double t) const {
    const Side& c = state().columns;
    return c.hard ? 0.0 : fabs(1.0 - exp(t / c.kappa));
  }
};

}  // namespace wbm::cuda
