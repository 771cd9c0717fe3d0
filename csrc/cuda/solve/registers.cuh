// A whole solve by one block whose registers hold the kernel matrix: opening, iterations, report and gauge in one launch. D is
// read where the problem is opened, where the potentials take the scalings in, and for the report.
//
//     log step     one iteration on f and g themselves in float64 sums, D read twice: the first one; and when a scaling has
//                  left its range. `precise`: exponentials in float64 too, for what float32 iterations cannot reach
//     build        K_ij = exp((f_i + g_j - D_ij) / eps) / mass, u = v = 1; mass is the plan's, so that no scale of the masses
//                  or of the costs empties K
//     iterate      u = a / (K v), v = b / (K' u) in float32 (soft sides: line_update.cuh), nothing but registers. Every
//                  kEvery-th time the residual of the present plan, whose columns are exact, and the range of u and v
//     report       in float64 from f and g: its residual decides, so that no rounding of the iterations is taken for an answer
//
// Iterations that leave the range are taken back to the last that was tested; the log step after that is one iteration
// further, so the solve goes on whatever eps is.
#pragma once

#include "cuda/kernels/tile.cuh"
#include "cuda/problem/opening.cuh"
#include "cuda/problem/report.cuh"
#include "cuda/solve/dispatch.h"
#include "cuda/solve/line_update.cuh"
#include "cuda/solve/log_steps.cuh"

namespace wbm::cuda {

enum class CostType : int { float32,
                            float16,
                            bfloat16 };

struct RegisterArguments {
  Arguments<float> all;
  CostType type;  // of D: it is read in rare code only, so that one kernel serves all of them
};

// D and mask of problem p, whatever the type of D.
struct AnyMatrix {
  Matrix<float> base;
  CostType type;
  std::int64_t p_cost;  // entries before the problem

  WBM_DEVICE AnyMatrix(const RegisterArguments& args, std::int64_t p)
      : base(args.all.problem, 0), type(args.type), p_cost(p * args.all.problem.cost_stride_problem) {
    if (base.mask) base.mask += p * args.all.problem.mask_stride_problem;
  }

