#include "cpu/linear/dense_factor.h"

#include <algorithm>

#include "cpu/kernels/kernels.h"

namespace wbm {

void DenseFactor::resize(std::int64_t size) {
  size_ = size;
  padded_ = (size + 31) / 32 * 32;
  const std::int64_t stride = padded_ % 1024 ? padded_ : padded_ + 32;
  if (stride > capacity_) {
    factor_ = Array<float>(padded_ * stride);
    panel_ = Array<float>(kFactorPanel * stride);
    capacity_ = stride;
  }
  stride_ = stride;
  excess_.assign(padded_, 1.0);
  pivot_.assign(padded_, 0.0);
}

// Elimination by panels of columns: a panel's own rows first, then what it adds to the rows after them.
void DenseFactor::eliminate(const std::vector<double>& excess, Team& team, bool parallel, Interrupt* interrupt) {
  const FactorKernels& kernels = factor_kernels();
  std::copy(excess.begin(), excess.begin() + size_, excess_.begin());
  for (std::int64_t start = 0; start < padded_ && !raised(interrupt); start += kFactorPanel) {
    const std::int64_t stop = std::min(start + kFactorPanel, padded_);
    kernels.eliminate(factor_.data(), stride_, padded_, start, stop, excess_.data(), pivot_.data(), panel_.data());
    if (stop < padded_)
      split_triangle(team, parallel && padded_ - stop >= 4 * kFactorPanel, stop, [&](std::int64_t begin, std::int64_t end) {
        kernels.update(factor_.data(), stride_, start, stop, panel_.data(), std::max(begin, stop), end);
      });
    kernels.keep(factor_.data(), stride_, padded_, start, stop, panel_.data());
  }
}

void DenseFactor::solve(double* x) const {
  std::vector<double> in(padded_, 0.0), out(padded_);
  std::copy(x, x + size_, in.begin());
  factor_kernels().solve(factor_.data(), stride_, padded_, pivot_.data(), in.data(), out.data());
  std::copy(out.begin(), out.begin() + size_, x);
}

}  // namespace wbm
