// Rows of a plan between point clouds, evaluated where they are needed. Distances are sums of squared differences in float64:
// right to rounding wherever the points lie. Compiled once per instruction set with -DWBM_ISA=<name>; see kernels.h.
#include "cpu/kernels/cloud.h"

#include <cmath>

#include "cpu/kernels/simd.h"

namespace wbm::WBM_ISA {
namespace {

inline Vec root(Vec x) {
  Vec y;
  for (int k = 0; k < kLanes; ++k) y[k] = std::sqrt(x[k]);
  return y;
}

// |x_i - y_j|^2 of columns j .. j + 7
inline Vec squared(const CloudRow& row, std::int64_t j) {
  Vec sum = splat(0.0);
  for (std::int64_t c = 0; c < row.dimension; ++c) {
    const Vec difference = load(row.y + c * row.stride + j) - row.x[c];
    sum += difference * difference;
  }
  return sum;
}

inline Vec distance(const CloudRow& row, std::int64_t j) {
  const Vec square = squared(row, j);
  return row.euclidean ? root(square) : square;
}

// work(j, D_ij of columns j .. j + 7)
template <typename Work>
inline void each(const CloudRow& row, const CloudRange* ranges, std::int64_t count, const Work& work) {
  for (std::int64_t k = 0; k < count; ++k)
    for (std::int64_t j = ranges[k].begin; j < ranges[k].end; j += kLanes) work(j, distance(row, j));
}

void log_sum(const CloudRow& row, const CloudRange* ranges, std::int64_t count, double* max_, double* sum_) {
  Vec top = splat(-kInfinity);
  each(row, ranges, count, [&](std::int64_t j, Vec d) { top = max(top, load(row.g + j) - d); });
  const double most = max(top);
  *max_ = most;
  *sum_ = 0.0;
  if (!(most > -kInfinity)) return;
  Vec total = splat(0.0);
  each(row, ranges, count,
       [&](std::int64_t j, Vec d) { total += exp((load(row.g + j) - d - most) * row.inverse_epsilon); });
  *sum_ = sum(total);
}

std::int64_t collect(const CloudRow& row, const CloudRange* ranges, std::int64_t count, double row_cut,
                     const double* column_cut, float* values, std::int32_t* groups, double* dropped) {
  std::int64_t found = 0;
  Vec left = splat(0.0);
  each(row, ranges, count, [&](std::int64_t j, Vec d) {
    const Vec p = exp((row.f + load(row.g + j) - d) * row.inverse_epsilon), own = splat(row_cut), other = load(column_cut + j);
    const Vec cut = own < other ? own : other;
    if (!any(p > cut)) {
      left += p;
      return;
    }
    store(values + found * kLanes, p);
    groups[found++] = static_cast<std::int32_t>(j);
  });
  *dropped += sum(left);
  return found;
}

double dot(const float* values, const std::int32_t* groups, std::int64_t count, const double* v) {
  Vec s0 = splat(0.0), s1 = splat(0.0);
  std::int64_t k = 0;
  for (; k + 2 <= count; k += 2) {
    s0 += load(values + k * kLanes) * load(v + groups[k]);
    s1 += load(values + (k + 1) * kLanes) * load(v + groups[k + 1]);
  }
  if (k < count) s0 += load(values + k * kLanes) * load(v + groups[k]);
  return sum(s0 + s1);
}

void add(const float* values, const std::int32_t* groups, std::int64_t count, double u, double* t) {
  for (std::int64_t k = 0; k < count; ++k)
    store(t + groups[k], load(t + groups[k]) + load(values + k * kLanes) * u);
}

void report(const CloudRow& row, const CloudRange* ranges, std::int64_t count, double* sum_, double* entropy, double* sharp,
            double* column_sum, double* column_entropy) {
  Vec s = splat(0.0), h = splat(0.0), v = splat(0.0);
  each(row, ranges, count, [&](std::int64_t j, Vec d) {
    const Vec e = (row.f + load(row.g + j) - d) * row.inverse_epsilon, p = exp(e);
    const Vec pe = p > splat(0.0) ? p * e : splat(0.0);
    s += p;
    h += pe;
    v += p * d;
    store(column_sum + j, load(column_sum + j) + p);
    if (column_entropy) store(column_entropy + j, load(column_entropy + j) + pe);
  });
  *sum_ = sum(s);
  *entropy = sum(h);
  *sharp = sum(v);
}

void moments(const CloudRow& row, const CloudRange* ranges, std::int64_t count, const CloudWeights& weights, double* own,
             double* column) {
  for (std::int64_t c = 0; c <= row.dimension; ++c) own[c] = 0.0;
  each(row, ranges, count, [&](std::int64_t j, Vec d) {
    const Vec e = (row.f + load(row.g + j) - d) * row.inverse_epsilon, p = exp(e);
    Vec w = weights.entropy * e + (weights.one + weights.row);
    if (weights.column) w += load(weights.column + j);
    w = p > splat(0.0) ? p * w : splat(0.0);
    // dD/dx_i = 2 (x_i - y_j), or (x_i - y_j) / D where that is not 0
    w = row.euclidean ? (d > splat(0.0) ? w / d : splat(0.0)) : w * 2.0;
    own[0] += sum(w);
    store(column + j, load(column + j) + w);
    for (std::int64_t c = 0; c < row.dimension; ++c) {
      own[c + 1] += sum(w * load(row.y + c * row.stride + j));
      double* to = column + (c + 1) * row.stride + j;
      store(to, load(to) + w * row.x[c]);
    }
  });
}

void product(const CloudRow& row, const CloudRange* ranges, std::int64_t count, const double* v, double* own) {
  Vec s = splat(0.0);
  each(row, ranges, count,
       [&](std::int64_t j, Vec d) { s += exp((row.f + load(row.g + j) - d) * row.inverse_epsilon) * load(v + j); });
  *own = sum(s);
}

}  // namespace

extern const CloudKernels cloud_kernels;
const CloudKernels cloud_kernels = {log_sum, collect, dot, add, report, moments, product};

}  // namespace wbm::WBM_ISA
