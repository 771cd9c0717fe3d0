// Streaming log-sum-exp: s = (max, sum) stands for max / eps + log(sum), one exponential per term and no second pass.
#pragma once

#include <cmath>

#include "cuda/runtime/device.cuh"
#include "cuda/problem/workspace.cuh"

namespace wbm::cuda {

struct LogSum {
  double max, sum;
};

WBM_DEVICE LogSum empty_log_sum() { return {-kInf, 0.0}; }

// s + exp(x / eps). A new largest x rescales what was summed, any other is added scaled: with e = exp(-|x - max| / eps)
//     x > max: sum e + 1;    x <= max: sum + e.
WBM_DEVICE void add(LogSum& s, double x, double inverse_epsilon) {
  if (x == -kInf) return;
  const bool larger = x > s.max;
  const double e = exp((larger ? s.max - x : x - s.max) * inverse_epsilon);
  s.sum = larger ? s.sum * e + 1.0 : s.sum + e;
  s.max = larger ? x : s.max;
}

struct MergeLogSums {
  double inverse_epsilon;

  WBM_DEVICE LogSum operator()(LogSum s, LogSum t) const {
    const double max = fmax(s.max, t.max);
    if (max == -kInf) return {max, s.sum + t.sum};  // both empty
    return {max, s.sum * exp((s.max - max) * inverse_epsilon) + t.sum * exp((t.max - max) * inverse_epsilon)};
  }
};

WBM_DEVICE LogSum shuffle_down(LogSum s, int offset) {
  return {shuffle_down(s.max, offset), shuffle_down(s.sum, offset)};
}

}  // namespace wbm::cuda
