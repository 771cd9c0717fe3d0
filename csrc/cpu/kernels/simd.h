// Eight float64 lanes in the compiler's vector extension: one source for every instruction set.
// The translation unit's own flags decide what the lanes become (two, four or one register).
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace wbm::WBM_ISA {

inline constexpr int kLanes = 8;
typedef double Vec __attribute__((vector_size(64)));
typedef std::int64_t Bits __attribute__((vector_size(64)));
typedef float Vec32 __attribute__((vector_size(32)));
typedef std::int32_t Bits32 __attribute__((vector_size(32)));
typedef std::uint8_t Bytes __attribute__((vector_size(8)));
// The widest lanes of each type: 64 bytes of float32 or float64.
typedef float Wide32 __attribute__((vector_size(64)));
typedef std::int32_t WideBits32 __attribute__((vector_size(64)));
typedef std::uint32_t WideUnsigned32 __attribute__((vector_size(64)));

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

inline Vec splat(double x) { return Vec{x, x, x, x, x, x, x, x}; }

inline Vec load(const double* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// One instruction, for which GCC (12) takes five unless told each lane.
inline Vec widen(Vec32 v) {
#ifdef __AVX512F__
  return Vec{v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]};
#else
  return __builtin_convertvector(v, Vec);
#endif
}

inline Vec load(const float* p) {
  Vec32 v;
  std::memcpy(&v, p, sizeof v);
  return widen(v);
}

// Lanes where the mask byte is not zero: all bits set.
inline Bits load_mask(const std::uint8_t* p) {
  Bytes v;
  std::memcpy(&v, p, sizeof v);
#ifdef __AVX512F__
  return Bits{v[0], v[1], v[2], v[3], v[4], v[5], v[6], v[7]} != 0;
#else
  return __builtin_convertvector(v, Bits) != 0;
#endif
}

inline void store(double* p, Vec v) { std::memcpy(p, &v, sizeof v); }

inline void store(float* p, Vec v) {
  const Vec32 w = __builtin_convertvector(v, Vec32);
  std::memcpy(p, &w, sizeof w);
}

inline void store(float* p, Vec32 v) { std::memcpy(p, &v, sizeof v); }

// The first `count` lanes, and back; what is missing is `fill`.
template <typename T>
inline Vec load_some(const T* x, std::int64_t count, double fill) {
  if (count == kLanes) return load(x);
  Vec v = splat(fill);
  for (std::int64_t k = 0; k < count; ++k) v[k] = static_cast<double>(x[k]);
  return v;
}

template <typename T>
inline void store_some(T* out, Vec v, std::int64_t count) {
  if (count == kLanes) return store(out, v);
  for (std::int64_t k = 0; k < count; ++k) out[k] = static_cast<T>(v[k]);
}

inline Vec max(Vec x, Vec y) { return x > y ? x : y; }

// Whether some lane is true.
inline bool any(Bits x) {
  typedef std::int64_t Half __attribute__((vector_size(32)));
  Half half[2];
  std::memcpy(half, &x, sizeof x);
  const Half either = half[0] | half[1];
  return ((either[0] | either[2]) | (either[1] | either[3])) != 0;
}

// Fixed trees, so that a sum does not depend on how the caller was scheduled.
inline double sum(Vec v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

inline double max(Vec v) {
  double x = v[0];
  for (int k = 1; k < kLanes; ++k) x = v[k] > x ? v[k] : x;
  return x;
}

// exp(x) to about one unit in the last place; 0 below -708.396 (where the result would leave the normal range),
// +inf above 709.7. Algebra: x = k log 2 + r with |r| <= log(2)/2, exp(x) = 2^k p(r), p the Taylor polynomial
// of degree 13 (its remainder is below 5e-18); 2^k is added to the exponent bits.
inline Vec exp(Vec x) {
  const Vec shift = splat(0x1.8p52);
  Vec t = x > splat(-709.0) ? x : splat(-709.0);
  t = t < splat(709.7) ? t : splat(709.7);
  const Vec rounded = t * 1.4426950408889634 + shift;
  const Vec k = rounded - shift;
  const Vec r = (t - k * 0x1.62e42fefa38p-1) - k * 0x1.ef35793c7673p-45;
  Vec p = splat(1.6059043836821613e-10);
  p = p * r + 2.08767569878681e-09;
  p = p * r + 2.505210838544172e-08;
  p = p * r + 2.755731922398589e-07;
  p = p * r + 2.7557319223985893e-06;
  p = p * r + 2.48015873015873e-05;
  p = p * r + 1.984126984126984e-04;
  p = p * r + 1.388888888888889e-03;
  p = p * r + 8.333333333333333e-03;
  p = p * r + 4.1666666666666664e-02;
  p = p * r + 1.6666666666666666e-01;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const Vec y = (Vec)((Bits)p + ((Bits)rounded << 52));
  const Vec floored = x < splat(-708.396) ? splat(0.0) : y;
  return x > splat(709.7) ? splat(kInfinity) : floored;
}

// Shuffles of two vectors stay in registers; where the compiler has none, copies go through memory.
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define WBM_SHUFFLE __builtin_shufflevector
#endif
#endif

// Two halves side by side.
template <typename Half>
inline auto join(Half low, Half high) {
#ifdef WBM_SHUFFLE
  return WBM_SHUFFLE(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
  const Half halves[2] = {low, high};
  std::conditional_t<std::is_same_v<Half, Vec32>, Wide32, WideBits32> out;
  std::memcpy(&out, halves, sizeof out);
  return out;
#endif
}

// Lanes 0 to 7 and 8 to 15.
inline Vec32 low_half(Wide32 x) {
#ifdef WBM_SHUFFLE
  return WBM_SHUFFLE(x, x, 0, 1, 2, 3, 4, 5, 6, 7);
#else
  Vec32 half[2];
  std::memcpy(half, &x, sizeof x);
  return half[0];
#endif
}
inline Vec32 high_half(Wide32 x) {
#ifdef WBM_SHUFFLE
  return WBM_SHUFFLE(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
#else
  Vec32 half[2];
  std::memcpy(half, &x, sizeof x);
  return half[1];
#endif
}

// The same in float32 of sixteen lanes, to about 1e-7 relative; 0 below -87.336. The exponent is reduced in float64: x may be
// the small difference of large numbers. k stands in the low bits of x / log 2 + 1.5 2^52; where x is out of range it is
// anything, its bits are added without a sign and may overflow, and the answer is set at the end.
inline Wide32 exp_single(Vec low, Vec high) {
  const Vec shift = splat(0x1.8p52);
  const Vec rounded[2] = {low * 1.4426950408889634 + shift, high * 1.4426950408889634 + shift};
  const auto rest = [&](Vec x, Vec k) {
    return __builtin_convertvector(x - (k - shift) * 0.6931471805599453, Vec32);
  };
  const auto power = [](Vec k) { return __builtin_convertvector((Bits)k, Bits32); };
  const Wide32 r = join(rest(low, rounded[0]), rest(high, rounded[1]));
  Wide32 p = r * 1.98412698e-4f + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const Wide32 y = (Wide32)((WideUnsigned32)p + ((WideUnsigned32)join(power(rounded[0]), power(rounded[1])) << 23));
  const Wide32 x = join(__builtin_convertvector(low, Vec32), __builtin_convertvector(high, Vec32));
  const Wide32 zero = {}, infinite = zero + static_cast<float>(kInfinity);
  const Wide32 floored = x < zero - 87.336f ? zero : y;
  return x > zero + 88.7f ? infinite : floored;
}

// log(x) for normal x > 0: x = 2^e y with y in [sqrt(1/2), sqrt(2)), log y = 2 atanh z, z = (y - 1) / (y + 1),
// |z| < 0.172: eleven terms of the series leave less than 1e-18. -inf for 0 and subnormal x; x must be finite.
inline Vec log(Vec x) {
  const Bits bits = (Bits)x - (Bits)splat(0.7071067811865476);
  const Bits e = bits >> 52;
  const Vec y = (Vec)((Bits)x - (e << 52));
  const Vec z = (y - 1.0) / (y + 1.0);
  const Vec w = z * z;
  Vec p = splat(2.0 / 21);
  p = p * w + 2.0 / 19;
  p = p * w + 2.0 / 17;
  p = p * w + 2.0 / 15;
  p = p * w + 2.0 / 13;
  p = p * w + 2.0 / 11;
  p = p * w + 2.0 / 9;
  p = p * w + 2.0 / 7;
  p = p * w + 2.0 / 5;
  p = p * w + 2.0 / 3;
  p = p * w + 2.0;
  const Vec k = __builtin_convertvector(e, Vec);
  return x >= splat(2.2250738585072014e-308) ? p * z + k * 0.6931471805599453 : splat(-kInfinity);
}

template <typename S>
struct WideOf;
template <>
struct WideOf<float> {
  using Type = Wide32;
};
template <>
struct WideOf<double> {
  using Type = Vec;
};

template <typename S>
inline typename WideOf<S>::Type load_wide(const S* p) {
  typename WideOf<S>::Type v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <typename S>
inline void store_wide(S* p, typename WideOf<S>::Type v) {
  std::memcpy(p, &v, sizeof v);
}

// Pairwise, in float64.
inline Vec fold(Wide32 v) {
  return widen(low_half(v)) + widen(high_half(v));
}
inline Vec fold(Vec v) { return v; }

template <typename Wide>
inline double sum_wide(Wide v) {
  return sum(fold(v));
}

// The sums of eight vectors at once: transposed while they are added.
template <typename Wide>
inline Vec sums_of_eight(const Wide* v) {
#ifdef WBM_SHUFFLE
  Vec pair[4], four[2];
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    const Vec x = fold(v[2 * k]), y = fold(v[2 * k + 1]);
    pair[k] = WBM_SHUFFLE(x, y, 0, 8, 2, 10, 4, 12, 6, 14) +
              WBM_SHUFFLE(x, y, 1, 9, 3, 11, 5, 13, 7, 15);
  }
#pragma GCC unroll 2
  for (int k = 0; k < 2; ++k)
    four[k] = WBM_SHUFFLE(pair[2 * k], pair[2 * k + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
              WBM_SHUFFLE(pair[2 * k], pair[2 * k + 1], 2, 3, 10, 11, 6, 7, 14, 15);
  return WBM_SHUFFLE(four[0], four[1], 0, 1, 2, 3, 8, 9, 10, 11) +
         WBM_SHUFFLE(four[0], four[1], 4, 5, 6, 7, 12, 13, 14, 15);
#else
  Vec out;
  for (int k = 0; k < 8; ++k) out[k] = sum_wide(v[k]);
  return out;
#endif
}

// out_r = the sum of v_r, r < Rows
template <int Rows, typename Wide>
inline void store_sums(const Wide* v, double* out) {
  if constexpr (Rows == 8) {
    store(out, sums_of_eight(v));
  } else {
    for (int r = 0; r < Rows; ++r) out[r] = sum_wide(v[r]);
  }
}

}  // namespace wbm::WBM_ISA