  WBM_DEVICE bool allows(std::int64_t i, std::int64_t j) const { return base.allows(i, j); }
  WBM_DEVICE double at(std::int64_t i, std::int64_t j) const {
    const std::int64_t place = p_cost + i * base.cost_stride + j;
    if (type == CostType::float32) return widened(base.cost[place]);
    if (type == CostType::float16) return widened(reinterpret_cast<const Half*>(base.cost)[place]);
    return widened(reinterpret_cast<const Bfloat16*>(base.cost)[place]);
  }
  WBM_DEVICE double exponent(std::int64_t i, std::int64_t j, double potential) const {
    return allows(i, j) ? potential - at(i, j) : -kInf;
  }
};

// --- opening and log steps: a warp a row, then a thread a column ------------------------------------------------------------

// scan_rows and scan_columns of problem/opening.cuh, by one block.
WBM_DEVICE void scan_problem(const RegisterArguments& args, std::int64_t p) {
  const Arguments<float>& all = args.all;
  const int n = static_cast<int>(all.problem.n), m = static_cast<int>(all.problem.m), lane = thread_x() % kWarp;
  const AnyMatrix matrix(args, p);
  const double *a = all.problem.a + p * n, *b = all.work.b + p * m;
  State& state = all.work.states[p];
  const bool hard_rows = state.rows.hard, hard_columns = state.columns.hard;
  bool bad = false, isolated = false;
  double largest = 0.0;
  for (int i = thread_x() / kWarp; i < n; i += threads_x() / kWarp) {
    const bool mass = a[i] > 0.0;
    bool active = false;
    for (int j = lane; j < m; j += kWarp) {
      if (!matrix.allows(i, j)) continue;
      const double x = matrix.at(i, j);
      bad |= !(x > -kInf);
      if (!(x < kInf && mass && b[j] > 0.0)) continue;
      active = true;
      largest = fmax(largest, fabs(x));
    }
    active = warp_any(active);
    isolated |= hard_rows && mass && !active;
    if (lane == 0) all.work.row_active[p * n + i] = active;
  }
  for (int j = thread_x(); j < m; j += threads_x()) {
    const bool mass = b[j] > 0.0;
    bool active = false;
    for (int i = 0; mass && i < n; ++i) active |= a[i] > 0.0 && matrix.allows(i, j) && matrix.at(i, j) < kInf;
    all.work.column_active[p * m + j] = active;
    isolated |= hard_columns && mass && !active;
  }
  largest = block_max(largest);
  bad = block_any(bad);
  isolated = block_any(isolated);
  if (thread_x() == 0) {
    state.status |= (bad ? kNanCost : 0) | (isolated ? kIsolated : 0);
    state.cost_max = bits_of(largest);
  }
  block_barrier();  // the status
}

WBM_FUNCTION void open_problem(const RegisterArguments& args, std::int64_t p) {
  open_masses_of(args.all, p);
  block_barrier();  // masses and state
  scan_problem(args, p);
  start_problem(args.all, p);
  block_barrier();  // potentials and state
}

// log sum_k exp(x_k / eps) = max / eps + log(sum) over k = first, first + step, ... < last of x(k); lanes: over a warp's too.
template <bool precise, bool lanes, typename Exponent>
WBM_DEVICE LogSum log_sum_of(int first, int step, int last, double inverse_epsilon, const Exponent& x) {
  LogSum s = empty_log_sum();
  for (int k = first; k < last; k += step) s.max = fmax(s.max, x(k));
  if (lanes) s.max = warp_max(s.max);
  if (s.max == -kInf) return s;
  const double scale = precise ? inverse_epsilon : inverse_epsilon * 1.4426950408889634;
  for (int k = first; k < last; k += step) {
    const double e = (x(k) - s.max) * scale;
    s.sum += precise ? exp(e) : static_cast<double>(fast_exp2(static_cast<float>(e)));
  }
  if (lanes) s.sum = warp_sum(s.sum);
  return s;
}

// The log sums of all rows over g.
template <bool precise>
WBM_DEVICE void log_rows_by_warps(const RegisterArguments& args, std::int64_t p) {
  const Arguments<float>& all = args.all;
  const int n = static_cast<int>(all.problem.n), m = static_cast<int>(all.problem.m), lane = thread_x() % kWarp;
  const AnyMatrix matrix(args, p);
  const double inverse_epsilon = all.work.states[p].inverse_epsilon;
  const double* g = all.solution.g + p * m;
  for (int i = thread_x() / kWarp; i < n; i += threads_x() / kWarp) {
    if (!all.work.row_active[p * n + i]) continue;
    const LogSum s = log_sum_of<precise, true>(lane, kWarp, m, inverse_epsilon,
                                               [&](int j) { return matrix.exponent(i, j, g[j]); });
    if (lane != 0) continue;
    all.work.row_max[p * n + i] = s.max;
    all.work.row_sum[p * n + i] = s.sum;
  }
}

template <bool precise>
WBM_DEVICE void log_columns_by_threads(const RegisterArguments& args, std::int64_t p) {
  const Arguments<float>& all = args.all;
  const int n = static_cast<int>(all.problem.n), m = static_cast<int>(all.problem.m);
  const AnyMatrix matrix(args, p);
  const State& state = all.work.states[p];
  const double* f = all.solution.f + p * n;
  const std::uint8_t* active = all.work.row_active + p * n;
  const Marginal columns = columns_of(all, state, p);
  double* g = all.solution.g + p * m;
  for (int j = thread_x(); j < m; j += threads_x()) {
    const LogSum s = log_sum_of<precise, false>(0, 1, n, state.inverse_epsilon, [&](int i) {
      return active[i] ? matrix.exponent(i, j, f[i]) : -kInf;
    });
    g[j] = columns.update(j, s.max, s.sum, state.epsilon);
    all.work.column_mass[p * m + j] = columns.active[j] ? line_mass(g[j], s.max, s.sum, state.inverse_epsilon) : 0.0;
  }
}

// One iteration on the potentials. True: the residual, tested before, has ended the solve instead.
template <bool precise>
WBM_FUNCTION bool log_step(const RegisterArguments& args, std::int64_t p, bool tests) {
  const Arguments<float>& all = args.all;
  State& state = all.work.states[p];
  log_rows_by_warps<precise>(args, p);
  block_barrier();  // the sums of all rows
  if (tests && test(all, state, p)) return true;
  update_rows(all, state, p);
  block_barrier();  // f
  log_columns_by_threads<precise>(args, p);
  if (all.options.method == Method::accelerated && all.options.tol > 0.0) translate(all, state, p);
  block_barrier();  // the potentials
  return false;
}

// Costs and sums of the plan that f and g define, and the status that follows.
WBM_FUNCTION void report_by_block(const RegisterArguments& args, std::int64_t p) {
  const Arguments<float>& all = args.all;
  const int n = static_cast<int>(all.problem.n), m = static_cast<int>(all.problem.m), lane = thread_x() % kWarp;
  const AnyMatrix matrix(args, p);
  const double inverse_epsilon = all.work.states[p].inverse_epsilon;
  const double *f = all.solution.f + p * n, *g = all.solution.g + p * m;
  const std::uint8_t* active = all.work.row_active + p * n;
  for (int i = thread_x() / kWarp; i < n; i += threads_x() / kWarp) {
    double mass = 0.0, cost = 0.0;
    for (int j = lane; active[i] && j < m; j += kWarp) {
      const double e = matrix.exponent(i, j, g[j]);
      const double x = exp((e + f[i]) * inverse_epsilon);
      mass += x;
      cost += x > 0.0 ? x * (g[j] - e) : 0.0;
    }
    mass = warp_sum(mass);
    cost = warp_sum(cost);
    if (lane != 0) continue;
    all.work.row_mass[p * n + i] = mass;
    all.work.row_cost[p * n + i] = cost;
  }
  for (int j = thread_x(); j < m; j += threads_x()) {
    double mass = 0.0;
    for (int i = 0; i < n; ++i)
      if (active[i]) mass += exp((matrix.exponent(i, j, g[j]) + f[i]) * inverse_epsilon);
    all.work.column_mass[p * m + j] = mass;
  }
  block_barrier();  // the sums of all lines
  report_problem(all, p);
  block_barrier();  // the residual
}

WBM_FUNCTION void finish_problem(const RegisterArguments& args, std::int64_t p) { set_gauge_of(args.all, p); }

// --- iterations in registers -------------------------------------------------------------------------------------------------

inline constexpr int kEvery = 8;            // iterations between two tests
inline constexpr int kRange = 24;           // powers of two that a scaling may be away from 1
inline constexpr float kLeastSum = 1e-30f;  // of a line; the target of a line that takes no part, so that its scaling is 1
inline constexpr double kLeastShare = 1e-20;  // of the plan's mass in one line, for float32 entries
inline constexpr float kFloatResidual = 4e-7f;  // float32 sums say no more below it

// Outside of [2^-24, 2^24]: far, zero, infinite or NaN.
WBM_DEVICE bool out_of_range(float x) {
  constexpr std::uint32_t least = (127u - kRange) << 23, span = (2u * kRange) << 23;
  return bits_of(x) - least > span;
}

// One side's lines in powers of two: u = 2^(constant - ratio log2 s), or constant / s where both sides are hard.
template <bool kHard>
struct Scaling {
  float ratio;

