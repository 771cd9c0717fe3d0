// Before the first iteration: masses, strengths and D are checked, and what can carry mass is found. Two reads of D.
#pragma once

#include "cuda/problem/marginal.cuh"
#include "cuda/runtime/reduce.cuh"

namespace wbm::cuda {

WBM_DEVICE Side open_side(double kappa, double epsilon, double total, Reference reference) {
  const bool hard = kappa == kInf;
  const double ratio = hard ? 1.0 : kappa / (epsilon + kappa);
  const bool entropy = reference == Reference::entropy;
  return {kappa, ratio, entropy ? ratio * epsilon : epsilon, entropy ? 0.0 : epsilon, total, hard};
}

// Writes the state of problem p; returns what b has to be multiplied by. Both marginals hard: the totals must agree,
// within 1e-3 relative b is rescaled to the total of a.
WBM_DEVICE double open_state(State& state, const Problem& problem, std::int64_t p, double total_a, double total_b,
                             bool invalid) {
  const double epsilon = problem.epsilon[p], kappa1 = problem.kappa[2 * p], kappa2 = problem.kappa[2 * p + 1];
  double scale = 1.0;
  std::int32_t status = 0;
  if (!(epsilon > 0.0 && is_finite(epsilon) && kappa1 > 0.0 && kappa2 > 0.0)) status |= kInvalidStrength;
  if (invalid || !is_finite(total_a) || !is_finite(total_b)) status |= kInvalidMass;
  if (kappa1 == kInf && kappa2 == kInf && !(status & kInvalidMass) && total_a != total_b) {
    if (fabs(total_a - total_b) > 1e-3 * fmax(total_a, total_b)) {
      status |= kUnequalMasses;
    } else {
      scale = total_a / total_b;
      if (fabs(scale - 1.0) > 1e-6) status |= kRescaled;  // less is the rounding of float32 masses
    }
  }
  if (thread_x() == 0)
    state = {epsilon, 1.0 / epsilon, open_side(kappa1, epsilon, total_a, problem.reference),
             open_side(kappa2, epsilon, total_b * scale, problem.reference), 0, kInf, 0, 0, status, 0, 0.0, 0.0};
  return scale;
}

// A block per problem, O(n + m): totals, constants, rescaled b, log a and log b.
template <typename T>
WBM_DEVICE void open_masses_of(const Arguments<T>& args, std::int64_t p) {
  const Problem& problem = args.problem;
  const std::int64_t n = problem.n, m = problem.m;
  const double *a = problem.a + p * n, *b = problem.b + p * m;
  double total_a = 0.0, total_b = 0.0;
  bool invalid = false;
  for (std::int64_t i = thread_x(); i < n; i += threads_x()) invalid |= !(a[i] >= 0.0), total_a += a[i];
  for (std::int64_t j = thread_x(); j < m; j += threads_x()) invalid |= !(b[j] >= 0.0), total_b += b[j];
  invalid = block_any(invalid);
  total_a = block_sum(total_a);
  total_b = block_sum(total_b);
  const double scale = open_state(args.work.states[p], problem, p, total_a, total_b, invalid);
  for (std::int64_t i = thread_x(); i < n; i += threads_x()) args.work.log_a[p * n + i] = log(a[i]);
  for (std::int64_t j = thread_x(); j < m; j += threads_x()) {
    args.work.b[p * m + j] = b[j] * scale;
    args.work.log_b[p * m + j] = log(b[j] * scale);
  }
}

template <typename T>
WBM_KERNEL(kMaxThreads) open_masses(Arguments<T> args) {
  for (std::int64_t p = block_x(); p < args.problem.batch; p += grid_x()) open_masses_of(args, p);
}

// A block per row: may it carry mass, does D hold NaN or -inf, what is the largest |D_ij| that may carry mass.
template <typename T>
WBM_KERNEL(kMaxThreads) scan_rows(Arguments<T> args) {
  const std::int64_t n = args.problem.n, m = args.problem.m;
  for (std::int64_t p = block_y(); p < args.problem.batch; p += grid_y()) {
    const Matrix<T> matrix(args.problem, p);
    const double* b = args.work.b + p * m;
    State& state = args.work.states[p];
    for (std::int64_t i = block_x(); i < n; i += grid_x()) {
      const bool mass = args.problem.a[p * n + i] > 0.0;
      bool bad = false, active = false;
      double largest = 0.0;
      for (std::int64_t j = thread_x(); j < m; j += threads_x()) {
        if (!matrix.allows(i, j)) continue;
        const double x = matrix.at(i, j);
        bad |= !(x > -kInf);
        if (!(x < kInf && mass && b[j] > 0.0)) continue;
        active = true;
        largest = fmax(largest, fabs(x));
      }
      bad = block_any(bad);
      active = block_any(active);
      largest = block_max(largest);
      if (thread_x() != 0) continue;
      args.work.row_active[p * n + i] = active;
      const bool isolated = state.rows.hard && mass && !active;
      if (bad || isolated) atomic_or(&state.status, (bad ? kNanCost : 0) | (isolated ? kIsolated : 0));
      if (active) atomic_max(&state.cost_max, bits_of(largest));
    }
  }
}

// A tile per kTileColumns columns: which may carry mass. The rows' own flags are not needed.
template <typename T>
WBM_KERNEL(kTileThreads) scan_columns(Arguments<T> args) {
  const std::int64_t n = args.problem.n, m = args.problem.m;
  for (std::int64_t p = block_y(); p < args.problem.batch; p += grid_y()) {
    const Matrix<T> matrix(args.problem, p);
    const double* a = args.problem.a + p * n;
    State& state = args.work.states[p];
    for (std::int64_t first = block_x() * kTileColumns; first < m; first += grid_x() * kTileColumns) {
      const std::int64_t j = first + thread_x();
      const bool mass = j < m && args.work.b[p * m + j] > 0.0;
      double partners = 0.0;
      for (std::int64_t i = thread_y(); mass && i < n; i += kTileRows)
        if (a[i] > 0.0 && matrix.allows(i, j) && matrix.at(i, j) < kInf) partners += 1.0;
      const bool active = tile_reduce(partners, Sum{}) > 0.0;
      if (thread_y() != 0 || j >= m) continue;
      args.work.column_active[p * m + j] = active;
      if (state.columns.hard && mass && !active) atomic_or(&state.status, kIsolated);
    }
  }
}

// Everything NaN, and no iteration. What the arrays of the solution hold for a refused problem.
template <typename T>
WBM_DEVICE void refuse(const Arguments<T>& args, std::int64_t p, std::int32_t status) {
  const std::int64_t n = args.problem.n, m = args.problem.m;
  const Solution& out = args.solution;
  for (std::int64_t i = thread_x(); i < n; i += threads_x()) out.f[p * n + i] = kNan;
  for (std::int64_t j = thread_x(); j < m; j += threads_x()) out.g[p * m + j] = kNan;
  if (thread_x() != 0) return;
  out.sharp[p] = out.regularized[p] = out.mass[p] = out.residual[p] = kNan;
  out.iterations[p] = 0;
  out.status[p] = status;
}

// A block per problem, O(n + m): f = 0 and g = init (or 0), or the refusal.
template <typename T>
WBM_DEVICE void start_problem(const Arguments<T>& args, std::int64_t p) {
  const std::int64_t n = args.problem.n, m = args.problem.m;
  State& state = args.work.states[p];
  std::int32_t status = state.status;
  double *f = args.solution.f + p * n, *g = args.solution.g + p * m;
  bool invalid = false;
  for (std::int64_t i = thread_x(); i < n; i += threads_x()) f[i] = 0.0;
  for (std::int64_t j = thread_x(); j < m; j += threads_x()) {
    const double value = args.options.init_g ? args.options.init_g[p * m + j] : 0.0;
    invalid |= !(value < kInf);
    // -inf marks a column that had no mass in the earlier solve; where it has now, start it at 0.
    g[j] = args.work.b[p * m + j] > 0.0 ? (is_finite(value) ? value : 0.0) : -kInf;
  }
  // A default epsilon is 0.05 times the mean of D: with NaN in D it is NaN too, and the cause is the one to name.
  if (status & kNanCost) status &= ~kInvalidStrength;
  if (block_any(invalid)) status |= kInvalidInit;
  if (args.solution.history) record(args, p, 0);
  if (status & kRefused) refuse(args, p, status);
  if (thread_x() != 0) return;
  state.status = status;
  state.finished = (status & kRefused) != 0;
}

template <typename T>
WBM_KERNEL(kMaxThreads) start(Arguments<T> args) {
  for (std::int64_t p = block_x(); p < args.problem.batch; p += grid_x()) start_problem(args, p);
}

}  // namespace wbm::cuda
