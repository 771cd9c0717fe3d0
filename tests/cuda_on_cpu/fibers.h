// Host twin of csrc/cuda/device.cuh: the same primitives, with every thread of a block a fiber. Fibers run one at a
// time, in a random order that a seed fixes; they change at barriers, shuffles, atomics and, now and then, at an access
// to shared memory. So a missing barrier, a wrong lane or a wrong index changes results from seed to seed, or fails.
//
// An error (std::runtime_error out of launch): a barrier that not all threads reach, two different barriers at once, a
// shuffle of part of a warp, shared memory out of bounds, a launch that no device accepts. Shared memory starts each
// block as NaN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>

namespace cuda_on_cpu {

struct Place {
  int x, y;
};

extern Place thread, block_extent;
extern std::int64_t block[2], grid[2];
extern std::uint64_t block_serial;  // a different number for every block that was ever run

// Order of threads and blocks from now on, and a barrier (file:line) to leave out; "" leaves out none.
void configure(std::uint64_t seed, const std::string& dropped_barrier);
// file:line of each barrier that may be left out and was passed since the library was loaded, one a line.
const std::string& barriers_passed();

// One launch. Throws std::runtime_error with what a kernel did wrong.
void run(unsigned grid_x, unsigned grid_y, unsigned block_x, unsigned block_y, const std::function<void()>& kernel);

// To be called from a running kernel only.
void perhaps_yield();
bool barrier(const char* file, int line, bool value, bool may_be_dropped);
void exchange(const void* mine, void* theirs, std::size_t bytes, int offset);  // among the lanes of a warp
[[noreturn]] void fail(const std::string& message);

template <typename T, int kCount>
class SharedArray {
 public:
  // Called where the kernel declares the array: the first thread of a block finds it full of NaN.
  void enter() {
    if (serial_ == block_serial) return;
    serial_ = block_serial;
    std::memset(static_cast<void*>(data_), 0xff, sizeof data_);
  }

  T& operator[](std::int64_t index) {
    perhaps_yield();
    if (index < 0 || index >= kCount) fail("shared memory out of bounds: index " + std::to_string(index));
    return data_[index];
  }

 private:
  T data_[kCount];
  std::uint64_t serial_ = 0;
};

}  // namespace cuda_on_cpu

#define WBM_DEVICE inline
#define WBM_KERNEL(threads) void
#define WBM_SHARED(Type, name, count)                        \
  static ::cuda_on_cpu::SharedArray<Type, (count)> name = {}; \
  name.enter()

namespace wbm::cuda {

inline constexpr int kWarp = 32;
inline constexpr std::int64_t kMaxGridX = 7, kMaxGridY = 2;  // so small that blocks do have to stride

struct Extent {
  unsigned x = 1, y = 1;
};

inline int thread_x() { return cuda_on_cpu::thread.x; }
inline int thread_y() { return cuda_on_cpu::thread.y; }
inline int threads_x() { return cuda_on_cpu::block_extent.x; }
inline std::int64_t block_x() { return cuda_on_cpu::block[0]; }
inline std::int64_t block_y() { return cuda_on_cpu::block[1]; }
inline std::int64_t grid_x() { return cuda_on_cpu::grid[0]; }
inline std::int64_t grid_y() { return cuda_on_cpu::grid[1]; }

inline void block_barrier(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  cuda_on_cpu::barrier(file, line, false, true);
}

inline bool block_any(bool value, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return cuda_on_cpu::barrier(file, line, value, false);
}

inline double shuffle_down(double value, int offset) {
  double other = value;
  cuda_on_cpu::exchange(&value, &other, sizeof value, offset);
  return other;
}

inline void atomic_or(std::int32_t* address, std::int32_t bits) {
  cuda_on_cpu::perhaps_yield();
  *address |= bits;
}

inline void atomic_max(std::uint64_t* address, std::uint64_t value) {
  cuda_on_cpu::perhaps_yield();
  if (value > *address) *address = value;
}

inline std::uint64_t bits_of(double value) {
  std::uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline double double_of(std::uint64_t bits) {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <typename Arguments>
void launch(void (*kernel)(Arguments), Extent grid, Extent block, Arguments arguments, void* /*stream*/) {
  if (grid.x > kMaxGridX || grid.y > kMaxGridY) throw std::runtime_error("a grid beyond the limits");
  cuda_on_cpu::run(grid.x, grid.y, block.x, block.y, [&] { kernel(arguments); });
}

}  // namespace wbm::cuda
