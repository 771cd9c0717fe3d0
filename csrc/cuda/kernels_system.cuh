// The linear system behind the implicit gradient,
//
//     [ k1 diag(r)   P          ] [x]   [h1]
//     [ P'           k2 diag(c) ] [y] = [h2],      r = P1, c = P'1, k = 1 + eps/kappa (1 where hard),
//
// solved for the side with fewer entries by conjugate gradients on its Schur complement, preconditioned by the diagonal.
// With c that side: H = k2 diag(c) - P' diag(1/(k1 r)) P. With both marginals hard H 1 = 0: the residual is kept free of
// what no y can remove, and y is centred. Lines whose sum is 0 are left out (x = y = 0 there).
//
// A product is two stages, one over the lines of each side. One block runs the whole solve where the problem is small;
// otherwise each stage and each step of the vectors is a launch.
#pragma once

#include "cuda/lines.cuh"

namespace wbm::cuda {

enum class Stage {
  open,       // kept: product = P' w h of the eliminated side
  eliminate,  // eliminated: carried = w P direction
  keep,       // kept: product = H direction
  close       // eliminated: x = w (h - P y)
};

inline constexpr std::int32_t kPatience = 200;  // products without the residual halving, after which rounding has won

// The system of one problem, seen from the side that is kept.
struct Reduced {
  std::int64_t n, m, size;
  bool keeps_columns, singular;
  double k_kept, k_eliminated;
  SideArrays kept, eliminated;
  double *direction, *product, *residual, *best, *carried;
  const double* plan;

  template <typename T>
  WBM_DEVICE Reduced(const AdjointArguments<T>& args, const AdjointView<T>& view, std::int64_t p)
      : n(view.n), m(view.m), size(view.m <= view.n ? view.m : view.n), keeps_columns(view.m <= view.n),
        singular(view.both_hard()), kept(keeps_columns ? view.column : view.row),
        eliminated(keeps_columns ? view.row : view.column), direction(args.work.direction + p * size),
        product(args.work.product + p * size), residual(args.work.residual + p * size), best(args.work.best + p * size),
        carried(args.work.carried + p * (n + m - size)), plan(view.entries) {
    const double k1 = factor(view.rows.side, view.state.epsilon), k2 = factor(view.columns.side, view.state.epsilon);
    k_kept = keeps_columns ? k2 : k1;
    k_eliminated = keeps_columns ? k1 : k2;
  }

  WBM_DEVICE static double factor(const Side& side, double epsilon) { return side.hard ? 1.0 : 1.0 + epsilon / side.kappa; }

  WBM_DEVICE double weight(std::int64_t e) const {
    return eliminated.sums[e] > 0.0 ? 1.0 / (k_eliminated * eliminated.sums[e]) : 0.0;
  }
  WBM_DEVICE double diagonal(std::int64_t k) const { return kept.sums[k] > 0.0 ? k_kept * kept.sums[k] : 1.0; }

  // What a stage multiplies the plan with, and what it makes of the sum over a line.
  template <Stage kStage>
  WBM_DEVICE double in(std::int64_t k) const {
    if constexpr (kStage == Stage::open)
      return weight(k) * eliminated.h[k];
    else if constexpr (kStage == Stage::eliminate)
      return direction[k];
    else if constexpr (kStage == Stage::keep)
      return carried[k];
    else
      return kept.x[k];
  }
  template <Stage kStage>
  WBM_DEVICE void out(std::int64_t k, double sum) const {
    if constexpr (kStage == Stage::open) product[k] = sum;
    if constexpr (kStage == Stage::eliminate) carried[k] = weight(k) * sum;
    if constexpr (kStage == Stage::keep) product[k] = kept.sums[k] > 0.0 ? diagonal(k) * direction[k] - sum : 0.0;
    if constexpr (kStage == Stage::close) eliminated.x[k] = weight(k) * eliminated.h[k] - weight(k) * sum;
  }

  // residual -= c (1'residual) / (1'c), on the entries of this thread
  WBM_DEVICE void project(const SystemState& s) const {
    if (!singular) return;
    double sum = 0.0;
    for (std::int64_t k = thread_x(); k < size; k += threads_x()) sum += residual[k];
    sum = block_sum(sum);
    if (!(s.total > 0.0)) return;
    for (std::int64_t k = thread_x(); k < size; k += threads_x()) residual[k] -= sum / s.total * kept.sums[k];
  }

