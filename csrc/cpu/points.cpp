#include "cpu/points.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/memory.h"
#include "cpu/parallel.h"
#include "cpu/team.h"
#include "cpu/view.h"

namespace wbm::cpu {
namespace {

template <typename S>
const S* point(const Points& points, std::int64_t i) {
  return static_cast<const S*>(points.data) + (points.index ? points.index[i] : i) * points.stride;
}

template <typename S>
double distances(const Points& x, const Points& y, std::int64_t k, bool scaled, S* out, int available) {
  const std::int64_t n = x.count, m = y.count, padded = (m + kDistanceColumns - 1) / kDistanceColumns * kDistanceColumns;
  std::vector<double> centre(k, 0.0);
  for (std::int64_t j = 0; j < m; ++j) {
    const S* p = point<S>(y, j);
    for (std::int64_t c = 0; c < k; ++c) centre[c] += static_cast<double>(p[c]);
  }
  for (double& c : centre) c /= static_cast<double>(m);

  // x - c by rows, (y - c)' by columns: the product's inner loop runs along j
  const Array<S> left(n * k), right(k * padded), left_squares(n), right_squares(padded);
  double total_x = 0.0, total_y = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    const S* p = point<S>(x, i);
    double square = 0.0;
    for (std::int64_t c = 0; c < k; ++c) {
      const double d = static_cast<double>(p[c]) - centre[c];
      left[i * k + c] = static_cast<S>(d);
      square += d * d;
    }
    left_squares[i] = static_cast<S>(square);
    total_x += square;
  }
  for (std::int64_t j = 0; j < m; ++j) {
    const S* p = point<S>(y, j);
    double square = 0.0;
    for (std::int64_t c = 0; c < k; ++c) {
      const double d = static_cast<double>(p[c]) - centre[c];
      right[c * padded + j] = static_cast<S>(d);
      square += d * d;
    }
    right_squares[j] = static_cast<S>(square);
    total_y += square;
  }
  for (std::int64_t j = m; j < padded; ++j) {
    for (std::int64_t c = 0; c < k; ++c) right[c * padded + j] = S(0);
    right_squares[j] = S(0);
  }

  const double mean = total_x / static_cast<double>(n) + total_y / static_cast<double>(m);
  const S scale = scaled ? static_cast<S>(1.0 / mean) : S(1);
  const auto kernel = distance_kernel<S>();
  constexpr std::int64_t kBand = 24;  // rows a part
  const auto bands = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * kBand; i < std::min(end * kBand, n); i += kBand)
      kernel(left.data() + i * k, left_squares.data() + i, std::min(kBand, n - i), right.data(), right_squares.data(), k, m,
             padded, scale, out + i * m);
  };
  const std::int64_t parts = (n + kBand - 1) / kBand;
  const Threads threads(1, n * k / 128, m, available);  // from 2^24 multiply-adds on, some tenths of a millisecond
  Team(threads.within).split(parts, bands);
  return mean;
}

// w and dw/dq (dw/dz) of one sample
struct Weight {
  double w, slope;
};

Weight weight(double q, const Weighting& how) {
  const double sign = how.other ? -1.0 : 1.0;
  if (how.logits) {
    const double z = sign * q, e = std::exp(-z);  // 1/q = 1 + e
    if (how.softmax) return {1.0 + e, -sign * e};
    return {z > 0.0 ? std::log1p(e) : std::log1p(std::exp(z)) - z, -sign / (1.0 + std::exp(z))};
  }
  const double p = how.other ? 1.0 - q : q;
  if (how.softmax) return {1.0 / p, -sign / (p * p)};
  return {-std::log(p), -sign / p};
}

double clipped(double q, const Weighting& how) { return q < how.low ? how.low : q > how.high ? how.high : q; }

template <typename S>
WeightReport masses(const S* q, const std::int64_t* index, std::int64_t count, const Weighting& how, S* mass) {
  WeightReport report;
  std::vector<double> w(count);
  double top = -kInf;
  for (std::int64_t i = 0; i < count; ++i) {
    const double value = static_cast<double>(q[index[i]]);
    if (how.logits ? std::isnan(value) : !(value >= 0.0 && value <= 1.0)) {
      report.invalid = index[i];
      return report;
    }
    const double bounded = clipped(value, how);
    report.clipped += bounded != value;
    w[i] = weight(bounded, how).w;
    top = std::fmax(top, w[i]);
  }
  double total = 0.0, squares = 0.0;
  for (double& x : w) {
    x = std::exp(x - top);
    total += x;
    squares += x * x;
  }
  for (std::int64_t i = 0; i < count; ++i) mass[i] = static_cast<S>(w[i] / total);
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
    d_q[index[i]] = inside ? static_cast<S>(d * weight(value, how).slope) : S(0);
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
