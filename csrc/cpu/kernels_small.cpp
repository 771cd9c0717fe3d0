// Problems that fit the first-level cache. Compiled once per instruction set with -DWBM_ISA=<name>; see kernels.h.
//
// A matrix is stored with its transpose: K v and K'u are then both sums of rows times broadcast numbers, without a sum across
// the lanes of a vector.
#include <type_traits>

#include "cpu/kernels.h"
#include "cpu/simd_small.h"

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

// Rows of the plan in pairs: the sums over columns are read and written once for both. rows_of(i, count) works on rows
// i, i + count - 1.
template <typename Rows>
inline void in_pairs(std::int64_t n, const Rows& rows_of) {
  std::int64_t i = 0;
  for (; i + 2 <= n; i += 2) rows_of(i, std::integral_constant<int, 2>());
  if (i < n) rows_of(i, std::integral_constant<int, 1>());
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

inline void exponentials(Vec low, Vec high, double* to, Vec* wide) {
  wide[0] = exp(low);
  wide[1] = exp(high);
  store(to, wide[0]);
  store(to + kLanes, wide[1]);
}
inline void exponentials(Vec low, Vec high, float* to, Vec* wide) {
  const Wide32 x = exp_single(low, high);
  store_wide(to, x);
  wide[0] = widen(low_half(x));
  wide[1] = widen(high_half(x));
}

template <typename S>
void plan(const S* d, const SmallShape& shape, const double* row, const double* column, double inverse_epsilon, S* p,
          const SmallSums& sums) {
  const std::int64_t n = shape.n, columns = shape.columns;
  for (std::int64_t j = 0; j < columns; ++j) sums.c[j] = sums.column_entropy[j] = 0.0;
  in_pairs(n, [&](std::int64_t i, auto pair) {
    constexpr int kRows = decltype(pair)::value;
    Vec total[kRows] = {}, weighted[kRows] = {};
    for (std::int64_t j = 0; j < columns; j += 2 * kLanes) {
      double *c = sums.c + j, *entropy = sums.column_entropy + j;
      Vec column_sum[2] = {load(c), load(c + kLanes)}, column_entropy[2] = {load(entropy), load(entropy + kLanes)};
#pragma GCC unroll 2
      for (int t = 0; t < kRows; ++t) {
        const S* from = d + (i + t) * columns;
        const Vec e[2] = {exponent(from, row[i + t], column, inverse_epsilon, j),
                          exponent(from, row[i + t], column, inverse_epsilon, j + kLanes)};
        Vec x[2];
        exponentials(e[0], e[1], p + (i + t) * columns + j, x);
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h) {
          total[t] += x[h];
          weighted[t] += x[h] * e[h];
          column_sum[h] += x[h];
          column_entropy[h] += x[h] * e[h];
        }
      }
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) store(c + h * kLanes, column_sum[h]), store(entropy + h * kLanes, column_entropy[h]);
    }
    for (int t = 0; t < kRows; ++t) {
      sums.r[i + t] = sum(total[t]);
      sums.row_entropy[i + t] = sum(weighted[t]);
    }
  });
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

void invert(const double* x, std::int64_t count, double* inverse, float* root) {
  for (std::int64_t i = 0; i < count; ++i) {
    inverse[i] = x[i] > 0.0 ? 1.0 / x[i] : 0.0;
    root[i] = static_cast<float>(__builtin_sqrt(inverse[i]));
  }
}

template <typename S>
void balance(const S* p, const SmallShape& shape, const float* row, const float* column, float* b, float* transposed) {
  const auto [n, m, rows, columns] = shape;
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < columns; j += kLanes) {
      Vec32 scale;
      std::memcpy(&scale, column + j, sizeof scale);
      const Vec x = load(p + i * columns + j) * static_cast<double>(row[i]);
      store(b + i * columns + j, __builtin_convertvector(x, Vec32) * scale);
    }
  for (std::int64_t k = n * columns; k < rows * columns; k += kWide<float>) store_wide(b + k, Wide32{});
  transpose(b, rows, columns, transposed);
}

