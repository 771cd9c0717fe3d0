#include "cpu/problem/view.h"

#include "cpu/kernels/kernels.h"

namespace wbm {

template <typename T>
void View<T>::open(const Problem& problem, std::int64_t p) {
  open_masses(problem, p);
  scan_cost();
  // A default epsilon is 0.05 times the mean of D: with NaN in D it is NaN too, and the cause is the one to name.
  if (status & kNanCost) status &= ~kInvalidStrength;
}

template <typename T>
void View<T>::open_full(const Problem& problem, std::int64_t p) {
  open_masses(problem, p);
  rows.active.assign(n, 1);
  columns.active.assign(m, 1);
  cost_sum = cost_max = 0.0;
  cost_count = 0;
}

template <typename T>
void View<T>::open_masses(const Problem& problem, std::int64_t p) {
  n = problem.n;
  m = problem.m;
  reference = problem.reference;
  place(problem, p);
  epsilon = problem.epsilon[p];
  inverse_epsilon = 1.0 / epsilon;
  status = 0;
  b_scale = 1.0;
  check_masses(problem, p);
}

template <typename T>
void View<T>::place(const Problem& problem, std::int64_t p) {
  cost_ = static_cast<const T*>(problem.cost) + p * problem.cost_stride_problem;
  cost_stride_ = problem.cost_stride_row;
  mask_ = problem.mask ? problem.mask + p * problem.mask_stride_problem : nullptr;
  mask_stride_ = problem.mask_stride_row;
}

template <typename T>
void View<T>::check_masses(const Problem& problem, std::int64_t p) {
  const double* a = problem.a + p * n;
  const double* b = problem.b + p * m;
  const double kappa1 = problem.kappa[2 * p], kappa2 = problem.kappa[2 * p + 1];
  if (!(epsilon > 0.0 && std::isfinite(epsilon) && kappa1 > 0.0 && kappa2 > 0.0)) status |= kInvalidStrength;

  const double total_a = vector_kernels().total(a, n), total_b = vector_kernels().total(b, m);
  bool valid = true;
  for (std::int64_t i = 0; i < n; ++i) valid &= a[i] >= 0.0;
  for (std::int64_t j = 0; j < m; ++j) valid &= b[j] >= 0.0;
  if (!valid || !std::isfinite(total_a) || !std::isfinite(total_b)) status |= kInvalidMass;

  // Both hard: totals must agree; within 1e-3 relative b is rescaled to the total of a.
  if (std::isinf(kappa1) && std::isinf(kappa2) && !(status & kInvalidMass) && total_a != total_b) {
    const double larger = std::fmax(total_a, total_b);
    if (std::fabs(total_a - total_b) > 1e-3 * larger) {
      status |= kUnequalMasses;
    } else {
      b_scale = total_a / total_b;
      if (std::fabs(b_scale - 1.0) > 1e-6) status |= kRescaled;  // less is the rounding of float32 masses
    }
  }
  rows.set(n, a, 1.0, kappa1, epsilon, reference);
  columns.set(m, b, b_scale, kappa2, epsilon, reference);
}

template <typename T>
void View<T>::scan_cost() {
  rows.active.assign(n, 0);
  columns.active.assign(m, 0);
  cost_sum = cost_max = 0.0;
  cost_count = 0;
  bool invalid = false, all_columns = false;
  bool full = true;  // every column has mass
  for (std::int64_t j = 0; j < m; ++j) full &= columns.mass[j] > 0.0;
  bool whole = full && !mask_;  // every pair may carry mass: the common problem
  for (std::int64_t i = 0; i < n; ++i) whole &= rows.mass[i] > 0.0;
  if (whole && row_kernels<T>().scan(cost_, cost_stride_, n, m, &cost_sum, &cost_max)) {
    rows.active.assign(n, 1);
    columns.active.assign(m, 1);
    cost_count = n * m;
    return;
  }
  cost_sum = cost_max = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    const T* cost = row(i);
    const std::uint8_t* mask = mask_row(i);
    const bool carries = rows.mass[i] > 0.0;
    double sum = 0.0, largest = 0.0;
    // the common row: nothing forbidden
    if (full && carries && !mask && row_kernels<T>().scan(cost, cost_stride_, 1, m, &sum, &largest)) {
      rows.active[i] = 1;
      all_columns = true;
      cost_sum += sum;
      cost_count += m;
      if (largest > cost_max) cost_max = largest;
      continue;
    }
    sum = largest = 0.0;
    std::int64_t count = 0;
    bool bad = false;
    for (std::int64_t j = 0; j < m; ++j) {
      const double x = static_cast<double>(cost[j]);
      const bool allowed = !mask || mask[j];
      bad |= allowed && !(x > -kInf);
      const bool both = allowed && x < kInf && carries && columns.mass[j] > 0.0;
      sum += both ? x : 0.0;
      largest = both && std::fabs(x) > largest ? std::fabs(x) : largest;
      count += both;
      columns.active[j] |= both;
    }
    rows.active[i] = count > 0;
    cost_sum += sum;
    cost_count += count;
    if (largest > cost_max) cost_max = largest;
    invalid |= bad;
  }
  if (all_columns) columns.active.assign(m, 1);
  if (invalid) status |= kNanCost;

  // A hard marginal with mass and no partner cannot be met by any plan.
  for (std::int64_t i = 0; i < n; ++i)
    if (rows.hard && rows.mass[i] > 0.0 && !rows.active[i]) status |= kIsolated;
  for (std::int64_t j = 0; j < m; ++j)
    if (columns.hard && columns.mass[j] > 0.0 && !columns.active[j]) status |= kIsolated;
}

template struct View<float>;
template struct View<double>;

}  // namespace wbm
