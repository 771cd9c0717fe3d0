#include "cpu/loss/points.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/kernels/kernels.h"
#include "cpu/runtime/memory.h"
#include "cpu/runtime/parallel.h"
#include "cpu/runtime/team.h"
#include "cpu/problem/view.h"

namespace wbm::cpu {
namespace {

template <typename S>
double distances(const Points& x, const Points& y, std::int64_t k, bool scaled, S* out, int available) {
  const std::int64_t n = x.count, m = y.count, padded = padded_columns(m);
  const DistanceKernel<S>& kernels = distance_kernel<S>();
  const S *from_x = static_cast<const S*>(x.data), *from_y = static_cast<const S*>(y.data);
  std::vector<double> centre(k, 0.0);
  kernels.sum(from_y, y.stride, y.index, m, k, centre.data());
  for (double& c : centre) c /= static_cast<double>(m);

  // x - c by rows, (y - c)' by columns: the product's inner loop runs along j
  const Array<S> left(n * k), right(k * padded), left_squares(n), right_squares(padded);
  const double total_x = kernels.centred(from_x, x.stride, x.index, n, k, centre.data(), left.data(), left_squares.data());
  const double total_y = kernels.centred_columns(from_y, y.stride, y.index, m, k, centre.data(), padded, right.data(),
                                                 right_squares.data());

  const double mean = total_x / static_cast<double>(n) + total_y / static_cast<double>(m);
  const S scale = scaled ? static_cast<S>(1.0 / mean) : S(1);
  constexpr std::int64_t kBand = 24;  // rows a part
  const auto bands = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * kBand; i < std::min(end * kBand, n); i += kBand)
      kernels.distances(left.data() + i * k, left_squares.data() + i, std::min(kBand, n - i), right.data(),
                        right_squares.data(), k, m, padded, scale, out + i * m);
  };
  const std::int64_t parts = (n + kBand - 1) / kBand;
  const Threads threads(1, n * k / 128, m, available);  // from 2^24 multiply-adds on, some tenths of a millisecond
  Team(threads.within).split(parts, bands);
  return mean;
}

// The propensity of the treatment that the sample had, or its logit.
double own(double q, const Weighting& how) { return how.other ? (how.logits ? -q : 1.0 - q) : q; }

// w of one sample
double weight(double q, const Weighting& how) {
  const double p = own(q, how);
  if (how.logits) {
    const double e = std::exp(-p);  // 1/q = 1 + e
    if (how.softmax) return 1.0 + e;
    return p > 0.0 ? std::log1p(e) : std::log1p(std::exp(p)) - p;
  }
  return how.softmax ? 1.0 / p : -std::log(p);
}

// dw/dq (dw/dz)
double slope(double q, const Weighting& how) {
  const double sign = how.other ? -1.0 : 1.0, p = own(q, how);
  if (how.logits) return how.softmax ? -sign * std::exp(-p) : -sign / (1.0 + std::exp(p));
  return how.softmax ? -sign / (p * p) : -sign / p;
}

double clipped(double q, const Weighting& how) { return q < how.low ? how.low : q > how.high ? how.high : q; }

template <typename S>
WeightReport masses(const S* q, const std::int64_t* index, std::int64_t count, const Weighting& how, S* mass) {
  constexpr double kRange = 1e140;  // the squares of what is below are far from overflow
  WeightReport report;
  std::vector<double> bounded(count), x(count);  // x: exp(w) up to a factor
  double largest = 0.0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double value = static_cast<double>(q[index[i]]);
    if (how.logits ? std::isnan(value) : !(value >= 0.0 && value <= 1.0)) {
      report.invalid = index[i];
      return report;
    }
    bounded[i] = clipped(value, how);
    report.clipped += bounded[i] != value;
    if (how.softmax) continue;
    const double p = own(bounded[i], how);
    x[i] = how.logits ? 1.0 + std::exp(-p) : 1.0 / p;  // exp(w) = 1/q
    if (!(x[i] <= largest)) largest = x[i];
  }
  if (how.softmax || !(largest < kRange)) {
    double top = -kInf;
    for (std::int64_t i = 0; i < count; ++i) top = std::fmax(top, x[i] = weight(bounded[i], how));
    for (double& value : x) value = std::exp(value - top);
  }
  double total = 0.0, squares = 0.0;
  for (const double value : x) total += value, squares += value * value;
  for (std::int64_t i = 0; i < count; ++i) mass[i] = static_cast<S>(x[i] / total);
  report.ess = total * total / squares;
  return report;
}

// dL/dw_i = a_i (dL/da_i - <a, dL/da>)
template <typename S>
void masses_gradient(const S* q, const std::int64_t* index, std::int64_t count, const Weighting& how, const S* mass,
                     const S* d_mass, S* d_q) {
  double mean = 0.0;
  for (std::int64_t i = 0; i < count; ++i) mean += static_cast<double>(mass[i]) * static_cast<double>(d_mass[i]);
  for (std::int64_t i = 0; i < count; ++i) {
    const double value = static_cast<double>(q[index[i]]);
    const bool inside = value >= how.low && value <= how.high;
    const double d = static_cast<double>(mass[i]) * (static_cast<double>(d_mass[i]) - mean);
    d_q[index[i]] = inside ? static_cast<S>(d * slope(value, how)) : S(0);
  }
}

}  // namespace

double squared_distances(const Points& x, const Points& y, std::int64_t k, bool float64, bool scaled, void* out,
                         int threads) {
  return float64 ? distances(x, y, k, scaled, static_cast<double*>(out), threads)
                 : distances(x, y, k, scaled, static_cast<float*>(out), threads);
}

WeightReport inverse_masses(const void* q, const std::int64_t* index, std::int64_t count, const Weighting& how, void* mass) {
  return how.float64 ? masses(static_cast<const double*>(q), index, count, how, static_cast<double*>(mass))
                     : masses(static_cast<const float*>(q), index, count, how, static_cast<float*>(mass));
}

void inverse_masses_gradient(const void* q, const std::int64_t* index, std::int64_t count, const Weighting& how,
                             const void* mass, const void* d_mass, void* d_q) {
  how.float64 ? masses_gradient(static_cast<const double*>(q), index, count, how, static_cast<const double*>(mass),
                                static_cast<const double*>(d_mass), static_cast<double*>(d_q))
              : masses_gradient(static_cast<const float*>(q), index, count, how, static_cast<const float*>(mass),
                                static_cast<const float*>(d_mass), static_cast<float*>(d_q));
}

std::int64_t partition(const std::uint8_t* treated, std::int64_t size, std::int64_t* index) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < size; ++i)
    if (treated[i]) index[count++] = i;
  std::int64_t next = count;
  for (std::int64_t i = 0; i < size; ++i)
    if (!treated[i]) index[next++] = i;
  return count;
}

}  // namespace wbm::cpu
