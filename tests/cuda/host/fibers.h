// Host twin of csrc/cuda/runtime/device.cuh, which includes it: the same primitives, with every thread of a block a fiber. Fibers
// run one at a time, in a random order that a seed fixes; they change at barriers, shuffles, atomics and, now and then,
// at an access to shared memory. So a missing barrier, a wrong lane or a wrong index changes results from seed to seed,
// or fails. The blocks of a cluster and of a cooperative launch run side by side, all others one after another.
//
// An error (std::runtime_error out of launch): a barrier that not all threads reach, two different barriers at once, a
// shuffle of part of a warp, shared memory out of bounds or of a block that has returned, a launch that the device
// described by configure_device does not accept. Shared memory starts each block as NaN.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "races.h"
#include "short_floats.h"

namespace cuda_on_cpu {

struct Place {
  int x, y;
};

extern Place thread, block_extent;
extern std::int64_t block[2], grid[2];
extern std::uint64_t block_serial;  // a different number for every block that was ever run
extern int slot;                    // the running block's place among those that run side by side
extern int cluster;                 // blocks of a cluster in this launch

// The device: what launch accepts from now on and device_limits returns.
void configure_device(const wbm::cuda::Limits& limits);
const wbm::cuda::Limits& device();

// Order of threads and blocks from now on, and a barrier (file:line) to leave out; "" leaves out none.
void configure(std::uint64_t seed, const std::string& dropped_barrier);
// file:line of each barrier that may be left out and was passed since the others were forgotten, one a line.
const std::string& barriers_passed();
void forget_barriers();

// One launch. Throws std::runtime_error with what a kernel did wrong.
void run(const wbm::cuda::Shape& shape, const std::function<void()>& kernel);

// To be called from a running kernel only.
void perhaps_yield();
bool barrier(const char* file, int line, bool value, bool may_be_dropped);
// All threads of `blocks` blocks that name the same counter; null: of the cluster.
void wide_barrier(const void* counter, int blocks, const char* file, int line);
void exchange(const void* mine, void* theirs, std::size_t bytes, const std::function<int(int)>& source);  // of a lane
unsigned char* dynamic_memory(int slot);  // of the block there; an error where it has returned
std::size_t dynamic_bytes();
[[noreturn]] void fail(const std::string& message);

template <typename T, int kCount>
class SharedArray {
 public:
  // Called where the kernel declares the array: the first thread of a block finds it full of NaN.
  void enter() {
    if (slot >= static_cast<int>(copies_.size())) copies_.resize(slot + 1);
    Copy& mine = copies_[slot];
    if (mine.serial == block_serial) return;
    mine.serial = block_serial;
    mine.data.resize(kCount * sizeof(T));
    watch(mine.data.data(), mine.data.size(), "shared memory", true);
    std::memset(mine.data.data(), 0xff, mine.data.size());
  }

  T& operator[](std::int64_t index) {
    perhaps_yield();
    if (index < 0 || index >= kCount) fail("shared memory out of bounds: index " + std::to_string(index));
    return reinterpret_cast<T*>(copies_[slot].data.data())[index];
  }

 private:
  struct Copy {
    std::vector<unsigned char> data;
    std::uint64_t serial = 0;
  };
  std::vector<Copy> copies_;  // of the blocks that run side by side
};

}  // namespace cuda_on_cpu

#define WBM_DEVICE inline
#define WBM_FUNCTION inline
#define WBM_ARGUMENTS const
#define WBM_KERNEL(threads) void
#define WBM_PACKED_KERNEL(threads, blocks) void
#define WBM_UNROLL
#define WBM_ROLLED
#define WBM_SHARED(Type, name, count)                        \
  static ::cuda_on_cpu::SharedArray<Type, (count)> name = {}; \
  name.enter()

