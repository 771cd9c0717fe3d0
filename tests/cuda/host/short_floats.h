// Numbers of 16 bits on the host: the primitives Half, Bfloat16, widened and narrowed of csrc/cuda/runtime/device.cuh.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace wbm::cuda {

// IEEE 754 interchange format with so many bits of fraction behind a sign and an exponent; smallest normal 2^kLeast.
template <int kFraction, int kLeast>
struct ShortFloat {
  static constexpr int kInfinity = (0x7fff >> kFraction) << kFraction;
  std::uint16_t bits;

  double value() const {
    const int code = bits & 0x7fff, field = code >> kFraction, fraction = code - (field << kFraction);
    double size = std::numeric_limits<double>::quiet_NaN();
    if (code == kInfinity) size = std::numeric_limits<double>::infinity();
    if (code < kInfinity)
      size = std::ldexp(field ? fraction + (1 << kFraction) : fraction, std::max(field - 1, 0) + kLeast - kFraction);
    return bits & 0x8000 ? -size : size;
  }

  // To nearest, ties to even.
  static ShortFloat nearest(double x) {
    if (x != x) return {static_cast<std::uint16_t>(kInfinity + 1)};
    const double size = std::fabs(x);
    int code = kInfinity;
    if (size < std::numeric_limits<double>::infinity()) {
      const int exponent = size > 0.0 ? std::max(std::ilogb(size), kLeast) : kLeast;
      const double steps = std::nearbyint(std::ldexp(size, kFraction - exponent));
      code = static_cast<int>(std::min(std::ldexp(exponent - kLeast, kFraction) + steps, double(kInfinity)));
    }
    return {static_cast<std::uint16_t>(code | (std::signbit(x) ? 0x8000 : 0))};
  }
};

using Half = ShortFloat<10, -14>;
using Bfloat16 = ShortFloat<7, -126>;

inline double widened(double x) { return x; }
inline double widened(Half x) { return x.value(); }
inline double widened(Bfloat16 x) { return x.value(); }

template <typename T>
T narrowed(double x) {
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(x);
  } else {
    return T::nearest(x);
  }
}

}  // namespace wbm::cuda
