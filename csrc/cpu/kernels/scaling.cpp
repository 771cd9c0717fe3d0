// Loops of the stabilised scaling. Compiled once per instruction set with -DWBM_ISA=<name>; see kernels.h.
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace wbm::WBM_ISA {
namespace {

// Rows a block: many spare horizontal sums and passes over K'u, few keep a block and its successor in the first-level
// cache (32 KiB), from which the second use of a block is served. Where two rows are too many for that, eight at a time come
// from memory side by side.
int block_rows(std::int64_t row_bytes) {
  return row_bytes <= 1280 ? 8 : row_bytes <= 2560 ? 4 : row_bytes <= 6144 ? 2 : 8;
}

template <typename S, int Rows>
void dots_of(const S* k, std::int64_t stride, const S* v, std::int64_t padded, double* sums) {
  using Wide = typename WideOf<S>::Type;
  constexpr std::int64_t kWide = sizeof(Wide) / sizeof(S);
  Wide total[Rows] = {};
  for (std::int64_t j = 0; j < padded; j += kWide) {
    const Wide x = load_wide(v + j);
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) total[r] += load_wide(k + r * stride + j) * x;
  }
  store_sums<Rows>(total, sums);
}

template <typename S>
void dots(const S* k, std::int64_t stride, int rows, const S* v, std::int64_t padded, double* sums) {
  switch (rows) {
    case 8: return dots_of<S, 8>(k, stride, v, padded, sums);
    case 4: return dots_of<S, 4>(k, stride, v, padded, sums);
    case 2: return dots_of<S, 2>(k, stride, v, padded, sums);
    default:
      for (int r = 0; r < rows; ++r) dots_of<S, 1>(k + r * stride, stride, v, padded, sums + r);
  }
}

template <typename S, int Rows>
void accumulate_of(const S* k, std::int64_t stride, const S* u, S* out, std::int64_t padded) {
  using Wide = typename WideOf<S>::Type;
  constexpr std::int64_t kWide = sizeof(Wide) / sizeof(S);
  Wide w[Rows];
  for (int r = 0; r < Rows; ++r) w[r] = Wide{} + u[r];
  for (std::int64_t j = 0; j < padded; j += kWide) {
    Wide total = load_wide(k + j) * w[0];  // the rows first, then the running sum: fewer roundings of the larger one
#pragma GCC unroll 8
    for (int r = 1; r < Rows; ++r) total += load_wide(k + r * stride + j) * w[r];
    store_wide(out + j, load_wide(out + j) + total);
  }
}

template <typename S>
void accumulate(const S* k, std::int64_t stride, int rows, const S* u, S* out, std::int64_t padded) {
  switch (rows) {
    case 8: return accumulate_of<S, 8>(k, stride, u, out, padded);
    case 4: return accumulate_of<S, 4>(k, stride, u, out, padded);
    case 2: return accumulate_of<S, 2>(k, stride, u, out, padded);
    default:
      for (int r = 0; r < rows; ++r) accumulate_of<S, 1>(k + r * stride, stride, u + r, out, padded);
  }
}

// The two of them in one loop: sums of the block `next` while the block `current` is added to out. The first waits for
// memory, the second finds its rows in the cache. Two rows are asked for kAhead entries before they are needed; with more, the
// processor runs ahead far enough by itself, and asking costs more than it brings.
template <typename S, int Rows>
void fused_of(const S* next, const S* current, std::int64_t stride, const S* v, const S* u, S* out, std::int64_t padded,
              double* sums) {
  using Wide = typename WideOf<S>::Type;
  constexpr std::int64_t kWide = sizeof(Wide) / sizeof(S);
  constexpr std::int64_t kAhead = 64 * 64 / sizeof(S);
  Wide total[Rows] = {}, w[Rows];
  for (int r = 0; r < Rows; ++r) w[r] = Wide{} + u[r];  // in registers: `out` might alias `u` for all the compiler knows
  for (std::int64_t j = 0; j < padded; j += kWide) {
    const Wide x = load_wide(v + j);
    Wide column = load_wide(current + j) * w[0];
#pragma GCC unroll 8
    for (int r = 1; r < Rows; ++r) column += load_wide(current + r * stride + j) * w[r];
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      if constexpr (Rows == 2) __builtin_prefetch(next + kAhead + j * Rows + r * kWide);
      total[r] += load_wide(next + r * stride + j) * x;
    }
    store_wide(out + j, load_wide(out + j) + column);
  }
  store_sums<Rows>(total, sums);
}