  // |residual| in the norm of diag(H)^-1
  WBM_DEVICE double residual_size() const {
    double sum = 0.0;
    for (std::int64_t k = thread_x(); k < size; k += threads_x()) sum += residual[k] * residual[k] / diagonal(k);
    return sqrt(block_sum(sum));
  }

  // The vectors below are touched by one block, each entry by one thread; `s` is the same in every thread.
  // y = 0; residual = h - P' w h; its scale is that of both terms before they cancel.
  WBM_DEVICE void start(SystemState& s, double tolerance) const {
    double scale = 0.0, total = 0.0;
    for (std::int64_t k = thread_x(); k < size; k += threads_x()) {
      const double h = kept.h[k], other = product[k];
      const bool full = kept.sums[k] > 0.0;
      residual[k] = full ? h - other : 0.0;
      kept.x[k] = best[k] = 0.0;
      total += kept.sums[k];
      if (full) scale += (h * h + other * other) / diagonal(k);
    }
    s.scale = sqrt(block_sum(scale));
    s.total = block_sum(total);
    project(s);
    s.size = s.best = residual_size();
    s.target = tolerance * s.scale;
    s.since_best = 0;
    s.finished = !(s.best > s.target);
    for (std::int64_t k = thread_x(); k < size; k += threads_x()) direction[k] = residual[k] / diagonal(k);
  }

  // One step of conjugate gradients; product = H direction. (residual, diag(H)^-1 residual) is size^2.
  WBM_DEVICE void step(SystemState& s) const {
    double curvature = 0.0;
    for (std::int64_t k = thread_x(); k < size; k += threads_x()) curvature += direction[k] * product[k];
    curvature = block_sum(curvature);
    if (!(curvature > 0.0)) {  // rounding has met the null space
      s.finished = 1;
      return;
    }
    const double length = s.size * s.size / curvature;
    for (std::int64_t k = thread_x(); k < size; k += threads_x()) {
      kept.x[k] += length * direction[k];
      residual[k] -= length * product[k];
    }
    project(s);
    const double now = residual_size();
    ++s.since_best;
    if (now < s.best) {
      if (now < 0.5 * s.best) s.since_best = 0;
      s.best = now;
      for (std::int64_t k = thread_x(); k < size; k += threads_x()) best[k] = kept.x[k];
    }
    s.finished = !(s.best > s.target) || s.since_best >= kPatience;
    const double ratio = now * now / (s.size * s.size);
    s.size = now;
    for (std::int64_t k = thread_x(); k < size; k += threads_x())
      direction[k] = residual[k] / diagonal(k) + ratio * direction[k];
  }

