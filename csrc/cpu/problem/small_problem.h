// Small problems, forward and implicit backward: at most kSmallSide rows and columns, both marginals hard, every pair allowed,
// every mass positive. Everything stays in the first-level cache, in working memory that a thread takes once for all its
// problems. What is of another kind, crawls, or leaves the range of its type is left to the general solver.
#pragma once

#include "cpu/kernels/small.h"
#include "cpu/problem/view.h"
#include "cpu/runtime/memory.h"

namespace wbm::cpu {

// Room for six matrices and their vectors, handed out in whole cache lines.
class SmallMemory {
 public:
  template <typename S>
  S* take(std::int64_t count) {
    S* out = reinterpret_cast<S*>(block_.data() + used_);
    used_ += (count * static_cast<std::int64_t>(sizeof(S)) + 63) / 64 * 64;
    return out;
  }

 private:
  static constexpr std::int64_t kBytes = (6 * kSmallSide + 32) * kSmallSide * static_cast<std::int64_t>(sizeof(double));

  Array<char> block_{kBytes};
  std::int64_t used_ = 0;
};

// A problem of the batch, its matrix with padded rows, and the terms of the exponents row_i + column_j - D_ij / eps.
template <typename T>
class SmallProblem {
 protected:
  explicit SmallProblem(const Problem& problem);

  static bool fits(const Problem& problem) {
    return problem.n <= kSmallSide && problem.m <= kSmallSide && !problem.mask;
  }
  // False where problem p is not of this kind; D is not looked at.
  bool open(std::int64_t p);
  // False where an exponent would be lost in the rounding of these.
  bool set_exponents(const double* f, const double* g);

  const Problem& problem_;
  const SmallKernels<T>& kernels_;
  const SmallShape shape_;
  SmallMemory memory_;
  View<T> view_;
  const T* d_ = nullptr;
  T* padded_;
  double *row_, *column_;
};

}  // namespace wbm::cpu