template <typename S>
void fused(const S* next, const S* current, std::int64_t stride, int rows, const S* v, const S* u, S* out,
           std::int64_t padded, double* sums) {
  switch (rows) {
    case 8: return fused_of<S, 8>(next, current, stride, v, u, out, padded, sums);
    case 4: return fused_of<S, 4>(next, current, stride, v, u, out, padded, sums);
    default: return fused_of<S, 2>(next, current, stride, v, u, out, padded, sums);
  }
}

template <typename S>
void reduce(const S* partial, std::int64_t chunks, std::int64_t padded, double* out, std::int64_t n) {
  std::int64_t j = 0;
  for (; j + kLanes <= n; j += kLanes) {
    Vec total = load(partial + j);
    for (std::int64_t c = 1; c < chunks; ++c) total += load(partial + c * padded + j);
    store(out + j, total);
  }
  for (; j < n; ++j) {
    double total = 0.0;
    for (std::int64_t c = 0; c < chunks; ++c) total += static_cast<double>(partial[c * padded + j]);
    out[j] = total;
  }
}

inline void store_exp(double* k, Vec low, Vec high) {
  store(k, exp(low));
  store(k + kLanes, exp(high));
}
inline void store_exp(float* k, Vec low, Vec high) { store_wide(k, exp_single(low, high)); }

template <typename T, typename S>
void build(const T* cost, const std::uint8_t* mask, double row, const double* column, double inverse_epsilon, S* k,
           std::int64_t m, std::int64_t padded) {
  const auto exponent = [&](std::int64_t j) {
    const Vec x = (load(column + j) + row) - load(cost + j) * inverse_epsilon;
    return mask ? (load_mask(mask + j) ? x : splat(-kInfinity)) : x;
  };
  constexpr std::int64_t kTwo = 2 * kLanes;
  const std::int64_t whole = m / kTwo * kTwo;
  for (std::int64_t j = 0; j < whole; j += kTwo) store_exp(k + j, exponent(j), exponent(j + kLanes));
  if (whole < m) {
    Vec x[2] = {splat(-kInfinity), splat(-kInfinity)};
    for (std::int64_t j = whole; j < m; ++j)
      if (!mask || mask[j])
        x[(j - whole) / kLanes][(j - whole) % kLanes] = column[j] + row - static_cast<double>(cost[j]) * inverse_epsilon;
    S last[kTwo];
    store_exp(last, x[0], x[1]);
    for (std::int64_t j = whole; j < m; ++j) k[j] = last[j - whole];
  }
  for (std::int64_t j = m; j < padded; ++j) k[j] = S(0);
}

// sum += sum_j p_j, value += sum_j p_j D_j, column_j += p_j for p_j = u K_j v_j: the plan without an exponential.
template <typename T, typename S>
void add_plan(const T* cost, const S* k, double u, const double* v, std::int64_t m, double* column, double* sum_,
              double* value) {
  Vec total = splat(0.0), spent = splat(0.0);
  const auto lanes = [&](Vec p, Vec d) {
    total += p;
    spent += p > splat(0.0) ? p * d : splat(0.0);  // a forbidden pair has D = inf and p = 0
  };
  const std::int64_t whole = m / kLanes * kLanes;
  for (std::int64_t j = 0; j < whole; j += kLanes) {
    const Vec p = load(k + j) * load(v + j) * u;
    lanes(p, load(cost + j));
    store(column + j, load(column + j) + p);
  }
  if (whole < m) {
    Vec p = splat(0.0), d = splat(0.0);
    for (std::int64_t j = whole; j < m; ++j) {
      d[j - whole] = static_cast<double>(cost[j]);
      p[j - whole] = static_cast<double>(k[j]) * v[j] * u;
      column[j] += p[j - whole];
    }
    lanes(p, d);
  }
  *sum_ += sum(total);
  *value += sum(spent);
}

// Loops over one side's vectors; tails run through the same lanes.
template <typename Lanes>
inline void each(std::int64_t n, const Lanes& lanes) {
  const std::int64_t whole = n / kLanes * kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) lanes(i, kLanes);
  if (whole < n) lanes(whole, n % kLanes);
}