  // y = the best one; H 1 = 0 leaves a constant free: the mean over c becomes 0.
  WBM_DEVICE double end(const SystemState& s) const {
    double mean = 0.0;
    for (std::int64_t k = thread_x(); k < size; k += threads_x()) mean += kept.sums[k] * best[k];
    mean = singular && s.total > 0.0 ? block_sum(mean) / s.total : 0.0;
    for (std::int64_t k = thread_x(); k < size; k += threads_x()) kept.x[k] = kept.sums[k] > 0.0 ? best[k] - mean : best[k];
    return s.scale > 0.0 ? s.best / s.scale : 0.0;
  }
};

template <typename T>
inline constexpr double kSystemTolerance = sizeof(T) == 4 ? 1e-9 : 1e-14;  // float32 needs no more than a part of its rounding

// --- a launch per stage ----------------------------------------------------------------------

// A block per row or a tile per kTileColumns columns, O(n m).
template <typename T, typename Line, Stage kStage>
WBM_DEVICE void run_stage(const AdjointArguments<T>& args) {
  for (std::int64_t p = block_y(); p < args.base.problem.batch; p += grid_y()) {
    const AdjointView<T> view(args, p);
    if (view.refused()) continue;
    const SystemState& s = args.work.systems[p];
    if (s.idle || ((kStage == Stage::eliminate || kStage == Stage::keep) && s.finished)) continue;
    const Reduced system(args, view, p);
    const std::int64_t length = Line::kRows ? view.m : view.n;
    for (Line line(view.n, view.m); line.more(); line.next()) {
      double sum = 0.0;
      for (std::int64_t k = line.first(); line.exists() && k < length; k += line.step())
        sum += system.plan[line.row(k) * view.m + line.column(k)] * system.in<kStage>(k);
      sum = line_sum(line, sum);
      if (line.leads()) system.out<kStage>(line.index, sum);
    }
  }
}

template <typename T, Stage kStage>
WBM_KERNEL(kMaxThreads) stage_rows(AdjointArguments<T> args) {
  run_stage<T, RowLine, kStage>(args);
}

template <typename T, Stage kStage>
WBM_KERNEL(kTileThreads) stage_columns(AdjointArguments<T> args) {
  run_stage<T, ColumnLine, kStage>(args);
}

enum class Moment {
  start,
  step,
  end
};

// A block per problem, O(n + m).
template <typename T, Moment kMoment>
WBM_KERNEL(kMaxThreads) move_vectors(AdjointArguments<T> args) {
  for (std::int64_t p = block_x(); p < args.base.problem.batch; p += grid_x()) {
    const AdjointView<T> view(args, p);
    if (view.refused()) continue;
    SystemState s = args.work.systems[p];
    if (s.idle || (kMoment == Moment::step && s.finished)) continue;
    const Reduced system(args, view, p);
    if (kMoment == Moment::start) system.start(s, kSystemTolerance<T>);
    if (kMoment == Moment::step) system.step(s);
    const double reached = kMoment == Moment::end ? system.end(s) : 0.0;
    // Everyone has read the progress: start and step have barriers, end leaves it alone.
    if (thread_x() != 0) continue;
    if (kMoment == Moment::end)
      args.adjoint.residual[p] = reached;
    else
      args.work.systems[p] = s;
  }
}

// --- a launch for everything ----------------------------------------------------------------------

// One stage by one block: a warp takes a row; for columns the block is cut into groups of rows, whose partial sums are
// added in order.
template <Stage kStage>
WBM_DEVICE void block_rows(const Reduced& system) {
  const std::int64_t warps = threads_x() / kWarp, warp = thread_x() / kWarp, lane = thread_x() % kWarp;
  for (std::int64_t i = warp; i < system.n; i += warps) {
    double sum = 0.0;
    for (std::int64_t j = lane; j < system.m; j += kWarp) sum += system.plan[i * system.m + j] * system.in<kStage>(j);
    for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += shuffle_down(sum, offset);
    if (lane == 0) system.out<kStage>(i, sum);
  }
}

template <Stage kStage>
WBM_DEVICE void block_columns(const Reduced& system) {
  WBM_SHARED(double, partial, kMaxThreads);
  const std::int64_t whole = (system.m + kWarp - 1) / kWarp * kWarp;
  const std::int64_t width = whole < threads_x() ? whole : threads_x(), groups = threads_x() / width;
  const std::int64_t group = thread_x() / width, column = thread_x() % width;
  for (std::int64_t first = 0; first < system.m; first += width) {
    const std::int64_t j = first + column;
    double sum = 0.0;
    if (j < system.m && group < groups)
      for (std::int64_t i = group; i < system.n; i += groups) sum += system.plan[i * system.m + j] * system.in<kStage>(i);
    partial[thread_x()] = sum;
    block_barrier();
    if (group == 0 && j < system.m) {
      for (std::int64_t other = 1; other < groups; ++other) sum += partial[other * width + column];
      system.out<kStage>(j, sum);
    }
    if (first + width < system.m) block_barrier();  // the next columns may write now
  }
}

template <Stage kStage>
WBM_DEVICE void block_stage(const Reduced& system) {
  constexpr bool kept = kStage == Stage::open || kStage == Stage::keep;  // the lines are those of the kept side
  if (kept == system.keeps_columns)
    block_columns<kStage>(system);
  else
    block_rows<kStage>(system);
  block_barrier();
}

// A block per problem. Its vectors stay in the first-level cache; a stage ends with a barrier.
template <typename T>
WBM_KERNEL(kMaxThreads) solve_in_block(AdjointArguments<T> args) {
  for (std::int64_t p = block_x(); p < args.base.problem.batch; p += grid_x()) {
    const AdjointView<T> view(args, p);
    if (view.refused()) continue;
    SystemState s = args.work.systems[p];
    if (s.idle) continue;
    const Reduced system(args, view, p);
    const std::int64_t limit = 20 * system.size + 500;
    block_stage<Stage::open>(system);
    system.start(s, kSystemTolerance<T>);
    for (std::int64_t products = 0; !s.finished && products < limit; ++products) {
      block_barrier();  // the direction is there
      block_stage<Stage::eliminate>(system);
      block_stage<Stage::keep>(system);
      system.step(s);
    }
    const double reached = system.end(s);
    block_barrier();  // the solution of the kept side is there
    block_stage<Stage::close>(system);
    if (thread_x() == 0) args.adjoint.residual[p] = reached;
  }
}

}  // namespace wbm::cuda
