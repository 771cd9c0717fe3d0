// The implicit and the unrolled gradients of tiny problems, eight at a time.
#pragma once

#include "cpu/problem/tiny_group.h"

namespace wbm::cpu {

template <typename T>
class TinyGradient : TinyGroup<T> {
 public:
  TinyGradient(const Problem& problem, const Adjoint& adjoint);

  static bool fits(const Problem& problem, const Adjoint& adjoint);

  // `members` problems from p on, at most kTinyLanes. False where they are left to the gradients of single problems.
  bool run(std::int64_t p, std::int64_t members);

 private:
  using Base = TinyGroup<T>;

  const Adjoint& adjoint_;
  double *f_, *g_, *sharp_, *regularized_, *q_f_, *q_g_;
  TinyAdjoint lanes_;
};

}  // namespace wbm::cpu