// p_j = u k_j v_j and e_j = (f + g_j - D_j) / eps for `count` columns from j on
template <typename T, typename S>
struct PlanRow {
  const T* cost;
  const S* k;
  double u;
  const double* v;
  double f;
  const double* g;
  double inverse_epsilon;

  Vec plan(std::int64_t j, std::int64_t count) const {
    return load_some(k + j, count, 0.0) * load_some(v + j, count, 0.0) * u;
  }
  Vec cost_at(std::int64_t j, std::int64_t count) const { return load_some(cost + j, count, 0.0); }
  Vec exponent(std::int64_t j, std::int64_t count, Vec d) const {
    return (load_some(g + j, count, 0.0) - d + f) * inverse_epsilon;
  }
};

template <typename T, typename S>
void add_entropy(const T* cost, const S* k, double u, const double* v, double f, const double* g, double inverse_epsilon,
                 std::int64_t m, double* column, double* column_entropy, double* sum_, double* entropy, double* value) {
  const PlanRow<T, S> row{cost, k, u, v, f, g, inverse_epsilon};
  Vec total = splat(0.0), weighted = splat(0.0), spent = splat(0.0);
  each(m, [&](std::int64_t j, std::int64_t c) {
    const Vec p = row.plan(j, c), d = row.cost_at(j, c), e = row.exponent(j, c, d);
    const auto carries = p > splat(0.0);  // a forbidden pair has D = inf and p = 0
    const Vec pe = carries ? p * e : splat(0.0);
    total += p;
    weighted += pe;
    spent += carries ? p * d : splat(0.0);
    store_some(column + j, load_some(column + j, c, 0.0) + p, c);
    store_some(column_entropy + j, load_some(column_entropy + j, c, 0.0) + pe, c);
  });
  *sum_ += sum(total);
  *entropy += sum(weighted);
  *value += sum(spent);
}

// Where a stored entry has flushed to zero, or nearly, while its part of the plan is still within the range of the gradient's
// type, that part is the exponential of e.
template <typename T, typename S>
void plan_gradient(const T* cost, const std::uint8_t* mask, const S* k, double u, const double* v, double f, const double* g,
                   double inverse_epsilon, double constant, double sharp, const double* y, T* out, std::int64_t m) {
  constexpr double kFlushed = sizeof(S) == 4 ? 1e-36 : 1e-300, kVanishes = sizeof(T) == 4 ? -104.0 : -708.0;
  const PlanRow<T, S> row{cost, k, u, v, f, g, inverse_epsilon};
  each(m, [&](std::int64_t j, std::int64_t c) {
    const Vec stored = load_some(k + j, c, 0.0), e = row.exponent(j, c, row.cost_at(j, c));
    Vec p = stored * load_some(v + j, c, 0.0) * u;
    Bits lost = (stored < kFlushed) & (e > kVanishes);
    if (any(lost)) {
      for (std::int64_t l = 0; l < kLanes; ++l)
        if (l >= c || (mask && !mask[j + l])) lost[l] = 0;
      p = lost ? exp(e) : p;
    }
    const Vec d = p * (e * sharp + load_some(y + j, c, 0.0) + constant);
    store_some(out + j, p > splat(0.0) ? d : splat(0.0), c);
  });
}

void divide(const double* x, const double* y, double* out, std::int64_t n) {
  if (n < kLanes) {  // a block of rows in the middle of a pass
    for (std::int64_t i = 0; i < n; ++i) out[i] = x[i] / y[i];
    return;
  }
  each(n, [&](std::int64_t i, std::int64_t c) { store_some(out + i, load_some(x + i, c, 0) / load_some(y + i, c, 1), c); });
}

// error = sum |u s - target|, mass = sum u s
void row_error(const double* u, const double* s, const double* target, std::int64_t n, double* error, double* mass) {
  Vec e = splat(0), total = splat(0);
  each(n, [&](std::int64_t i, std::int64_t c) {
    const Vec x = load_some(u + i, c, 0) * load_some(s + i, c, 0);
    const Vec d = x - load_some(target + i, c, 0);
    e += d < 0.0 ? -d : d;
    total += x;
  });
  *error = sum(e);
  *mass = sum(total);
}