int conjugate_gradients(const SmallSchur& system, double target, int most, double* rho_) {
  const auto [shape, b, transposed, zero, r, z, p, q, w] = system;
  const auto [n, m, rows, columns] = shape;
  Wide32 sum = {};
  for (std::int64_t j = 0; j < columns; j += kWide<float>) sum += load_wide(r + j) * load_wide(r + j);
  double rho = sum_wide(sum);
  const float onward = *rho_ > 0.0 ? static_cast<float>(rho / *rho_) : 0.0f;
  for (std::int64_t j = 0; j < columns; j += kWide<float>) {
    store_wide(p + j, load_wide(r + j) + (onward > 0.0f ? load_wide(p + j) * onward : Wide32{}));
    store_wide(z + j, Wide32{});
  }
  for (int products = 1;; ++products) {
    *rho_ = rho;
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
    if (!(next > target * target) || products >= most) return products;
    const float ratio = static_cast<float>(next / rho);
    for (std::int64_t j = 0; j < columns; j += kWide<float>) store_wide(p + j, load_wide(r + j) + load_wide(p + j) * ratio);
    rho = next;
  }
}

template <typename S>
double defect(const SmallSystem<S>& system, double total, double* unit, double* scale) {
  const std::int64_t n = system.shape.n, columns = system.shape.columns;
  const S* p = system.p;
  const double *share = system.share, *h1 = system.h1, *h2 = system.h2, *c = system.c, *inverse_c = system.inverse_c;
  const float *root_c = system.root_c, *z = system.z;
  double *y = system.y, *x = system.x, *out = system.defect;
  const bool first = *unit == 0.0;
  for (std::int64_t j = 0; j < columns; j += kLanes) {
    Vec step = splat(0.0);
    if (!first) step = load(y + j) + (load(z + j) * load(root_c + j)) * *unit;
    store(y + j, step);
    store(out + j, load(h2 + j) - load(c + j) * step);
  }
  for (std::int64_t i = 0; i < n; ++i) {
    Vec known = splat(0.0);
    if (!first)
      for (std::int64_t j = 0; j < columns; j += kLanes) known += load(p + i * columns + j) * load(y + j);
    x[i] = share[i] * (h1[i] - (first ? 0.0 : sum(known)));
  }
  for (std::int64_t j = 0; j < columns; j += 2 * kLanes) {
    Vec left[2][2] = {{load(out + j), load(out + j + kLanes)}, {}};
    const auto take = [&](std::int64_t i, int chain) {
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) left[chain][h] -= load(p + i * columns + j + h * kLanes) * x[i];
    };
    std::int64_t i = 0;
    for (; i + 2 <= n; i += 2) take(i, 0), take(i + 1, 1);
    if (i < n) take(i, 0);
    for (int h = 0; h < 2; ++h) store(out + j + h * kLanes, left[0][h] + left[1][h]);
  }
  // The constant vector, in the kernel of the system, has no part in its range. What cancels at y = 0 is h2 and the term
  // that was eliminated.
  Vec sum_out = splat(0.0), terms = splat(0.0), size = splat(0.0);
  for (std::int64_t j = 0; j < columns; j += kLanes) {
    const Vec h = load(h2 + j), other = h - load(out + j);
    sum_out += load(out + j);
    terms += (h * h + other * other) * load(inverse_c + j);
  }
  const double shift = sum(sum_out) / total;
  for (std::int64_t j = 0; j < columns; j += kLanes) {
    const Vec left = load(out + j) - load(c + j) * shift;
    store(out + j, left);
    size += left * left * load(inverse_c + j);
  }
  const double reached = __builtin_sqrt(sum(size));
  if (first) {
    *unit = reached > 0.0 ? reached : 1.0;
    *scale = __builtin_sqrt(sum(terms));
  }
  for (std::int64_t j = 0; j < columns; j += kLanes)
    store(system.r + j, load(out + j) * load(root_c + j) * (1.0 / *unit));
  return reached;
}

template <typename S>
void gradient(const S* d, const SmallShape& shape, const S* p, const double* row, const double* column,
              double inverse_epsilon, double sharp, const double* x, const double* y, S* out) {
  const std::int64_t n = shape.n, m = shape.m, columns = shape.columns;
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
constexpr SmallKernels<S> table = {pad<S>, inspect<S>, build<S>, sweeps<S>, sums<S>,
                                   plan<S>, balance<S>, defect<S>, gradient<S>};

}  // namespace

extern const SmallTable small_kernels;
const SmallTable small_kernels = {table<float>, table<double>, {conjugate_gradients, side, scale, invert}};

}  // namespace wbm::WBM_ISA
