#include "cpu/problem/tiny_group.h"

#include <cmath>

namespace wbm::cpu {

template <typename T>
TinyGroup<T>::TinyGroup(const Problem& problem, std::int64_t iterations)
    : problem_(problem), iterations_(iterations),
      memory_(((iterations + 1) * 2 * kTinySide + 4 * kTinySide * kTinySide + 32 * kTinySide) * kTinyLanes) {
  const std::int64_t n = problem.n, m = problem.m;
  d_ = take(n * m);
  a_ = take(n);
  b_ = take(m);
  epsilon_ = take(1);
  group_ = {n, m, d_, a_, b_, epsilon_, problem.reference == Reference::product};
  double *k = take(n * m), *row = take(n), *column = take(m), *b = take(m), *b_scale = take(1);
  double *u = take((iterations + 1) * n), *v = take((iterations + 1) * m);
  scaling_ = {k, row, column, b, b_scale, u, v};
}

template <typename T>
bool TinyGroup<T>::load(std::int64_t p, std::int64_t members) {
  const std::int64_t n = problem_.n, m = problem_.m;
  first_ = p;
  members_ = members;
  for (std::int64_t lane = 0; lane < kTinyLanes; ++lane) {
    const std::int64_t q = at(lane);
    if (!std::isinf(problem_.kappa[2 * q]) || !std::isinf(problem_.kappa[2 * q + 1])) return false;
    const T* cost = static_cast<const T*>(problem_.cost) + q * problem_.cost_stride_problem;
    for (std::int64_t i = 0; i < n; ++i, cost += problem_.cost_stride_row)
      for (std::int64_t j = 0; j < m; ++j) d_[(i * m + j) * kTinyLanes + lane] = static_cast<double>(cost[j]);
  }
  gather(n, problem_.a, a_);
  gather(m, problem_.b, b_);
  gather(1, problem_.epsilon, epsilon_);
  return true;
}

template class TinyGroup<float>;
template class TinyGroup<double>;

}  // namespace wbm::cpu
