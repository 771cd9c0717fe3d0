#include "cpu/problem/small_problem.h"

#include <algorithm>

namespace wbm::cpu {
namespace {

std::int64_t padded(std::int64_t count) { return (count + kSmallPadding - 1) / kSmallPadding * kSmallPadding; }

// The exponent of a column of the padding, far below every other: its exponential is 0, and their product is too.
constexpr double kNothing = -1e7, kLargest = 1e6;

}  // namespace

template <typename T>
SmallProblem<T>::SmallProblem(const Problem& problem)
    : problem_(problem), kernels_(small_kernels<T>()),
      shape_{problem.n, problem.m, padded(problem.n), padded(problem.m)} {
  padded_ = memory_.take<T>(shape_.n * shape_.columns);
  row_ = memory_.take<double>(shape_.n);
  column_ = memory_.take<double>(shape_.columns);
}

template <typename T>
bool SmallProblem<T>::open(std::int64_t p) {
  view_.open_full(problem_, p);
  if (view_.status & kRefused || !view_.both_hard()) return false;
  bool full = true;
  for (const Side* side : {&view_.rows, &view_.columns})
    for (const double mass : side->mass) full &= mass > 0.0;
  if (!full) return false;
  const bool fits = shape_.m == shape_.columns && problem_.cost_stride_row == shape_.columns;
  if (!fits) kernels_.pad(view_.row(0), problem_.cost_stride_row, shape_, padded_);
  d_ = fits ? view_.row(0) : padded_;
  return true;
}

template <typename T>
bool SmallProblem<T>::set_exponents(const double* f, const double* g) {
  const double rows = small_vectors().scale(f, view_.inverse_epsilon, shape_.n, row_);
  const double columns = small_vectors().scale(g, view_.inverse_epsilon, shape_.m, column_);
  std::fill(column_ + shape_.m, column_ + shape_.columns, kNothing);
  return rows < kLargest && columns < kLargest;
}

template class SmallProblem<float>;
template class SmallProblem<double>;

}  // namespace wbm::cpu
