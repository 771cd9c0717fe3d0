// The linear system behind the implicit gradient,
//
//     [ k1 diag(r)   P          ] [x]   [h1]
//     [ P'           k2 diag(c) ] [y] = [h2],      r = P1, c = P'1, k = 1 + eps/kappa (1 where hard),
//
// solved for the side with fewer entries by conjugate gradients on its Schur complement, preconditioned by the diagonal.
// With c that side: H = k2 diag(c) - P' diag(1/(k1 r)) P. With both marginals hard H 1 = 0: the residual is kept free of
// what no y can remove, and y is centred. Lines whose sum is 0 are left out (x = y = 0 there).
//
// One launch, a team of blocks a problem. The lines of the eliminated side are shared among the blocks: each multiplies its
// own (w P direction, then their part of P'), the parts are added up in order, and every block then moves its own copy of
// the vectors of the kept side: the same sums in the same order, hence the same bits, and two barriers of the team a product.
#pragma once

#include "cuda/gradient/lines.cuh"

namespace wbm::cuda {

inline constexpr std::int32_t kPatience = 200;  // products without the residual halving, after which rounding has won

// float32 needs no more than a part of its rounding
template <typename T>
inline constexpr double kSystemTolerance = sizeof(Real<T>) == 4 ? 1e-9 : 1e-14;

// Sum of term(k) over k = first, first + step, ... < last, in chains that do not wait for each other's loads.
template <typename Term>
WBM_DEVICE double chained_sum(int first, int last, int step, const Term& term) {
  constexpr int kChains = 4;
  double sums[kChains] = {};
  for (int k = first; k < last; k += kChains * step)
    for (int c = 0; c < kChains; ++c)
      if (k + c * step < last) sums[c] += term(k + c * step);
  return (sums[0] + sums[2]) + (sums[1] + sums[3]);
}

// Where conjugate gradients stand; the same in every thread of the team.
struct SystemState {
  double total = 0.0;                // sum of the plan over the kept side
  double scale = 0.0, target = 0.0;  // size of the right side, and of the residual to reach
  double size = 0.0, best = 0.0;     // of the residual: now, and the smallest so far
  std::int32_t since_best = 0;
  bool finished = false;             // met, stagnated, or rounding has met the null space
};

// The system of one problem as one block of its team sees it.
struct Reduced {
  int lines, size;  // entries of the eliminated and of the kept side; the plan is lines x size
  bool singular;
  double k_kept, k_eliminated;
  SideArrays saved, eliminated;
  const double* plan;
  double *carried, *product;                                 // the team's
  double* windows;  // (blocks, size)
  double* own;      // (4, size): the block's copy of the vectors of the kept side
  std::uint64_t* counter;
  int first, last;  // own lines
  int rank, blocks;

  template <typename T>
  WBM_DEVICE Reduced(const AdjointArguments<T>& args, const AdjointView<T>& view, std::int64_t p)
      : singular(view.both_hard()), plan(args.work.matrix + p * view.n * view.m), blocks(args.team.blocks) {
    const bool keeps_columns = view.m <= view.n;
    lines = static_cast<int>(keeps_columns ? view.n : view.m);
    size = static_cast<int>(keeps_columns ? view.m : view.n);
    saved = keeps_columns ? view.column : view.row;
    eliminated = keeps_columns ? view.row : view.column;
    const double k1 = factor(view.rows.side, view.state.epsilon), k2 = factor(view.columns.side, view.state.epsilon);
    k_kept = keeps_columns ? k2 : k1;
    k_eliminated = keeps_columns ? k1 : k2;
    const std::int64_t group = block_x() / blocks;
    const int band = (lines + blocks - 1) / blocks;
    rank = static_cast<int>(block_x() % blocks);
    first = rank * band < lines ? rank * band : lines;
    last = first + band < lines ? first + band : lines;
    carried = args.work.carried + group * lines;
    product = args.work.product + group * size;
    counter = args.work.counters + group;
    windows = args.work.windows + group * blocks * size;
    own = args.work.own + 4 * block_x() * size;
  }

  WBM_DEVICE static double factor(const Side& side, double epsilon) { return side.hard ? 1.0 : 1.0 + epsilon / side.kappa; }

