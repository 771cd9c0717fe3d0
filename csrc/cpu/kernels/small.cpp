// Problems that fit the first-level cache. Compiled once per instruction set with -DWBM_ISA=<name>; see kernels.h.
//
// A matrix is stored with its transpose: K v and K'u are then both sums of rows times broadcast numbers, without a sum across
// the lanes of a vector.
#include "cpu/kernels/small.h"
#include "cpu/kernels/simd_small.h"

namespace wbm::WBM_ISA {
namespace {

inline void store_exp(double* k, Vec low, Vec high) {
  store(k, exp(low));
  store(k + kLanes, exp(high));
}
inline void store_exp(float* k, Vec low, Vec high) { store_wide(k, exp_single(low, high)); }

template <typename S>
void pad(const S* cost, std::int64_t stride, const SmallShape& shape, S* d) {
  const auto [n, m, rows, columns] = shape;
  const std::int64_t whole = m / kWide<S> * kWide<S>;
  for (std::int64_t i = 0; i < n; ++i) {
    const S* from = cost + i * stride;
    S* to = d + i * columns;
    for (std::int64_t j = 0; j < whole; j += kWide<S>) store_wide(to + j, load_wide(from + j));
    for (std::int64_t j = whole; j < m; ++j) to[j] = from[j];
    for (std::int64_t j = m; j < columns; ++j) to[j] = from[0];
  }
}

template <typename S>
int inspect(const S* d, const SmallShape& shape, double* f, double* g, double* largest) {
  const auto [n, m, rows, columns] = shape;
  const auto least_of = [](Wide<S> x, Wide<S> y) { return x < y ? x : y; };
  Wide<S> top = {}, spoiled = {};
  S least[kSmallSide][kWide<S>], across[kWide<S> * kWide<S>], row_least[kSmallSide];
  for (std::int64_t i = 0; i < n; ++i) {
    Wide<S> x = load_wide(d + i * columns), smallest = x;
    for (std::int64_t j = 0; j < columns; j += kWide<S>) {
      x = load_wide(d + i * columns + j);
      const Wide<S> size = x < S(0) ? -x : x;
      smallest = least_of(smallest, x);
      top = size > top ? size : top;
      spoiled += x - x;  // 0, or NaN where x is infinite or NaN
    }
    store_wide(least[i], smallest);
  }
  for (std::int64_t i = n; i < rows; ++i) store_wide(least[i], Wide<S>{});
  for (std::int64_t i = 0; i < rows; i += kWide<S>) {
    transpose_square(least[i], kWide<S>, across, kWide<S>);
    Wide<S> smallest = load_wide(across);
    for (std::int64_t k = 1; k < kWide<S>; ++k) smallest = least_of(smallest, load_wide(across + k * kWide<S>));
    store_wide(row_least + i, smallest);
  }
  for (std::int64_t j = 0; j < columns; j += kWide<S>) {
    Wide<S> smallest = load_wide(d + j) - row_least[0];
    for (std::int64_t i = 1; i < n; ++i) smallest = least_of(smallest, load_wide(d + i * columns + j) - row_least[i]);
    for (std::int64_t k = 0; k < kWide<S>; ++k) g[j + k] = static_cast<double>(smallest[k]);
  }
  for (std::int64_t i = 0; i < rows; ++i) f[i] = static_cast<double>(row_least[i]);
  *largest = 0.0;
  for (std::int64_t k = 0; k < kWide<S>; ++k)
    if (static_cast<double>(top[k]) > *largest) *largest = static_cast<double>(top[k]);
  return sum_wide(spoiled) == 0.0;
}

template <typename S>
void build(const S* d, const SmallShape& shape, const double* row, const double* column, double inverse_epsilon, S* k,
           S* transposed) {
  const auto [n, m, rows, columns] = shape;
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < columns; j += 2 * kLanes)
      store_exp(k + i * columns + j, exponent(d + i * columns, row[i], column, inverse_epsilon, j),
                exponent(d + i * columns, row[i], column, inverse_epsilon, j + kLanes));
  for (std::int64_t k0 = n * columns; k0 < rows * columns; k0 += kWide<S>) store_wide(k + k0, Wide<S>{});
  transpose(k, rows, columns, transposed);
}

template <typename S>
inline Wide<S> absolute(Wide<S> x) {
  return x < S(0) ? -x : x;
}

// u = u (mass / (u s))^omega, to third order in log(mass / (u s)):
//     x^omega = ((1 + omega) x + 1 - omega) / ((1 - omega) x + 1 + omega),
// where x is near enough to 1, and mass / s elsewhere.
template <typename S>
inline Wide<S> relaxed(Wide<S> u, Wide<S> s, Wide<S> mass, S omega) {
  const Wide<S> sum = u * s;
  const Wide<S> over = mass * (S(1) + omega) + sum * (S(1) - omega), under = mass * (S(1) - omega) + sum * (S(1) + omega);
  const Wide<S> least = (mass + sum) * S(0.25);
  const auto near = (over > least) & (under > least);
  return u * (near ? over : mass) / (near ? under : sum);
}

template <typename S>
std::int64_t sweeps(const SmallScaling<S>& scaling, double omega_, std::int64_t count, double target, S* column_error,
                    double* residual) {
  const auto [shape, k, transposed, a, b, pad_rows, pad_columns, u, v, s] = scaling;
  const auto [n, m, rows, columns] = shape;
  const S omega = static_cast<S>(omega_);
  Wide<S> error = load_wide(column_error);
  std::int64_t done = 0;
  for (; done < count; ++done) {
    sum_rows(transposed, v, m, rows, pad_rows, s);
    Wide<S> both = error;
    for (std::int64_t i = 0; i < rows; i += kWide<S>)
      both += absolute<S>(load_wide(u + i) * load_wide(s + i) - load_wide(a + i));
    residual[done] = sum_wide(both);
    if (!(residual[done] > target)) break;
    if (omega == S(1)) {
      for (std::int64_t i = 0; i < rows; i += kWide<S>) store_wide(u + i, load_wide(a + i) / load_wide(s + i));
    } else {
      for (std::int64_t i = 0; i < rows; i += kWide<S>)
        store_wide(u + i, relaxed(load_wide(u + i), load_wide(s + i), load_wide(a + i), omega));
    }
    sum_rows(k, u, n, columns, pad_columns, s);
    error = Wide<S>{};
    if (omega == S(1)) {
      for (std::int64_t j = 0; j < columns; j += kWide<S>) store_wide(v + j, load_wide(b + j) / load_wide(s + j));
    } else {
      for (std::int64_t j = 0; j < columns; j += kWide<S>) {
        const Wide<S> t = load_wide(s + j), mass = load_wide(b + j), next = relaxed(load_wide(v + j), t, mass, omega);
        error += absolute<S>(next * t - mass);
        store_wide(v + j, next);
      }
    }
  }
  store_wide(column_error, error);
  return done;
}

template <typename S>
double sums(const S* d, const SmallShape& shape, const S* k, const double* u, const double* v, double* r, double* c) {
  const std::int64_t n = shape.n, columns = shape.columns;
  Vec value = splat(0.0);
  for (std::int64_t j = 0; j < columns; ++j) c[j] = 0.0;
  in_pairs(n, [&](std::int64_t i, auto pair) {
    constexpr int kRows = decltype(pair)::value;
    Vec total[kRows] = {}, spent[kRows] = {};
    for (std::int64_t j = 0; j < columns; j += kLanes) {
      const Vec weight = load(v + j);
      Vec column = load(c + j);
#pragma GCC unroll 2
      for (int t = 0; t < kRows; ++t) {
        const Vec x = load(k + (i + t) * columns + j), p = x * weight;
        total[t] += p;
        spent[t] += p * load(d + (i + t) * columns + j);
        column += x * u[i + t];
      }
      store(c + j, column);
    }
    for (int t = 0; t < kRows; ++t) {
      r[i + t] = u[i + t] * sum(total[t]);
      value += spent[t] * u[i + t];
    }
  });
  for (std::int64_t j = 0; j < columns; j += kLanes) store(c + j, load(c + j) * load(v + j));
  return sum(value);
}

// sum x (potential - shift log mass) and sum |x - mass|
void side(const double* x, const double* potential, const double* log_mass, double shift, const double* mass,
          std::int64_t count, double* dual, double* error) {
  Vec total = splat(0.0), off = splat(0.0);
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vec d = load(x + i) - load(mass + i);
    total += load(x + i) * (load(potential + i) - load(log_mass + i) * shift);
    off += d < 0.0 ? -d : d;
  }
  *dual = sum(total);
  *error = sum(off);
  for (; i < count; ++i) {
    const double d = x[i] - mass[i];
    *dual += x[i] * (potential[i] - log_mass[i] * shift);
    *error += d < 0.0 ? -d : d;
  }
}

double scale(const double* x, double factor, std::int64_t count, double* out) {
  Vec largest = splat(0.0);
  const auto magnitude = [](Vec v) { return v < 0.0 ? -v : v; };
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vec v = load(x + i) * factor;
    store(out + i, v);
    largest = max(largest, magnitude(v));
  }
  Vec last = splat(0.0);
  for (std::int64_t k = i; k < count; ++k) last[k - i] = out[k] = x[k] * factor;
  return max(max(largest, magnitude(last)));
}

template <typename S>
constexpr SmallKernels<S> table = {pad<S>, inspect<S>, build<S>, sweeps<S>, sums<S>};

}  // namespace

extern const SmallTable small_kernels;
const SmallTable small_kernels = {table<float>, table<double>, {side, scale}};

}  // namespace wbm::WBM_ISA