// next = x (y / x)^omega = x (1 + d)^omega, d = y / x - 1: the binomial series where d is small, to 1e-13. A block of rows
// waits for its weights in the middle of a pass, and exponential and logarithm take as long as half the block.
void relax(const double* u, double omega, double* next, std::int64_t n) {
  constexpr double kSmall = 0.0625;
  double c[9];
  c[0] = 1.0;
  for (int k = 1; k <= 8; ++k) c[k] = c[k - 1] * (omega - (k - 1)) / k;
  const auto series = [&](auto d) {
    const auto d2 = d * d;
    return d * (((d * c[2] + c[1]) + (d * c[4] + c[3]) * d2) + ((d * c[6] + c[5]) + (d * c[8] + c[7]) * d2) * (d2 * d2));
  };
  const std::int64_t whole = n / kLanes * kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    const Vec x = load(u + i), ratio = load(next + i) / x, d = ratio - 1.0;
    if (any((d < kSmall) & (d > -kSmall) ? Bits{} : ~Bits{}))
      store(next + i, x * exp(log(ratio) * omega));
    else
      store(next + i, x + x * series(d));
  }
  for (std::int64_t i = whole; i < n; ++i) {
    const double x = u[i], ratio = next[i] / x, d = ratio - 1.0;
    next[i] = d < kSmall && d > -kSmall ? x + x * series(d) : x * exp(log(splat(ratio)) * omega)[0];
  }
}

// 1 when mass / limit <= x <= limit mass for all entries (NaN is not)
int within(const double* x, const double* mass, double limit, std::int64_t n) {
  Bits bad = {};
  each(n, [&](std::int64_t i, std::int64_t c) {
    const Vec y = load_some(x + i, c, 1), w = load_some(mass + i, c, 1);
    bad |= ~((y <= w * limit) & (y * limit >= w));
  });
  for (int k = 0; k < kLanes; ++k)
    if (bad[k]) return 0;
  return 1;
}

double total(const double* x, std::int64_t n) {
  Vec s = splat(0);
  each(n, [&](std::int64_t i, std::int64_t c) { s += load_some(x + i, c, 0); });
  return sum(s);
}

void power(const double* alpha, double ratio, const double* s, double* log_u, double* u, std::int64_t n) {
  each(n, [&](std::int64_t i, std::int64_t c) {
    const Vec y = load_some(alpha + i, c, 0) - log(load_some(s + i, c, 1)) * ratio;
    store_some(log_u + i, y, c);
    store_some(u + i, exp(y), c);
  });
}

void exp_linear(const double* x, double p, const double* y, double q, double* out, std::int64_t n) {
  each(n, [&](std::int64_t i, std::int64_t c) {
    store_some(out + i, exp(load_some(x + i, c, 0) * p + load_some(y + i, c, 0) * q), c);
  });
}

void logarithm(const double* x, double* out, std::int64_t n) {
  each(n, [&](std::int64_t i, std::int64_t c) { store_some(out + i, log(load_some(x + i, c, 1)), c); });
}

double mixed_dot(const float* k, const double* v, std::int64_t padded) {
  Vec even = splat(0.0), odd = splat(0.0);
  for (std::int64_t j = 0; j < padded; j += 2 * kLanes) {
    even += load(k + j) * load(v + j);
    odd += load(k + j + kLanes) * load(v + j + kLanes);
  }
  return sum(even + odd);
}

void mixed_accumulate(const float* k, double u, double* out, std::int64_t padded) {
  for (std::int64_t j = 0; j < padded; j += kLanes) store(out + j, load(out + j) + load(k + j) * u);
}

template <typename T, typename S>
constexpr BuildKernel<T, S> table = {build<T, S>, add_plan<T, S>, add_entropy<T, S>, plan_gradient<T, S>};

}  // namespace

extern const ScalingTable scaling_kernels;
const ScalingTable scaling_kernels = {{block_rows, dots<float>, accumulate<float>, fused<float>, reduce<float>},
                                      {block_rows, dots<double>, accumulate<double>, fused<double>, reduce<double>},
                                      table<float, float>,
                                      table<float, double>,
                                      table<double, float>,
                                      table<double, double>,
                                      {divide, row_error, relax, within, total, power, exp_linear, logarithm},
                                      {mixed_dot, mixed_accumulate}};

}  // namespace wbm::WBM_ISA