  WBM_DEVICE double weight(int e) const {
    return eliminated.sums[e] > 0.0 ? 1.0 / (k_eliminated * eliminated.sums[e]) : 0.0;
  }
  WBM_DEVICE double diagonal(int k) const { return saved.sums[k] > 0.0 ? k_kept * saved.sums[k] : 1.0; }
  WBM_DEVICE double* solutions() const { return own; }
  WBM_DEVICE double* directions() const { return own + size; }
  WBM_DEVICE double& solution(int k) const { return own[k]; }
  WBM_DEVICE double& direction(int k) const { return own[size + k]; }
  WBM_DEVICE double& residual(int k) const { return own[2 * size + k]; }
  WBM_DEVICE double& best(int k) const { return own[3 * size + k]; }  // solution of the smallest residual

  // (H direction)_k
  WBM_DEVICE double moved(int k) const {
    return saved.sums[k] > 0.0 ? diagonal(k) * direction(k) - product[k] : 0.0;
  }

  // --- the matrix: a warp a line, then the block's threads side by side over the kept side ---------------------------------

  // out(e, sum_k P_ek vector_k) for the block's own lines
  template <typename Out>
  WBM_DEVICE void along_lines(const double* vector, const Out& out) const {
    const int warps = threads_x() / kWarp, lane = thread_x() % kWarp;
    for (int e = first + thread_x() / kWarp; e < last; e += warps) {
      const double* line = plan + static_cast<std::int64_t>(e) * size;
      double sum = chained_sum(lane, size, kWarp, [&](int k) { return line[k] * vector[k]; });
      for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += shuffle_down(sum, offset);
      if (lane == 0) out(e, sum);
    }
  }

  // carried = w h
  WBM_DEVICE void carry_right_side() const {
    for (int e = first + thread_x(); e < last; e += threads_x()) carried[e] = weight(e) * eliminated.h[e];
  }

  // carried = w P direction
  WBM_DEVICE void carry_direction() const {
    block_barrier();  // the direction is there
    along_lines(directions(), [&](int e, double sum) { carried[e] = weight(e) * sum; });
  }

  // product = P' carried. The block is cut into groups of lines, whose partial sums are added in order.
  WBM_DEVICE void across_lines() const {
    WBM_SHARED(double, partial, kMaxThreads);
    block_barrier();  // carried is there
    double* sums = blocks > 1 ? windows + static_cast<std::int64_t>(rank) * size : product;
    const int whole = (size + kWarp - 1) / kWarp * kWarp;
    const int width = whole < threads_x() ? whole : threads_x(), parts = threads_x() / width;
    const int part = thread_x() / width, column = thread_x() % width;
    for (int begin = 0; begin < size; begin += width) {
      const int k = begin + column;
      double sum = 0.0;
      if (k < size && part < parts)
        sum = chained_sum(first + part, last, parts,
                          [&](int e) { return plan[static_cast<std::int64_t>(e) * size + k] * carried[e]; });
      if (parts > 1) {  // then this is the only round
        partial[thread_x()] = sum;
        block_barrier();
      }
      if (part > 0 || k >= size) continue;
      for (int other = 1; other < parts; ++other) sum += partial[other * width + column];
      sums[k] = sum;
    }
    if (blocks == 1) return;  // each thread reads the entries that it has made
    group_barrier(counter, blocks);
    gather();
    group_barrier(counter, blocks);
  }

  // A warp an entry: the sum of what the blocks of the team have found.
  WBM_DEVICE void gather() const {
    const int warps = blocks * (threads_x() / kWarp), lane = thread_x() % kWarp;
    for (int k = rank + blocks * (thread_x() / kWarp); k < size; k += warps) {
      double sum = 0.0;
      for (int other = lane; other < blocks; other += kWarp) sum += windows[static_cast<std::int64_t>(other) * size + k];
      for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += shuffle_down(sum, offset);
      if (lane == 0) product[k] = sum;
    }
  }

  // --- the vectors: each entry by one thread of the block ----------------------------------------------------------------

  // residual -= c (1'residual) / (1'c)
  WBM_DEVICE void project(const SystemState& s) const {
    if (!singular) return;
    double sum = 0.0;
    for (int k = thread_x(); k < size; k += threads_x()) sum += residual(k);
    sum = block_sum(sum);
    if (!(s.total > 0.0)) return;
    for (int k = thread_x(); k < size; k += threads_x()) residual(k) -= sum / s.total * saved.sums[k];
  }

