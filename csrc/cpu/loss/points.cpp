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

constexpr std::int64_t kBand = 3 * kTileRows;  // rows a part

// work(begin, count) on bands of rows, shared from 2^24 multiply-adds on: some tenths of a millisecond.
template <typename Work>
void by_bands(std::int64_t n, std::int64_t m, std::int64_t k, int available, const Work& work) {
  const Threads threads(1, n * k / 128, m, available);
  Team(threads.within).split((n + kBand - 1) / kBand, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * kBand; i < std::min(end * kBand, n); i += kBand) work(i, std::min(kBand, n - i));
  });
}

template <typename S>
double distances(const Points& x, const Points& y, std::int64_t k, bool scaled, double factor, S* out, int available) {
  constexpr std::int64_t kFew = 4;  // coordinates, of which differences cost no more
  const std::int64_t n = x.count, m = y.count, padded = padded_columns(m);
  const DistanceKernel<S>& kernels = distance_kernel<S>();
  const S *from_x = static_cast<const S*>(x.data), *from_y = static_cast<const S*>(y.data);
  std::vector<double> centre(k, 0.0);
  kernels.sum(from_y, y.stride, y.index, m, k, centre.data());
  for (double& c : centre) c /= static_cast<double>(m);

  // x - c by rows, (y - c)' by columns: the inner loop runs along j
  const Array<S> left(n * k), right(k * padded), left_squares(n), right_squares(padded);
  const auto move = [&](const std::vector<double>& c) {
    const double of_x = kernels.centred(from_x, x.stride, x.index, n, k, c.data(), left.data(), left_squares.data());
    const double of_y = kernels.centred_columns(from_y, y.stride, y.index, m, k, c.data(), padded, right.data(),
                                                right_squares.data());
    return of_x / static_cast<double>(n) + of_y / static_cast<double>(m);
  };
  const double mean = move(centre);
  const S scale = static_cast<S>(scaled ? 1.0 / mean : factor);

  // the products, and where they have lost digits the differences of the points as they are
  const std::int64_t row = padded / kTileColumns<S>, groups = (n + kTileRows - 1) / kTileRows;
  std::vector<std::uint8_t> lossy(groups * row, k <= kFew);
  if (k > kFew)
    by_bands(n, m, k, available, [&](std::int64_t i, std::int64_t count) {
      kernels.products(left.data() + i * k, left_squares.data() + i, count, right.data(), right_squares.data(), k, m, padded,
                       scale, out + i * m, lossy.data() + i / kTileRows * row);
    });
  if (std::find(lossy.begin(), lossy.end(), 1) == lossy.end()) return mean;
  move(std::vector<double>(k, 0.0));
  by_bands(n, m, k, available, [&](std::int64_t i, std::int64_t count) {
    kernels.differences(left.data() + i * k, count, right.data(), k, m, padded, scale, out + i * m,
                        lossy.data() + i / kTileRows * row);
  });
  return mean;
}

// d_x (n, k) = factor sum_j w_ij (x_i - y_j) and d_y likewise, from differences: neither the place of the points nor an
// outlier among them costs digits.
template <typename S>
void distances_gradient(const S* w, const Points& x, const Points& y, std::int64_t k, double factor, S* d_x, S* d_y,
                        int available) {
  const std::int64_t n = x.count, m = y.count, padded = padded_columns(k);
  const DistanceKernel<S>& kernels = distance_kernel<S>();
  const Array<S> near_x(n * padded), near_y(m * padded);
  const auto copy = [&](const Points& points, S* out) {
    for (std::int64_t i = 0; i < points.count; ++i, out += padded) {
      const S* p = static_cast<const S*>(points.data) + (points.index ? points.index[i] : i) * points.stride;
      std::copy(p, p + k, out);
      std::fill(out + k, out + padded, S(0));
    }
  };
  copy(x, near_x.data());
  copy(y, near_y.data());
  const auto side = [&](const S* from, std::int64_t rows, const S* to, std::int64_t points, std::int64_t row_step,
                        std::int64_t point_step, S* d) {
    if (!d) return;
    by_bands(rows, points, k, available, [&](std::int64_t i, std::int64_t count) {
      const Array<S> part(count * padded);
      kernels.gradient(w + i * row_step, row_step, point_step, count, points, from + i * padded, to, padded, part.data());
      for (std::int64_t r = 0; r < count; ++r)
        for (std::int64_t c = 0; c < k; ++c)
          d[(i + r) * k + c] = static_cast<S>(factor * static_cast<double>(part[r * padded + c]));
    });
  };
  side(near_x.data(), n, near_y.data(), m, m, 1, d_x);
  side(near_y.data(), m, near_x.data(), n, 1, m, d_y);
}

// The propensity of the treatment that the sample had, or its logit.
double observed(double q, const Weighting& how) { return how.other ? (how.logits ? -q : 1.0 - q) : q; }

// w of one sample
double weight(double q, const Weighting& how) {
  const double p = observed(q, how);
  if (how.logits) {
    const double e = std::exp(-p);  // 1/q = 1 + e
    if (how.softmax) return 1.0 + e;
    return p > 0.0 ? std::log1p(e) : std::log1p(std::exp(p)) - p;
  }
  return how.softmax ? 1.0 / p : -std::log(p);
}

// dw/dq (dw/dz)
double slope(double q, const Weighting& how) {
  const double sign = how.other ? -1.0 : 1.0, p = observed(q, how);
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
    const double p = observed(bounded[i], how);
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

double squared_distances(const Points& x, const Points& y, std::int64_t k, bool float64, bool scaled, double factor, void* out,
                         int threads) {
  return float64 ? distances(x, y, k, scaled, factor, static_cast<double*>(out), threads)
                 : distances(x, y, k, scaled, factor, static_cast<float*>(out), threads);
}

void distances_gradient(const void* w, const Points& x, const Points& y, std::int64_t k, bool float64, double factor, void* d_x,
                        void* d_y, int threads) {
  float64 ? distances_gradient(static_cast<const double*>(w), x, y, k, factor, static_cast<double*>(d_x),
                               static_cast<double*>(d_y), threads)
          : distances_gradient(static_cast<const float*>(w), x, y, k, factor, static_cast<float*>(d_x),
                               static_cast<float*>(d_y), threads);
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