  WBM_DEVICE explicit Scaling(const Side& side) : ratio(static_cast<float>(side.ratio)) {}

  WBM_DEVICE float operator()(float constant, float s) const {
    s = fmaxf(s, kLeastSum);
    return kHard ? constant * fast_reciprocal(s) : fast_exp2(fmaf(-ratio, fast_log2(s), constant));
  }
  // What the line's sum has to be where its scaling is u.
  WBM_DEVICE float target(float constant, float u) const {
    return kHard ? constant : fast_exp2(fmaf(ratio - 1.0f, fast_log2(u), constant) / ratio);
  }
  WBM_DEVICE float idle() const { return kHard ? kLeastSum : ratio * fast_log2(kLeastSum); }
  // A line whose potential is `potential` at u = 1.
  WBM_DEVICE float constant(const Marginal& side, std::int64_t i, double potential, double mass, double inverse_epsilon) const {
    if (!side.active[i]) return idle();
    if (kHard) return static_cast<float>(side.mass[i] / mass);
    const double log_u = side.side.strength * inverse_epsilon * side.log_mass[i] - side.side.ratio * log(mass) -
                         (1.0 - side.side.ratio) * potential * inverse_epsilon;
    return static_cast<float>(log_u * 1.4426950408889634);
  }
};

enum class Outcome { limit,
                     met,
                     stalled,
                     far };

struct Iterated {
  Outcome outcome;
  int count;  // iterations that were tested
};

// What a problem's iterations need beside its potentials: its plan's mass, and a constant of each line in the arrays of the
// report, which is not due yet. False: a line's share of the plan is too small for float32.
template <bool kHard>
WBM_FUNCTION bool prepare(const RegisterArguments& args, std::int64_t p) {
  const Arguments<float>& all = args.all;
  const int n = static_cast<int>(all.problem.n), m = static_cast<int>(all.problem.m);
  State& state = all.work.states[p];
  const Marginal rows = rows_of(all, state, p), columns = columns_of(all, state, p);
  const double *f = all.solution.f + p * n, *g = all.solution.g + p * m;
  double mass = 0.0, slack = 0.0;
  for (int j = thread_x(); j < m; j += threads_x()) {
    if (!columns.active[j]) continue;
    const double target = columns.target(j, g[j]);
    mass += target;
    slack = fmax(slack, fabs(1.0 - target / all.work.column_mass[p * m + j]));  // of the last translation
  }
  mass = block_sum(mass);
  slack = block_max(slack);
  bool faint = !(mass > 0.0 && is_finite(mass) && is_finite(1.0 / mass));
  const Scaling<kHard> of_rows(state.rows), of_columns(state.columns);
  for (int i = thread_x(); i < n; i += threads_x()) {
    faint |= rows.active[i] && !(rows.target(i, f[i]) >= kLeastShare * mass);
    all.work.row_cost[p * n + i] = of_rows.constant(rows, i, f[i], mass, state.inverse_epsilon);
  }
  for (int j = thread_x(); j < m; j += threads_x()) {
    faint |= columns.active[j] && !(columns.target(j, g[j]) >= kLeastShare * mass);
    all.work.old_g[p * m + j] = of_columns.constant(columns, j, g[j], mass, state.inverse_epsilon);
  }
  faint = block_any(faint);
  if (thread_x() == 0) state.plan_mass = mass, state.slack = columns.side.hard ? 0.0 : slack;
  block_barrier();  // the constants
  return !faint;
}

// Iterations in the registers of a tile, a function of its own: what else a solve keeps is not in its way.
template <typename Tile, bool kHard>
struct RegisterIterations {
  static constexpr int kOwnRows = Tile::kOwnRows, kOwnColumns = Tile::kOwnColumns;
  // The thread's own places in shared memory: a row of the tile while it is built; then own scalings that were tested last,
  // and what follows here. The registers belong to the iterations.
  static constexpr int kThreads = Tile::kThreads, kFirst = (kOwnRows + kOwnColumns) * kThreads, kBest = kFirst,
                       kSinceBest = kFirst + kThreads, kSlack = kFirst + 2 * kThreads,
                       kGoal = kFirst + 3 * kThreads, kLeastScale = kFirst + 4 * kThreads, kStrength = kFirst + 5 * kThreads,
                       kLeft = kFirst + 6 * kThreads, kConstant = kFirst + 7 * kThreads,
                       kRowScaling = kConstant + (kOwnRows + kOwnColumns) * kThreads;
  static constexpr int kMost = 3 * kOwnRows + 2 * kOwnColumns + 7;
  static constexpr int kOwnPlaces = Tile::kColumns > kMost ? Tile::kColumns : kMost;
  Tile tile;
  float K[Tile::kRows][Tile::kColumns];

