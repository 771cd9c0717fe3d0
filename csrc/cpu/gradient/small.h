// The implicit and frozen gradients of small problems; the formulae stand in implicit.cpp.
#pragma once

#include <vector>

#include "cpu/gradient/gradient.h"
#include "cpu/problem/small_problem.h"

namespace wbm::cpu {

template <typename T>
class SmallGradient : SmallProblem<T> {
 public:
  SmallGradient(const Problem& problem, const Adjoint& adjoint);

  static bool fits(const Problem& problem, const Adjoint& adjoint);

  // False where the gradients of problem p are left to the general solver.
  bool run(std::int64_t p);

 private:
  bool right_side();
  bool solve(double& reached);
  void centre();

  using Base = SmallProblem<T>;
  using Base::column_, Base::d_, Base::memory_, Base::row_, Base::shape_, Base::view_;

  const Adjoint& adjoint_;
  T* p_;
  float *b_, *transposed_, *root_r_, *root_c_;
  double *h1_, *h2_, *share_, *inverse_c_;
  SmallSchur schur_;
  SmallSystem<T> system_;
  std::vector<double> r_, c_, x_, y_, d_a_, d_b_;
  Upstream up_;
};

}  // namespace wbm::cpu
