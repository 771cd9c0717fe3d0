// Log-domain loops. Compiled once per instruction set with -DWBM_ISA=<name>; see kernels.h.
#include "cpu/kernels/kernels.h"

#include "cpu/kernels/simd.h"

namespace wbm::WBM_ISA {
namespace {

// Lanes j .. j+7 of g - D (or f - D), -inf where the mask forbids the pair.
template <typename T>
inline Vec exponent(const T* cost, const std::uint8_t* mask, Vec potential, std::int64_t j) {
  const Vec x = potential - load(cost + j);
  return mask ? (load_mask(mask + j) ? x : splat(-kInfinity)) : x;
}

template <typename T>
inline double exponent_at(const T* cost, const std::uint8_t* mask, double potential, std::int64_t j) {
  return mask && !mask[j] ? -kInfinity : potential - static_cast<double>(cost[j]);
}

// The last lanes of a row, padded with -inf.
template <typename T>
inline Vec exponent_tail(const T* cost, const std::uint8_t* mask, const double* g, std::int64_t j, std::int64_t m) {
  Vec x = splat(-kInfinity);
  for (std::int64_t k = j; k < m; ++k) x[k - j] = exponent_at(cost, mask, g[k], k);
  return x;
}

template <typename T>
LogSum log_sum(const T* cost, const std::uint8_t* mask, const double* g, double inverse_epsilon, std::int64_t m) {
  const std::int64_t whole = m / kLanes * kLanes;
  Vec top = splat(-kInfinity);
  for (std::int64_t j = 0; j < whole; j += kLanes) top = max(top, exponent(cost, mask, load(g + j), j));
  const Vec tail = exponent_tail(cost, mask, g, whole, m);
  const double largest = max(max(top, tail));
  if (!(largest > -kInfinity)) return {-kInfinity, 0.0};
  Vec total = exp((tail - largest) * inverse_epsilon);
  for (std::int64_t j = 0; j < whole; j += kLanes)
    total += exp((exponent(cost, mask, load(g + j), j) - largest) * inverse_epsilon);
  return {largest, sum(total)};
}

template <typename T>
void column_max(const T* cost, const std::uint8_t* mask, double f, double* top, std::int64_t begin, std::int64_t end) {
  std::int64_t j = begin;
  for (; j + kLanes <= end; j += kLanes) store(top + j, max(load(top + j), exponent(cost, mask, splat(f), j)));
  for (; j < end; ++j) {
    const double x = exponent_at(cost, mask, f, j);
    if (x > top[j]) top[j] = x;
  }
}

template <typename T>
void column_sum(const T* cost, const std::uint8_t* mask, double f, const double* top, double* total,
                double inverse_epsilon, std::int64_t begin, std::int64_t end) {
  // A column with nothing admissible has top = -inf; its exponent is set to -inf, not to -inf + inf.
  std::int64_t j = begin;
  for (; j + kLanes <= end; j += kLanes) {
    const Vec t = load(top + j);
    const Vec x = (exponent(cost, mask, splat(f), j) - t) * inverse_epsilon;
    store(total + j, load(total + j) + exp(t > splat(-kInfinity) ? x : splat(-kInfinity)));
  }
  for (; j < end; ++j)
    if (top[j] > -kInfinity) total[j] += exp(splat((exponent_at(cost, mask, f, j) - top[j]) * inverse_epsilon))[0];
}

// The sign taken off: of two magnitudes the larger has the larger bits, and what is infinite or NaN the largest.
template <typename T>
struct Magnitudes;
template <>
struct Magnitudes<float> {
  using Type = WideBits32;
  static constexpr std::int32_t kSign = 0x7fffffff;
};
template <>
struct Magnitudes<double> {
  using Type = Bits;
  static constexpr std::int64_t kSign = 0x7fffffffffffffff;
};

template <typename T>
int scan(const T* cost, std::int64_t stride, std::int64_t n, std::int64_t m, double* sum_, double* largest) {
  using Wide = typename WideOf<T>::Type;
  using Integers = typename Magnitudes<T>::Type;
  constexpr std::int64_t kWide = sizeof(Wide) / sizeof(T);
  const std::int64_t whole = m / kWide * kWide;
  Vec total = splat(0.0);
  Integers top = {};
  const auto lanes = [&](Wide x) {
    const Integers size = (Integers)x & Magnitudes<T>::kSign;
    total += fold(x);
    top = size > top ? size : top;
  };
  for (std::int64_t i = 0; i < n; ++i) {
    const T* row = cost + i * stride;
    for (std::int64_t j = 0; j < whole; j += kWide) lanes(load_wide(row + j));
    if (whole == m) continue;
    Wide tail = {};
    for (std::int64_t j = whole; j < m; ++j) tail[j - whole] = row[j];
    lanes(tail);
  }
  *sum_ = sum(total);
  const Wide magnitude = (Wide)top;
  *largest = 0.0;
  for (std::int64_t k = 0; k < kWide; ++k) {
    const double x = static_cast<double>(magnitude[k]);
    if (!(x < kInfinity)) return 0;
    if (x > *largest) *largest = x;
  }
  return 1;
}

template <typename T>
void minima(const T* cost, std::int64_t stride, std::int64_t n, std::int64_t m, T* f, T* g) {
  using Wide = typename WideOf<T>::Type;
  constexpr std::int64_t kWide = sizeof(Wide) / sizeof(T);
  const std::int64_t whole = m / kWide * kWide;
  const T infinite = static_cast<T>(kInfinity);
  for (std::int64_t j = 0; j < m; ++j) g[j] = infinite;
  for (std::int64_t i = 0; i < n; ++i) {
    const T* row = cost + i * stride;
    Wide low = Wide{} + infinite;
    for (std::int64_t j = 0; j < whole; j += kWide) {
      const Wide x = load_wide(row + j);
      low = x < low ? x : low;
    }
    T least = infinite;
    for (std::int64_t k = 0; k < kWide; ++k) least = low[k] < least ? low[k] : least;
    for (std::int64_t j = whole; j < m; ++j) least = row[j] < least ? row[j] : least;
    f[i] = least;
    for (std::int64_t j = 0; j < whole; j += kWide) {
      const Wide x = load_wide(row + j) - least, y = load_wide(g + j);
      store_wide(g + j, x < y ? x : y);
    }
    for (std::int64_t j = whole; j < m; ++j) g[j] = row[j] - least < g[j] ? row[j] - least : g[j];
  }
}

template <typename T>
double row_max(const T* cost, const std::uint8_t* mask, const double* g, std::int64_t m) {
  const std::int64_t whole = m / kLanes * kLanes;
  Vec top = splat(-kInfinity);
  for (std::int64_t j = 0; j < whole; j += kLanes) top = max(top, exponent(cost, mask, load(g + j), j));
  return max(max(top, exponent_tail(cost, mask, g, whole, m)));
}

template <typename T>
void add_plan(const T* cost, const std::uint8_t* mask, double f, const double* g, double inverse_epsilon, std::int64_t m,
              double* column, double* sum_, double* value) {
  const std::int64_t whole = m / kLanes * kLanes;
  Vec total = splat(0.0), spent = splat(0.0);
  const auto lanes = [&](Vec x, Vec d) {
    const Vec p = exp((x + f) * inverse_epsilon);
    total += p;
    spent += p > splat(0.0) ? p * d : splat(0.0);  // a forbidden pair has D = inf and p = 0
    return p;
  };
  for (std::int64_t j = 0; j < whole; j += kLanes)
    store(column + j, load(column + j) + lanes(exponent(cost, mask, load(g + j), j), load(cost + j)));
  if (whole < m) {
    Vec d = splat(0.0);
    for (std::int64_t j = whole; j < m; ++j) d[j - whole] = static_cast<double>(cost[j]);
    const Vec p = lanes(exponent_tail(cost, mask, g, whole, m), d);
    for (std::int64_t j = whole; j < m; ++j) column[j] += p[j - whole];
  }
  *sum_ += sum(total);
  *value += sum(spent);
}

template <typename T>
void plan_sums(const T* cost, const std::uint8_t* mask, double f, const double* g, double inverse_epsilon, std::int64_t m,
               double* p, double* column, double* column_entropy, double* sum_, double* entropy) {
  Vec total = splat(0.0), weighted = splat(0.0);
  for (std::int64_t j = 0; j < m; j += kLanes) {
    const std::int64_t count = m - j < kLanes ? m - j : kLanes;
    Vec e = (load_some(g + j, count, -kInfinity) - load_some(cost + j, count, 0.0) + f) * inverse_epsilon;
    if (mask) {
      if (count == kLanes)
        e = load_mask(mask + j) ? e : splat(-kInfinity);
      else
        for (std::int64_t k = 0; k < count; ++k) e[k] = mask[j + k] ? e[k] : -kInfinity;
    }
    const Vec x = exp(e);
    const Vec xe = x > splat(0.0) ? x * e : splat(0.0);
    total += x;
    weighted += xe;
    store_some(p + j, x, count);
    store_some(column + j, load_some(column + j, count, 0.0) + x, count);
    store_some(column_entropy + j, load_some(column_entropy + j, count, 0.0) + xe, count);
  }
  *sum_ += sum(total);
  *entropy += sum(weighted);
}

template <typename T>
void plan(const T* cost, const std::uint8_t* mask, double f, const double* g, double inverse_epsilon, double* p,
          std::int64_t begin, std::int64_t end) {
  if (!(f > -kInfinity)) {
    for (std::int64_t j = begin; j < end; ++j) p[j] = 0.0;
    return;
  }
  std::int64_t j = begin;
  for (; j + kLanes <= end; j += kLanes)
    store(p + j, exp((exponent(cost, mask, load(g + j), j) + f) * inverse_epsilon));
  for (; j < end; ++j) p[j] = exp(splat((exponent_at(cost, mask, g[j], j) + f) * inverse_epsilon))[0];
}

}  // namespace

extern const LogKernels log_kernels;
const LogKernels log_kernels = {
    {log_sum<float>, column_max<float>, column_sum<float>, scan<float>, minima<float>, row_max<float>, add_plan<float>,
     plan_sums<float>, plan<float>},
    {log_sum<double>, column_max<double>, column_sum<double>, scan<double>, minima<double>, row_max<double>, add_plan<double>,
     plan_sums<double>, plan<double>}};

}  // namespace wbm::WBM_ISA
