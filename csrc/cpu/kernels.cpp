// Compiled several times with -DWBM_ISA=<name> and that instruction set's flags; see CMakeLists.txt.
#include "cpu/kernels.h"

#include "cpu/simd.h"

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

// Rows a block: as many running sums as the registers hold.
#ifdef __AVX512F__
constexpr int kBlockRows = 8;
#else
constexpr int kBlockRows = 4;
#endif

template <typename S, int Rows>
void dots_of(const S* k, std::int64_t stride, const S* v, std::int64_t padded, double* sums) {
  using Wide = typename WideOf<S>::Type;
  constexpr std::int64_t kWide = sizeof(Wide) / sizeof(S);
  Wide total[Rows] = {};
  for (std::int64_t j = 0; j < padded; j += kWide) {
    const Wide x = load_wide(v + j);
    for (int r = 0; r < Rows; ++r) total[r] += load_wide(k + r * stride + j) * x;
  }
  for (int r = 0; r < Rows; ++r) sums[r] = sum_wide(total[r]);
}

template <typename S>
void dots(const S* k, std::int64_t stride, int rows, const S* v, std::int64_t padded, double* sums) {
  if (rows == kBlockRows) return dots_of<S, kBlockRows>(k, stride, v, padded, sums);
  for (int r = 0; r < rows; ++r) dots_of<S, 1>(k + r * stride, stride, v, padded, sums + r);
}

template <typename S, int Rows>
void accumulate_of(const S* k, std::int64_t stride, const S* u, S* out, std::int64_t padded) {
  using Wide = typename WideOf<S>::Type;
  constexpr std::int64_t kWide = sizeof(Wide) / sizeof(S);
  for (std::int64_t j = 0; j < padded; j += kWide) {
    Wide total = load_wide(k + j) * u[0];  // the rows first, then the running sum: fewer roundings of the larger one
    for (int r = 1; r < Rows; ++r) total += load_wide(k + r * stride + j) * u[r];
    store_wide(out + j, load_wide(out + j) + total);
  }
}

template <typename S>
void accumulate(const S* k, std::int64_t stride, int rows, const S* u, S* out, std::int64_t padded) {
  if (rows == kBlockRows) return accumulate_of<S, kBlockRows>(k, stride, u, out, padded);
  for (int r = 0; r < rows; ++r) accumulate_of<S, 1>(k + r * stride, stride, u + r, out, padded);
}

template <typename T, typename S>
void build(const T* cost, const std::uint8_t* mask, double row, const double* column, double inverse_epsilon, S* k,
           std::int64_t m, std::int64_t padded) {
  const std::int64_t whole = m / kLanes * kLanes;
  for (std::int64_t j = 0; j < whole; j += kLanes) {
    Vec x = (load(column + j) + row) - load(cost + j) * inverse_epsilon;
    if (mask) x = load_mask(mask + j) ? x : splat(-kInfinity);
    store(k + j, exp(x));
  }
  for (std::int64_t j = whole; j < m; ++j) {
    const double x = mask && !mask[j] ? -kInfinity : column[j] + row - static_cast<double>(cost[j]) * inverse_epsilon;
    k[j] = static_cast<S>(exp(splat(x))[0]);
  }
  for (std::int64_t j = m; j < padded; ++j) k[j] = S(0);
}

void power(const double* alpha, double ratio, const double* s, double* log_u, double* u, std::int64_t n) {
  const auto lanes = [&](Vec a, Vec x) { return a - log(x) * ratio; };
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vec y = lanes(load(alpha + i), load(s + i));
    store(log_u + i, y);
    store(u + i, exp(y));
  }
  for (; i < n; ++i) {
    const Vec y = lanes(splat(alpha[i]), splat(s[i]));
    log_u[i] = y[0];
    u[i] = exp(y)[0];
  }
}

void exp_linear(const double* x, double p, const double* y, double q, double* out, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, exp(load(x + i) * p + load(y + i) * q));
  for (; i < n; ++i) out[i] = exp(splat(x[i] * p + y[i] * q))[0];
}

template <typename T>
constexpr RowKernels<T> table() {
  return {log_sum<T>, column_max<T>, column_sum<T>, plan<T>};
}

#define WBM_TEXT_(x) #x
#define WBM_TEXT(x) WBM_TEXT_(x)

}  // namespace

extern const Kernels kernels;
const Kernels kernels = {table<float>(),
                         table<double>(),
                         {kBlockRows, dots<float>, accumulate<float>},
                         {kBlockRows, dots<double>, accumulate<double>},
                         {build<float, float>},
                         {build<float, double>},
                         {build<double, float>},
                         {build<double, double>},
                         power,
                         exp_linear,
                         WBM_TEXT(WBM_ISA)};

}  // namespace wbm::WBM_ISA