  WBM_DEVICE static Shared<int> left_to_do() { return dynamic_shared<int>(Tile::kShared) + (kLeft + thread_x()); }
  WBM_DEVICE static Shared<float> own_places() { return dynamic_shared<float>(Tile::kShared) + thread_x(); }

  // u of an own row: only tests and translations read it.
  WBM_DEVICE static float& row_scaling(int k) { return own_places()[kRowScaling + k * kThreads]; }
  WBM_DEVICE float row_constant(int k) const { return own_places()[kConstant + (kOwnColumns + k) * kThreads]; }
  WBM_DEVICE float column_constant(int k) const { return own_places()[kConstant + k * kThreads]; }

  // K from the potentials, u = v = 1. A row of the tile at a time by way of shared memory: the loop stays rolled.
  WBM_DEVICE void build(const RegisterArguments& args, std::int64_t p) {
    const Arguments<float>& all = args.all;
    const int n = static_cast<int>(all.problem.n), m = static_cast<int>(all.problem.m);
    const State& state = all.work.states[p];
    const double *f = all.solution.f + p * n, *g = all.solution.g + p * m;
    const std::uint8_t *rows = all.work.row_active + p * n, *columns = all.work.column_active + p * m;
    const AnyMatrix matrix(args, p);
    const double scale = state.inverse_epsilon * 1.4426950408889634, log_mass = log(state.plan_mass) * state.epsilon;
    const auto staged = own_places();
    WBM_UNROLL
    for (int i = 0; i < Tile::kRows; ++i) {
      const int row = tile.row(afresh(i));
      const bool exists = row < n && rows[row];
      const double shift = exists ? f[row] - log_mass : 0.0;
      WBM_ROLLED
      for (int j = 0; j < Tile::kColumns; ++j) {
        const int column = tile.column(j);
        const bool active = exists && column < m && columns[column];
        const double e = active ? (matrix.exponent(row, column, g[column]) + shift) * scale : -kInf;
        staged[j * kThreads] = fast_exp2(static_cast<float>(e));
      }
      WBM_UNROLL
      for (int j = 0; j < Tile::kColumns; ++j) K[i][j] = staged[j * kThreads];
    }
    const Scaling<kHard> of_rows(state.rows), of_columns(state.columns);
    float ones[kOwnColumns];
    WBM_UNROLL
    for (int k = 0; k < kOwnRows; ++k) {
      const int i = tile.row(k);
      row_scaling(k) = 1.0f;
      own_places()[kConstant + (kOwnColumns + k) * kThreads] =
          i < n ? static_cast<float>(all.work.row_cost[p * n + i]) : of_rows.idle();
    }
    WBM_UNROLL
    for (int k = 0; k < kOwnColumns; ++k) {
      const int j = tile.own_column(k);
      ones[k] = 1.0f;
      own_places()[kConstant + k * kThreads] = j < m ? static_cast<float>(all.work.old_g[p * m + j]) : of_columns.idle();
    }
    tile.set_columns(ones);
  }

