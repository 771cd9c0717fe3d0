// One problem as the blocks of its group see it while they iterate. What a thread keeps in `Progress` is the same in every
// thread of the group: all of it follows from sums that every block adds up in the same order.
#pragma once

#include "cuda/group.cuh"
#include "cuda/sweep.cuh"

namespace wbm::cuda {

enum class Mode { log, stored, streamed };

struct Progress {
  Mode mode = Mode::log;
  int copy = 0;                 // which of the two copies of Iterates holds the present ones
  bool precise = false;         // sums in float64 from now on
  bool exact = false;           // the present columns come from float64 sums
  bool moved = false;           // iterations were accepted since f and g were last written
  double shift = 0.0;           // f / eps = base + shift + ..., g / eps = base - shift + ...
  double relax = 1.0;           // what the last translation multiplies the row targets by
  double slack = 0.0;           // relative error of the columns that it left
  double best = kInf;           // smallest residual in this precision
  std::int32_t since_best = 0;
  std::int64_t done = 0, wait = 0, pause = 0;
};

// The present problem's arrays, and the rows and columns that are this block's own.
template <typename T, typename Group>
struct Place {
  const SolveArguments<T>& args;
  const Group& group;
  const State& state;
  std::int64_t p, n, m;
  Matrix<T> matrix;
  Marginal rows, columns;
  double *f, *g;
  Range own_rows, own_columns;

  WBM_DEVICE Place(const SolveArguments<T>& args_, const Group& group_, std::int64_t p_)
      : args(args_), group(group_), state(args_.all.work.states[p_]), p(p_), n(args_.all.problem.n),
        m(args_.all.problem.m), matrix(args_.all.problem, p_), rows(rows_of(args_.all, state, p_)),
        columns(columns_of(args_.all, state, p_)), f(args_.all.solution.f + p_ * n), g(args_.all.solution.g + p_ * m),
        own_rows(part(n, args_.plan.band)), own_columns(part(m, (m + group_.size() - 1) / group_.size())) {}

  WBM_DEVICE Range part(std::int64_t size, std::int64_t band) const {
    const std::int64_t first = group.rank() * band;
    return {first < size ? first : size, first + band < size ? first + band : size};
  }

  WBM_DEVICE double* row_base(int copy) const { return args.iterates.row_base[copy] + p * n; }
  WBM_DEVICE double* row_scale(int copy) const { return args.iterates.row_scale[copy] + p * n; }
  WBM_DEVICE double* row_target(int copy) const { return args.iterates.row_target[copy] + p * n; }
  WBM_DEVICE double* column_base(int copy) const { return args.iterates.column_base[copy] + p * m; }
  WBM_DEVICE double* column_scale(int copy) const { return args.iterates.column_scale[copy] + p * m; }

  template <typename S>
  WBM_DEVICE Shared<S> buffer() const {
    return dynamic_shared<S>(args.plan.layout.buffer);
  }
  WBM_DEVICE Shared<T> weights() const { return dynamic_shared<T>(args.plan.layout.weights); }
  WBM_DEVICE Shared<T> kernel() const { return dynamic_shared<T>(args.plan.layout.kernel); }

  // Adds the block's tally up and puts it where the others find it after the next barrier. One of three slots;
  // the fourth is rounding_of's.
  WBM_DEVICE void tell(int slot, Tally tally) const {
    tally = block_reduce(tally, AddTallies{});
    if (thread_x() != 0) return;
    auto window = group.own();
    window[4 * slot] = tally.error;
    window[4 * slot + 1] = tally.mass;
    window[4 * slot + 2] = tally.target;
    window[4 * slot + 3] = tally.unsafe;
  }

  // What all blocks have told, added up in the order of a fixed tree: bitwise the same in every block.
  WBM_DEVICE Tally hear(int slot) const {
    Tally total = {0.0, 0.0, 0.0, 0.0};
    for (int rank = thread_x(); rank < group.size(); rank += threads_x()) {
      const auto window = group.of(rank);
      total = AddTallies{}(total, {window[4 * slot], window[4 * slot + 1], window[4 * slot + 2], window[4 * slot + 3]});
    }
    return block_reduce(total, AddTallies{});
  }

  WBM_DEVICE double scale_of(double mass) const { return fmax(mass, 0.5 * (rows.side.total + columns.side.total)); }

  // Of the plan whose row sums were tallied; its columns are exact but for the slack.
  WBM_DEVICE double residual(const Tally& tally, const Progress& now) const {
    const double error = tally.error + tally.mass * now.slack, scale = scale_of(tally.mass);
    return scale > 0.0 ? error / scale : 0.0;
  }

  // t = kappa1 kappa2 / (kappa1 + kappa2) log(sum r* / sum c*), the translation f += t, g -= t that is optimal along its line;
  // 0 where there is none.
  WBM_DEVICE double translation(double row_target, double column_target) const {
    const Side &r = rows.side, &c = columns.side;
    const Options& options = args.all.options;
    if (options.method != Method::accelerated || !(options.tol > 0.0) || (r.hard && c.hard)) return 0.0;
    const double strength = r.hard ? c.kappa : c.hard ? r.kappa : r.kappa * c.kappa / (r.kappa + c.kappa);
    const double t = strength * log((r.hard ? r.total : row_target) / (c.hard ? c.total : column_target));
    return is_finite(t) ? t : 0.0;
  }

  WBM_DEVICE double slack_of(double t) const {
    return columns.side.hard ? 0.0 : fabs(1.0 - exp(t / columns.side.kappa));
  }
};

}  // namespace wbm::cuda