namespace wbm::cuda {

inline constexpr int kWarp = 32;
inline constexpr std::int64_t kMaxGridX = 7, kMaxGridY = 2;  // so small that blocks do have to stride

struct Site {
  const char* file;
  int line;
  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }
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
inline void block_barrier(Site site) { cuda_on_cpu::barrier(site.file, site.line, false, true); }

inline bool block_any(bool value, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  return cuda_on_cpu::barrier(file, line, value, false);
}

inline int cluster_rank() { return cuda_on_cpu::slot % cuda_on_cpu::cluster; }
inline int cluster_size() { return cuda_on_cpu::cluster; }
inline void cluster_barrier(Site site = Site::here()) {
  cuda_on_cpu::wide_barrier(nullptr, cuda_on_cpu::cluster, site.file, site.line);
}
inline void group_barrier(std::uint64_t* counter, int blocks, Site site = Site::here()) {
  cuda_on_cpu::wide_barrier(counter, blocks, site.file, site.line);
}

namespace detail {

template <typename Type, typename Source>
Type exchanged(Type value, Source source) {
  Type other = value;
  cuda_on_cpu::exchange(&value, &other, sizeof value, source);
  return other;
}

}  // namespace detail

inline double shuffle_down(double value, int offset) {
  return detail::exchanged(value, [offset](int lane) { return lane + offset < kWarp ? lane + offset : lane; });
}
template <typename Type>
Type shuffle_xor(Type value, int bits) {
  return detail::exchanged(value, [bits](int lane) { return lane ^ bits; });
}
template <typename Type>
Type shuffle(Type value, int lane) {
  return detail::exchanged(value, [lane](int) { return lane; });
}

inline bool warp_any(bool value) {
  bool any = value;
  for (int bits = 1; bits < kWarp; bits *= 2) any |= shuffle_xor(any, bits);
  return any;
}

inline float flushed(float x) { return std::fabs(x) < std::numeric_limits<float>::min() ? 0.0f * x : x; }
inline float fast_exp2(float x) { return flushed(std::exp2(x)); }
inline float fast_log2(float x) { return std::log2(flushed(x)); }
inline float fast_reciprocal(float x) { return flushed(1.0f / flushed(x)); }
inline int afresh(int x) { return x; }

inline void atomic_or(std::int32_t* address, std::int32_t bits) {
  cuda_on_cpu::perhaps_yield();
  const cuda_on_cpu::Unwatched atomic;
  *address |= bits;
}

inline void atomic_max(std::uint64_t* address, std::uint64_t value) {
  cuda_on_cpu::perhaps_yield();
  const cuda_on_cpu::Unwatched atomic;
  if (value > *address) *address = value;
}

inline std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
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

// A part of a block's dynamic shared memory, from `first` bytes on.
template <typename Type>
class Shared {
 public:
  Shared() = default;
  Shared(std::size_t first, int slot) : first_(first), slot_(slot) {
    if (first % alignof(Type)) cuda_on_cpu::fail("shared memory not aligned");
  }

  Type& operator[](std::int64_t index) const {
    cuda_on_cpu::perhaps_yield();
    const std::int64_t at = static_cast<std::int64_t>(first_) + index * static_cast<std::int64_t>(sizeof(Type));
    if (at < 0 || at + sizeof(Type) > cuda_on_cpu::dynamic_bytes())
      cuda_on_cpu::fail("dynamic shared memory out of bounds: byte " + std::to_string(at));
    return *reinterpret_cast<Type*>(cuda_on_cpu::dynamic_memory(slot_) + at);
  }
  friend Shared operator+(const Shared& array, std::int64_t count) {
    return Shared(array.first_ + static_cast<std::size_t>(count) * sizeof(Type), array.slot_);
  }
  Shared of_slot(int slot) const { return Shared(first_, slot); }

 private:
  std::size_t first_ = 0;
  int slot_ = 0;
};

template <typename Type>
Shared<Type> dynamic_shared(std::size_t bytes) {
  return Shared<Type>(bytes, cuda_on_cpu::slot);
}

template <typename Type>
Shared<Type> peer(Shared<Type> mine, int rank) {
  if (rank < 0 || rank >= cuda_on_cpu::cluster) cuda_on_cpu::fail("a block that the cluster does not have");
  return mine.of_slot(cuda_on_cpu::slot - cluster_rank() + rank);
}

struct LoadsCode {
  LoadsCode() {}
};

inline Limits device_limits() { return cuda_on_cpu::device(); }
template <typename Arguments>
Limits device_limits(void (*)(Arguments), int) {
  return device_limits();
}

template <typename Arguments>
void launch(void (*kernel)(Arguments), const Shape& shape, Arguments arguments, void* /*stream*/) {
  cuda_on_cpu::run(shape, [&] { kernel(arguments); });
}

template <typename Arguments>
void launch(void (*kernel)(Arguments), Extent grid, Extent block, Arguments arguments, void* stream) {
  launch(kernel, Shape{grid, block}, arguments, stream);
}

}  // namespace wbm::cuda