  WBM_DEVICE void save_scalings() const {
    const auto saved = own_places();
    WBM_UNROLL
    for (int k = 0; k < kOwnRows; ++k) saved[k * kThreads] = row_scaling(k);
    WBM_UNROLL
    for (int k = 0; k < kOwnColumns; ++k) saved[(kOwnRows + k) * kThreads] = tile.own_v(k);
  }

  // t = strength log (sum of the row targets / sum of the column targets) / (eps ln 2): f + t, g - t is optimal along its line.
  // A step that is not small is left to the next log step.
  WBM_DEVICE float translation(const Scaling<kHard>& of_rows, const Scaling<kHard>& of_columns, const float* v) const {
    float rows = 0.0f, columns = 0.0f;
    WBM_UNROLL
    for (int k = 0; k < kOwnRows; ++k) rows += tile.counts_row(k) ? of_rows.target(row_constant(k), row_scaling(k)) : 0.0f;
    WBM_UNROLL
    for (int k = 0; k < kOwnColumns; ++k)
      columns += tile.counts_column(k) ? of_columns.target(column_constant(k), v[k]) : 0.0f;
    rows = tile.add(rows);
    columns = tile.add(columns);
    const float t = own_places()[kStrength] * (fast_log2(rows) - fast_log2(columns));
    return fabsf(t) < 16.0f ? t : 0.0f;  // false for NaN
  }

