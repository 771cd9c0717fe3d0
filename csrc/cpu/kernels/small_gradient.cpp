// Gradients of problems that fit the first-level cache. Compiled once per instruction set with -DWBM_ISA=<name>; see kernels.h.
#include "cpu/kernels/small.h"
#include "cpu/kernels/simd_small.h"

namespace wbm::WBM_ISA {
namespace {

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
constexpr SmallGradientKernels<S> table = {plan<S>, balance<S>, defect<S>, gradient<S>};

}  // namespace

extern const SmallGradientTable small_gradient_kernels;
const SmallGradientTable small_gradient_kernels = {table<float>, table<double>, {conjugate_gradients, invert}};

}  // namespace wbm::WBM_ISA