  // |residual| in the norm of diag(H)^-1
  WBM_DEVICE double residual_size() const {
    double sum = 0.0;
    for (int k = thread_x(); k < size; k += threads_x()) sum += residual(k) * residual(k) / diagonal(k);
    return sqrt(block_sum(sum));
  }

  // y = 0; residual = h - P' w h (product); its scale is that of both terms before they cancel.
  WBM_DEVICE void start(SystemState& s, double tolerance) const {
    double scale = 0.0, total = 0.0;
    for (int k = thread_x(); k < size; k += threads_x()) {
      const double h = saved.h[k], other = product[k];
      const bool full = saved.sums[k] > 0.0;
      residual(k) = full ? h - other : 0.0;
      solution(k) = best(k) = 0.0;
      total += saved.sums[k];
      if (full) scale += (h * h + other * other) / diagonal(k);
    }
    s.scale = sqrt(block_sum(scale));
    s.total = block_sum(total);
    project(s);
    s.size = s.best = residual_size();
    s.target = tolerance * s.scale;
    s.finished = !(s.best > s.target);
    for (int k = thread_x(); k < size; k += threads_x()) direction(k) = residual(k) / diagonal(k);
  }

  // One step of conjugate gradients. (residual, diag(H)^-1 residual) is size^2.
  WBM_DEVICE void step(SystemState& s) const {
    double curvature = 0.0;
    for (int k = thread_x(); k < size; k += threads_x()) curvature += direction(k) * moved(k);
    curvature = block_sum(curvature);
    if (!(curvature > 0.0)) {  // rounding has met the null space
      s.finished = true;
      return;
    }
    const double length = s.size * s.size / curvature;
    for (int k = thread_x(); k < size; k += threads_x()) {
      solution(k) += length * direction(k);
      residual(k) -= length * moved(k);
    }
    project(s);
    const double now = residual_size();
    ++s.since_best;
    if (now < s.best) {
      if (now < 0.5 * s.best) s.since_best = 0;
      s.best = now;
      for (int k = thread_x(); k < size; k += threads_x()) best(k) = solution(k);
    }
    s.finished = !(s.best > s.target) || s.since_best >= kPatience;
    const double ratio = now * now / (s.size * s.size);
    s.size = now;
    for (int k = thread_x(); k < size; k += threads_x())
      direction(k) = residual(k) / diagonal(k) + ratio * direction(k);
  }

  // y = the best one; H 1 = 0 leaves a constant free: its mean over c becomes 0. Then x = w (h - P y). Returns what was
  // reached.
  WBM_DEVICE double end(const SystemState& s) const {
    double mean = 0.0;
    for (int k = thread_x(); k < size; k += threads_x()) mean += saved.sums[k] * best(k);
    mean = singular && s.total > 0.0 ? block_sum(mean) / s.total : 0.0;
    for (int k = thread_x(); k < size; k += threads_x()) {
      solution(k) = saved.sums[k] > 0.0 ? best(k) - mean : best(k);
      if (rank == 0) saved.x[k] = solution(k);
    }
    block_barrier();  // the solution is there
    along_lines(solutions(),
                [&](int e, double sum) { eliminated.x[e] = weight(e) * eliminated.h[e] - weight(e) * sum; });
    return s.scale > 0.0 ? s.best / s.scale : 0.0;
  }
};

// Teams of args.team.blocks blocks; with more than one a cooperative launch.
template <typename T>
WBM_KERNEL(kMaxThreads) solve_system(AdjointArguments<T> args) {
  for (std::int64_t p = block_x() / args.team.blocks; p < args.base.problem.batch; p += args.team.groups) {
    const AdjointView<T> view(args, p);
    if (view.refused() || args.work.idle[p]) continue;
    const Reduced system(args, view, p);
    SystemState s;
    system.carry_right_side();
    const int limit = 20 * system.size + 500;
    for (int products = 0; !s.finished && products <= limit; ++products) {
      if (products > 0) system.carry_direction();
      system.across_lines();
      if (products == 0)
        system.start(s, kSystemTolerance<T>);
      else
        system.step(s);
    }
    const double reached = system.end(s);
    if (system.rank == 0 && thread_x() == 0) args.adjoint.residual[p] = reached;
  }
}

}  // namespace wbm::cuda