  WBM_DEVICE void open_tests(const Options& options, const State& state) const {
    const auto saved = own_places();
    const Side &r = state.rows, &c = state.columns;
    const bool watches = options.tol > 0.0, translates = watches && options.method == Method::accelerated;
    const double strength = r.hard ? c.kappa : c.hard ? r.kappa
                                                      : r.kappa * c.kappa / (r.kappa + c.kappa);
    saved[kBest] = INFINITY;
    saved[kSinceBest] = 0.0f;
    saved[kSlack] = static_cast<float>(state.slack);
    saved[kGoal] = watches ? fmaxf(static_cast<float>(0.8 * options.tol), kFloatResidual) : -1.0f;
    saved[kLeastScale] = static_cast<float>(0.5 * (r.total + c.total) / state.plan_mass);
    saved[kStrength] = !kHard && translates ? static_cast<float>(strength * state.inverse_epsilon) : 0.0f;
    save_scalings();
  }

  // From the row sums s = K v to the next u and v; s becomes u, t becomes v of the own lines.
  WBM_DEVICE void finish_iteration(const Scaling<kHard>& of_rows, const Scaling<kHard>& of_columns, float* s, float* t) {
    WBM_UNROLL
    for (int k = 0; k < kOwnRows; ++k) row_scaling(k) = s[k] = of_rows(row_constant(k), s[k]);
    tile.column_sums(K, s, t);
    WBM_UNROLL
    for (int k = 0; k < kOwnColumns; ++k) t[k] = of_columns(column_constant(k), t[k]);
  }

  // The plan as it stands, from its row sums u s: its columns are exact, but for the slack. `limit` where the solve goes on;
  // then its scalings are saved.
  WBM_DEVICE Outcome test(const Scaling<kHard>& of_rows, const float* s) const {
    const auto saved = own_places();
    float error = 0.0f, mass = 0.0f;
    bool far = false;
    WBM_UNROLL
    for (int k = 0; k < kOwnRows; ++k) {
      const float u = row_scaling(k), r = u * s[k];
      error += tile.counts_row(k) ? fabsf(r - of_rows.target(row_constant(k), u)) : 0.0f;
      mass += tile.counts_row(k) ? r : 0.0f;
      far |= out_of_range(u);
    }
    WBM_UNROLL
    for (int k = 0; k < kOwnColumns; ++k) far |= out_of_range(tile.own_v(k));
    if (tile.any(far)) return Outcome::far;
    save_scalings();
    error = tile.add(error);
    mass = tile.add(mass);
    const float residual = (error + mass * saved[kSlack]) * fast_reciprocal(fmaxf(mass, saved[kLeastScale]));
    const float since_best = residual < saved[kBest] ? 0.0f : saved[kSinceBest] + 1.0f;
    const float best = fminf(saved[kBest], residual), goal = saved[kGoal];
    saved[kSlack] = 0.0f;
    saved[kSinceBest] = since_best;
    saved[kBest] = best;
    if (residual <= goal) return Outcome::met;
    return goal > 0.0f && since_best >= 20.0f && best <= 1e-5f ? Outcome::stalled : Outcome::limit;
  }

  // At most `most` iterations. Saved are then the scalings that were tested last and in range.
  WBM_DEVICE Iterated run(const Scaling<kHard>& of_rows, const Scaling<kHard>& of_columns, int most) {
    Outcome outcome;
    int due = 0;
    left_to_do()[0] = most;
    WBM_ROLLED
    while (true) {
      float s[kOwnRows], t[kOwnColumns];
      tile.row_sums(K, s);
      outcome = test(of_rows, s);
      if (outcome == Outcome::far) break;  // back to before the last `due`
      const int left = left_to_do()[0];
      due = left < kEvery ? left : kEvery;
      if (outcome != Outcome::limit || due == 0) {
        due = 0;
        break;
      }
      left_to_do()[0] = left - due;
      finish_iteration(of_rows, of_columns, s, t);
      if (!kHard && due > 1) {
        const float by = fast_exp2(translation(of_rows, of_columns, t)), back = fast_reciprocal(by);
        WBM_UNROLL
        for (int k = 0; k < kOwnRows; ++k) row_scaling(k) *= by;
        WBM_UNROLL
        for (int k = 0; k < kOwnColumns; ++k) t[k] *= back;
      }
      tile.set_columns(t);
      WBM_ROLLED
      for (int k = due; k > 1; --k) {
        tile.row_sums(K, s);
        finish_iteration(of_rows, of_columns, s, t);
        tile.set_columns(t);
      }
    }
    return {outcome, most - left_to_do()[0] - due};  // those that are taken back do not count
  }

