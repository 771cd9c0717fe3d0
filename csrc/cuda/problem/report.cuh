// After the last iteration: costs, mass and residual of the plan that (f, g) define, then the gauge. Two reads of D.
#pragma once

#include "cuda/problem/marginal.cuh"
#include "cuda/runtime/reduce.cuh"

namespace wbm::cuda {

// P_ij = exp((f_i + g_j - D_ij) / eps); a row that can carry nothing has no plan.
template <typename T>
WBM_DEVICE double plan_at(const Matrix<T>& matrix, std::int64_t i, std::int64_t j, double f, double g,
                          double inverse_epsilon) {
  return exp((matrix.exponent(i, j, g) + f) * inverse_epsilon);
}

// A block per row, O(n m): P1 and (P.D)1.
template <typename T>
WBM_KERNEL(kMaxThreads) report_rows(Arguments<T> args) {
  const std::int64_t n = args.problem.n, m = args.problem.m;
  for (std::int64_t p = block_y(); p < args.problem.batch; p += grid_y()) {
    const State& state = args.work.states[p];
    if (state.status & kRefused) continue;
    const double inverse_epsilon = state.inverse_epsilon;
    const Matrix<T> matrix(args.problem, p);
    const double* g = args.solution.g + p * m;
    for (std::int64_t i = block_x(); i < n; i += grid_x()) {
      const double f = args.work.row_active[p * n + i] ? args.solution.f[p * n + i] : -kInf;
      double mass = 0.0, cost = 0.0;
      for (std::int64_t j = thread_x(); f > -kInf && j < m; j += threads_x()) {
        const double x = plan_at(matrix, i, j, f, g[j], inverse_epsilon);
        mass += x;
        cost += x > 0.0 ? x * matrix.at(i, j) : 0.0;
      }
      mass = block_sum(mass);
      cost = block_sum(cost);
      if (thread_x() != 0) continue;
      args.work.row_mass[p * n + i] = mass;
      args.work.row_cost[p * n + i] = cost;
    }
  }
}

// A tile per kTileColumns columns, O(n m): P'1.
template <typename T>
WBM_KERNEL(kTileThreads) report_columns(Arguments<T> args) {
  const std::int64_t n = args.problem.n, m = args.problem.m;
  for (std::int64_t p = block_y(); p < args.problem.batch; p += grid_y()) {
    const State& state = args.work.states[p];
    if (state.status & kRefused) continue;
    const double inverse_epsilon = state.inverse_epsilon;
    const Matrix<T> matrix(args.problem, p);
    const std::uint8_t* active = args.work.row_active + p * n;
    const double* f = args.solution.f + p * n;
    for (std::int64_t first = block_x() * kTileColumns; first < m; first += grid_x() * kTileColumns) {
      const std::int64_t j = first + thread_x();
      const double g = j < m ? args.solution.g[p * m + j] : -kInf;
      double mass = 0.0;
      for (std::int64_t i = thread_y(); j < m && i < n; i += kTileRows)
        if (active[i] && f[i] > -kInf) mass += plan_at(matrix, i, j, f[i], g, inverse_epsilon);
      mass = tile_reduce(mass, Sum{});
      if (thread_y() == 0 && j < m) args.work.column_mass[p * m + j] = mass;
    }
  }
}

// What one marginal adds to the objective, sum x (dual) + kappa KL(x | mass), and |x - target|_1; x are its sums.
struct SideReport {
  double objective, error;
};

WBM_DEVICE SideReport report_side(const Marginal& side, const double* potential, const double* sums) {
  double objective = 0.0, error = 0.0;
  for (std::int64_t i = thread_x(); i < side.size; i += threads_x()) {
    const double x = sums[i];
    if (x > 0.0) objective += x * side.dual(i, potential[i]);
    if (!side.side.hard) objective += side.side.kappa * side.divergence(i, x);
    error += fabs(x - side.target(i, potential[i]));
  }
  return {block_sum(objective), block_sum(error)};
}

WBM_DEVICE double block_total(const double* values, std::int64_t size) {
  double sum = 0.0;
  for (std::int64_t i = thread_x(); i < size; i += threads_x()) sum += values[i];
  return block_sum(sum);
}

// The scaling criterion has said itself that it is met. With the other one the residual of the plan that is delivered
// decides; a problem that stopped above tol did so at the rounding level. A cost that D's type cannot hold is an overflow.
WBM_DEVICE std::int32_t final_status(const Options& options, const State& state, double largest, double sharp,
                                     double regularized, double residual) {
  std::int32_t status = state.status;
  if (!is_finite(residual) || !(sharp <= largest && sharp >= -largest) ||
      !(regularized <= largest && regularized >= -largest))
    return (status & ~kConverged) | kOverflow | (state.finished ? kStagnated : kIterationLimit);
  if (options.criterion == Criterion::marginal && residual <= options.tol) status |= kConverged;
  if (status & kConverged) return status;
  return status | (state.finished ? kStagnated : kIterationLimit);
}

// A block per problem, O(n + m). <D,P> + eps sum P (log P - 1) = sum r f + sum c g - eps mass, since
// eps log P = f + g - D; the product reference takes eps log(a b) off the potentials and adds eps sum(a) sum(b).
template <typename T>
WBM_DEVICE void report_problem(const Arguments<T>& args, std::int64_t p) {
  const std::int64_t n = args.problem.n, m = args.problem.m;
  const State& state = args.work.states[p];
  if (state.status & kRefused) return;
  const double mass = block_total(args.work.row_mass + p * n, n), sharp = block_total(args.work.row_cost + p * n, n);
  const SideReport rows =
      report_side(rows_of(args, state, p), args.solution.f + p * n, args.work.row_mass + p * n);
  const SideReport columns =
      report_side(columns_of(args, state, p), args.solution.g + p * m, args.work.column_mass + p * m);
  if (thread_x() != 0) return;
  const double total_a = state.rows.total, total_b = state.columns.total;
  const double scale = fmax(mass, 0.5 * (total_a + total_b));
  const double residual = scale > 0.0 ? (rows.error + columns.error) / scale : 0.0;
  double regularized = rows.objective + columns.objective - state.epsilon * mass;
  if (args.problem.reference == Reference::product) regularized += state.epsilon * total_a * total_b;
  args.solution.sharp[p] = sharp;
  args.solution.regularized[p] = regularized;
  args.solution.mass[p] = mass;
  args.solution.residual[p] = residual;
  args.solution.iterations[p] = state.iterations;
  const double largest = args.problem.float64 ? 1.7976931348623157e308 : 3.4028234663852886e38;  // of D's type
  args.solution.status[p] = final_status(args.options, state, largest, sharp, regularized, residual);
}

template <typename T>
WBM_KERNEL(kMaxThreads) report(Arguments<T> args) {
  for (std::int64_t p = block_x(); p < args.problem.batch; p += grid_x()) report_problem(args, p);
}

// <mass, potential> / total
WBM_DEVICE double mean_potential(const Marginal& side, const double* potential) {
  double sum = 0.0;
  for (std::int64_t i = thread_x(); i < side.size; i += threads_x())
    if (side.active[i]) sum += side.mass[i] * potential[i];
  return block_sum(sum) / side.side.total;
}

// A block per problem, O(n + m). Both hard: f + t, g - t is as good for every t; t makes
// <a,f>/sum(a) = <b,g>/sum(b).
template <typename T>
WBM_DEVICE void set_gauge_of(const Arguments<T>& args, std::int64_t p) {
  const std::int64_t n = args.problem.n, m = args.problem.m;
  const State& state = args.work.states[p];
  if (state.status & kRefused) return;
  const Marginal rows = rows_of(args, state, p), columns = columns_of(args, state, p);
  if (!(rows.side.hard && columns.side.hard && rows.side.total > 0.0)) return;
  double *f = args.solution.f + p * n, *g = args.solution.g + p * m;
  const double t = 0.5 * (mean_potential(columns, g) - mean_potential(rows, f));
  if (!is_finite(t)) return;
  for (std::int64_t i = thread_x(); i < n; i += threads_x())
    if (rows.active[i]) f[i] += t;
  for (std::int64_t j = thread_x(); j < m; j += threads_x())
    if (columns.active[j]) g[j] -= t;
}

template <typename T>
WBM_KERNEL(kMaxThreads) set_gauge(Arguments<T> args) {
  for (std::int64_t p = block_x(); p < args.problem.batch; p += grid_x()) set_gauge_of(args, p);
}

}  // namespace wbm::cuda
