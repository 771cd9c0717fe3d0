// Problems that fit the first-level cache. Compiled once per instruction set with -DWBM_ISA=<name>; see kernels.h.
//
// A matrix is stored with its transpose: K v and K'u are then both sums of rows times broadcast numbers, without a sum across
// the lanes of a vector.
#include "cpu/kernels.h"

#include "cpu/simd.h"

namespace wbm::WBM_ISA {
namespace {

template <typename S>
using Wide = typename WideOf<S>::Type;
template <typename S>
constexpr std::int64_t kWide = 64 / sizeof(S);  // lanes of a Wide

inline void store_exp(double* k, Vec low, Vec high) {
  store(k, exp(low));
  store(k + kLanes, exp(high));
}
inline void store_exp(float* k, Vec low, Vec high) {
  store(k, exp_single(low));
  store(k + kLanes, exp_single(high));
}

// The lower (upper) halves of x and y, their lanes in turn.
#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
inline Wide32 low_lanes(Wide32 x, Wide32 y) {
  return __builtin_shufflevector(x, y, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
inline Wide32 high_lanes(Wide32 x, Wide32 y) {
  return __builtin_shufflevector(x, y, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
inline Vec low_lanes(Vec x, Vec y) { return __builtin_shufflevector(x, y, 0, 8, 1, 9, 2, 10, 3, 11); }
inline Vec high_lanes(Vec x, Vec y) { return __builtin_shufflevector(x, y, 4, 12, 5, 13, 6, 14, 7, 15); }
#else
template <typename V>
inline V low_lanes(V x, V y, int from = 0) {
  V out;
  for (int k = 0; k < static_cast<int>(sizeof x / sizeof x[0]) / 2; ++k) out[2 * k] = x[from + k], out[2 * k + 1] = y[from + k];
  return out;
}
template <typename V>
inline V high_lanes(V x, V y) {
  return low_lanes(x, y, static_cast<int>(sizeof x / sizeof x[0]) / 2);
}
#endif

// out_ji = k_ij for i < rows, j < columns, by squares: one step takes rows 2r, 2r + 1 of the next square from the lanes of
// rows r and r + half of this one, and as many steps as the lanes have bits are the transposition.
template <typename S>
void transpose(const S* k, std::int64_t rows, std::int64_t columns, S* out) {
  constexpr int kSide = static_cast<int>(kWide<S>);
  for (std::int64_t i = 0; i < rows; i += kSide)
    for (std::int64_t j = 0; j < columns; j += kSide) {
      Wide<S> square[kSide], next[kSide];
#pragma GCC unroll 16
      for (int r = 0; r < kSide; ++r) square[r] = load_wide(k + (i + r) * columns + j);
#pragma GCC unroll 4
      for (int step = 1; step < kSide; step *= 2) {
#pragma GCC unroll 8
        for (int r = 0; r < kSide / 2; ++r) {
          next[2 * r] = low_lanes(square[r], square[r + kSide / 2]);
          next[2 * r + 1] = high_lanes(square[r], square[r + kSide / 2]);
        }
#pragma GCC unroll 16
        for (int r = 0; r < kSide; ++r) square[r] = next[r];
      }
#pragma GCC unroll 16
      for (int r = 0; r < kSide; ++r) store_wide(out + (j + r) * rows + i, square[r]);
    }
}

// out = start + sum_i x_i k_i over `count` rows k_i of W vectors.
template <int W, typename S>
inline void sum_rows(const S* k, const S* x, std::int64_t count, const S* start, S* out) {
  constexpr int kChains = W < 4 ? 4 : 2;
  constexpr std::int64_t kStride = W * kWide<S>;
  Wide<S> sum[kChains][W] = {};
  for (int w = 0; w < W; ++w) sum[0][w] = load_wide(start + w * kWide<S>);
  std::int64_t i = 0;
  for (; i + kChains <= count; i += kChains)
#pragma GCC unroll 4
    for (int c = 0; c < kChains; ++c)
#pragma GCC unroll 8
      for (int w = 0; w < W; ++w) sum[c][w] += load_wide(k + (i + c) * kStride + w * kWide<S>) * x[i + c];
  for (; i < count; ++i)
#pragma GCC unroll 8
    for (int w = 0; w < W; ++w) sum[0][w] += load_wide(k + i * kStride + w * kWide<S>) * x[i];
#pragma GCC unroll 8
  for (int w = 0; w < W; ++w) {
    for (int c = 1; c < kChains; ++c) sum[0][w] += sum[c][w];
    store_wide(out + w * kWide<S>, sum[0][w]);
  }
}

// The same with rows of `width` entries.
template <typename S>
inline void sum_rows(const S* k, const S* x, std::int64_t count, std::int64_t width, const S* start, S* out) {
  constexpr int kUnit = static_cast<int>(kSmallPadding / kWide<S>);
  switch (width / kSmallPadding) {
    case 1: return sum_rows<kUnit>(k, x, count, start, out);
    case 2: return sum_rows<2 * kUnit>(k, x, count, start, out);
    case 3: return sum_rows<3 * kUnit>(k, x, count, start, out);
    default: return sum_rows<4 * kUnit>(k, x, count, start, out);
  }
}

template <typename S>
void pad(const S* cost, std::int64_t stride, const SmallShape& shape, S* d) {
  const auto [n, m, rows, columns] = shape;
  const std::int64_t whole = m / kWide<S> * kWide<S>;
  for (std::int64_t i = 0; i < n; ++i) {
    const S* from = cost + i * stride;
    S* to = d + i * columns;
    for (std::int64_t j = 0; j < whole; j += kWide<S>) store_wide(to + j, load_wide(from + j));
    for (std::int64_t j = whole; j < m; ++j) to[j] = from[j];
    for (std::int64_t j = m; j < columns; ++j) to[j] = S(0);
  }
}

template <typename S>
void minima(const S* d, const SmallShape& shape, double* f, double* g) {
  const auto [n, m, rows, columns] = shape;
  const S infinity = static_cast<S>(kInfinity);
  for (std::int64_t j = 0; j < columns; ++j) g[j] = kInfinity;
  for (std::int64_t i = 0; i < n; ++i) {
    const S* row = d + i * columns;
    Wide<S> least = Wide<S>{} + infinity;
    std::int64_t j = 0;
    for (; j + kWide<S> <= m; j += kWide<S>) {
      const Wide<S> x = load_wide(row + j);
      least = x < least ? x : least;
    }
    S smallest = infinity;
    for (; j < m; ++j) smallest = row[j] < smallest ? row[j] : smallest;
    for (std::int64_t k = 0; k < kWide<S>; ++k) smallest = least[k] < smallest ? least[k] : smallest;
    f[i] = static_cast<double>(smallest);
    for (j = 0; j < columns; j += kLanes) {
      const Vec x = load(row + j) - f[i], top = load(g + j);
      store(g + j, x < top ? x : top);
    }
  }
}

// Exponents of row i of the plan, columns j to j + 7.
template <typename S>
inline Vec exponent(const S* d, double row, const double* column, double inverse_epsilon, std::int64_t j) {
  return (load(column + j) + row) - load(d + j) * inverse_epsilon;
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
std::int64_t sweeps(const SmallScaling<S>& scaling, double omega_, std::int64_t count, double target, double* column_error,
                    double* residual) {
  const auto& [shape, k, transposed, a, b, pad_rows, pad_columns, u, v, s] = scaling;
  const auto [n, m, rows, columns] = shape;
  const S omega = static_cast<S>(omega_);
  for (std::int64_t done = 0; done < count; ++done) {
    sum_rows(transposed, v, m, rows, pad_rows, s);
    Wide<S> error = {}, excess = {};
    for (std::int64_t i = 0; i < rows; i += kWide<S>) {
      const Wide<S> x = load_wide(u + i) * load_wide(s + i) - load_wide(a + i);
      error += absolute<S>(x);
      excess += x;
    }
    const double surplus = sum_wide(excess);
    residual[done] = (sum_wide(error) + *column_error) / (surplus > 0.0 ? 1.0 + surplus : 1.0);
    if (!(residual[done] > target)) return done;
    if (omega == S(1)) {
      for (std::int64_t i = 0; i < rows; i += kWide<S>) store_wide(u + i, load_wide(a + i) / load_wide(s + i));
    } else {
      for (std::int64_t i = 0; i < rows; i += kWide<S>)
        store_wide(u + i, relaxed(load_wide(u + i), load_wide(s + i), load_wide(a + i), omega));
    }
    sum_rows(k, u, n, columns, pad_columns, s);
    error = Wide<S>{};
    for (std::int64_t j = 0; j < columns; j += kWide<S>) {
      const Wide<S> t = load_wide(s + j), mass = load_wide(b + j);
      const Wide<S> next = omega == S(1) ? mass / t : relaxed(load_wide(v + j), t, mass, omega);
      error += absolute<S>(next * t - mass);
      store_wide(v + j, next);
    }
    *column_error = sum_wide(error);
  }
  return count;
}

template <typename S>
double sums(const S* d, const SmallShape& shape, const S* k, const double* u, const double* v, double* r, double* c) {
  const auto [n, m, rows, columns] = shape;
  Vec value = splat(0.0);
  for (std::int64_t j = 0; j < columns; ++j) c[j] = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    Vec total = splat(0.0);
    for (std::int64_t j = 0; j < columns; j += kLanes) {
      const Vec p = load(k + i * columns + j) * load(v + j) * u[i];
      total += p;
      value += p * load(d + i * columns + j);
      store(c + j, load(c + j) + p);
    }
    r[i] = sum(total);
  }
  return sum(value);
}

template <typename S>
void plan(const S* d, const SmallShape& shape, const double* row, const double* column, double inverse_epsilon, S* p,
          const SmallSums& sums) {
  const auto [n, m, rows, columns] = shape;
  for (std::int64_t j = 0; j < columns; ++j) sums.c[j] = sums.column_entropy[j] = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    Vec total = splat(0.0), weighted = splat(0.0);
    for (std::int64_t j = 0; j < columns; j += 2 * kLanes) {
      const Vec e[2] = {exponent(d + i * columns, row[i], column, inverse_epsilon, j),
                        exponent(d + i * columns, row[i], column, inverse_epsilon, j + kLanes)};
      S* to = p + i * columns + j;
      store_exp(to, e[0], e[1]);
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const Vec x = load(to + h * kLanes), xe = x * e[h];
        double *c = sums.c + j + h * kLanes, *entropy = sums.column_entropy + j + h * kLanes;
        total += x;
        weighted += xe;
        store(c, load(c) + x);
        store(entropy, load(entropy) + xe);
      }
    }
    sums.r[i] = sum(total);
    sums.row_entropy[i] = sum(weighted);
  }
}

template <typename S>
void balance(const S* p, const SmallShape& shape, const float* row, const float* column, float* b, float* transposed) {
  const auto [n, m, rows, columns] = shape;
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < columns; j += kLanes) {
      Vec32 scale;
      std::memcpy(&scale, column + j, sizeof scale);
      store(b + i * columns + j, __builtin_convertvector(load(p + i * columns + j) * static_cast<double>(row[i]), Vec32) * scale);
    }
  for (std::int64_t k = n * columns; k < rows * columns; k += kWide<float>) store_wide(b + k, Wide32{});
  transpose(b, rows, columns, transposed);
}

inline double dot(const float* x, const float* y, std::int64_t count) {
  Wide32 sum = {};
  for (std::int64_t j = 0; j < count; j += kWide<float>) sum += load_wide(x + j) * load_wide(y + j);
  return sum_wide(sum);
}

int conjugate_gradients(const SmallSchur& system, double reduction, int most) {
  const auto& [shape, b, transposed, zero, r, z, p, q, w] = system;
  const auto [n, m, rows, columns] = shape;
  for (std::int64_t j = 0; j < columns; j += kWide<float>) {
    store_wide(z + j, Wide32{});
    store_wide(p + j, load_wide(r + j));
  }
  double rho = dot(r, r, columns);
  const double target = reduction * reduction * rho;
  for (int products = 1; products <= most; ++products) {
    sum_rows(transposed, p, m, rows, zero, w);
    sum_rows(b, w, n, columns, zero, q);
    Wide32 bent = {};
    for (std::int64_t j = 0; j < columns; j += kWide<float>) {
      const Wide32 x = load_wide(p + j), y = x - load_wide(q + j);
      store_wide(q + j, y);
      bent += x * y;
    }
    const double curvature = sum_wide(bent);
    if (!(curvature > 0.0)) return products;  // rounding has met the null space
    const float length = static_cast<float>(rho / curvature);
    Wide32 left = {};
    for (std::int64_t j = 0; j < columns; j += kWide<float>) {
      const Wide32 x = load_wide(r + j) - load_wide(q + j) * length;
      store_wide(z + j, load_wide(z + j) + load_wide(p + j) * length);
      store_wide(r + j, x);
      left += x * x;
    }
    const double next = sum_wide(left);
    if (!(next > target)) return products;
    const float ratio = static_cast<float>(next / rho);
    for (std::int64_t j = 0; j < columns; j += kWide<float>) store_wide(p + j, load_wide(r + j) + load_wide(p + j) * ratio);
    rho = next;
  }
  return most;
}

template <typename S>
void defect(const S* p, const SmallShape& shape, const double* share, const double* h1, const double* h2, const double* c,
            const double* y, double* x, double* out) {
  const auto [n, m, rows, columns] = shape;
  for (std::int64_t j = 0; j < columns; j += kLanes) store(out + j, load(h2 + j) - load(c + j) * load(y + j));
  for (std::int64_t i = 0; i < n; ++i) {
    const S* row = p + i * columns;
    Vec total = splat(0.0);
    for (std::int64_t j = 0; j < columns; j += kLanes) total += load(row + j) * load(y + j);
    x[i] = share[i] * (h1[i] - sum(total));
    for (std::int64_t j = 0; j < columns; j += kLanes) store(out + j, load(out + j) - load(row + j) * x[i]);
  }
}

template <typename S>
void gradient(const S* d, const SmallShape& shape, const S* p, const double* row, const double* column,
              double inverse_epsilon, double sharp, const double* x, const double* y, S* out) {
  const auto [n, m, rows, columns] = shape;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto lanes = [&](std::int64_t j) {
      const Vec e = exponent(d + i * columns, row[i], column, inverse_epsilon, j);
      return load(p + i * columns + j) * (e * sharp + load(y + j) + x[i]);
    };
    S* to = out + i * m;
    std::int64_t j = 0;
    for (; j + kLanes <= m; j += kLanes) store(to + j, lanes(j));
    if (j == m) continue;
    const Vec last = lanes(j);
    for (std::int64_t l = j; l < m; ++l) to[l] = static_cast<S>(last[l - j]);
  }
}

template <typename S>
constexpr SmallKernels<S> table = {pad<S>, minima<S>, build<S>, sweeps<S>, sums<S>, plan<S>, balance<S>, defect<S>, gradient<S>};

}  // namespace

extern const SmallTable small_kernels;
const SmallTable small_kernels = {table<float>, table<double>, conjugate_gradients};

}  // namespace wbm::WBM_ISA
