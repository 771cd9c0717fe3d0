// Arrays that cross from Python as addresses: 0 is none, and on the CPU float32 may stand where the solver has float64.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace wbm {

using Address = std::uintptr_t;

template <typename T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

// Where the solver writes values: the place itself, or an array that stands in for a missing one.
template <typename T>
class Place {
 public:
  Place(Address address, std::int64_t count) : data(at<T>(address)) {
    if (address) return;
    spare_.resize(count);
    data = spare_.data();
  }

  T* data;

 private:
  std::vector<T> spare_;
};

// Where it writes values of float32 or float64: `data` is the place itself, or stands in for it until flush().
class Output {
 public:
  Output(Address address, std::int64_t count, bool float64) : address_(float64 ? 0 : address) {
    if (!float64 || !address) spare_.resize(count);
    data = float64 && address ? at<double>(address) : spare_.data();
  }
  void flush() const {
    if (address_) std::copy(spare_.begin(), spare_.end(), at<float>(address_));
  }

  double* data;

 private:
  Address address_;
  std::vector<double> spare_;
};

// What it reads, float32 or float64; zeros where there is no address.
class Input {
 public:
  Input(Address address, std::int64_t count, bool float64) : data(at<const double>(address)) {
    if (float64 && address) return;
    if (address)
      spare_.assign(at<const float>(address), at<const float>(address) + count);
    else
      spare_.assign(count, 0.0);
    data = spare_.data();
  }

  const double* data;

 private:
  std::vector<double> spare_;
};

}  // namespace wbm