  // The potentials take the saved scalings in.
  WBM_DEVICE void write_potentials(const Arguments<float>& all, std::int64_t p) const {
    const int n = static_cast<int>(all.problem.n), m = static_cast<int>(all.problem.m);
    const double epsilon = all.work.states[p].epsilon;
    const auto saved = own_places();
    block_barrier();  // everyone has read the potentials that K was built from
    WBM_UNROLL
    for (int k = 0; k < kOwnRows; ++k) {
      const int i = tile.row(k);
      if (tile.counts_row(k) && i < n && all.work.row_active[p * n + i])
        all.solution.f[p * n + i] += epsilon * log(static_cast<double>(saved[k * kThreads]));
    }
    WBM_UNROLL
    for (int k = 0; k < kOwnColumns; ++k) {
      const int j = tile.own_column(k);
      if (tile.counts_column(k) && j < m && all.work.column_active[p * m + j])
        all.solution.g[p * m + j] += epsilon * log(static_cast<double>(saved[(kOwnRows + k) * kThreads]));
    }
    block_barrier();  // the potentials
  }
};

template <typename Tile, bool kHard>
WBM_FUNCTION Iterated iterate_in_registers(const RegisterArguments& args, std::int64_t p, int most) {
  RegisterIterations<Tile, kHard> iterations;
  iterations.build(args, p);
  const State& state = args.all.work.states[p];
  iterations.open_tests(args.all.options, state);
  const Iterated found = iterations.run(Scaling<kHard>(state.rows), Scaling<kHard>(state.columns), most);
  iterations.write_potentials(args.all, p);
  return found;
}

WBM_FUNCTION void count_iterations(const RegisterArguments& args, std::int64_t p, int count) {
  if (thread_x() == 0) args.all.work.states[p].iterations += count;
}

// Until the problem stops; reports it.
template <typename Tile>
WBM_DEVICE void solve_problem(const RegisterArguments& args, std::int64_t p) {
  const Options& options = args.all.options;
  const State& state = args.all.work.states[p];
  const bool hard = state.rows.hard && state.columns.hard;
  bool precise = false, tests = false, reported = false;
  std::int64_t left = options.max_iter;
  while (left > 0) {
    if (precise) {
      if (log_step<true>(args, p, tests)) break;  // the state says that it has stopped
      tests = options.tol > 0.0;
      --left;
      continue;
    }
    log_step<false>(args, p, false);
    if (--left == 0) break;
    if (!(hard ? prepare<true>(args, p) : prepare<false>(args, p))) {
      precise = true;
      tests = options.tol > 0.0;  // the columns are those of the log step
      continue;
    }
    const int most = left < 1 << 30 ? static_cast<int>(left) : 1 << 30;
    const Iterated done =
        hard ? iterate_in_registers<Tile, true>(args, p, most) : iterate_in_registers<Tile, false>(args, p, most);
    left -= done.count;
    count_iterations(args, p, done.count);
    if (done.outcome == Outcome::far) continue;
    if (done.outcome == Outcome::limit) break;
    report_by_block(args, p);
    reported = args.all.solution.residual[p] <= options.tol;
    if (reported) break;
    precise = true;
  }
  if (!reported) report_by_block(args, p);
  finish_problem(args, p);
}

// Whether a side is soft may differ from problem to problem of a batch.
template <typename Tile>
WBM_PACKED_KERNEL(Tile::kThreads, Tile::kBlocks)
solve_in_registers(WBM_ARGUMENTS RegisterArguments args) {
  for (std::int64_t p = block_x(); p < args.all.problem.batch; p += grid_x()) {
    open_problem(args, p);
    if (!args.all.work.states[p].finished) solve_problem<Tile>(args, p);
  }
}

using Tile32 = WarpTile<4, 8, 24>;
using Tile64 = WarpTile<8, 16, 12>;
using Tile128 = BlockTile<8, 8, 8, 1>;
using Tile192 = BlockTile<8, 12, 12, 1>;
using Tile224 = BlockTile<14, 8, 14, 1>;

}  // namespace wbm::cuda
