// Proof that no two threads touch the same byte without a barrier between them. Kernels compiled with -fsanitize=thread call a hook
// at every load and store; the hooks are ours (races.cpp), not those of the sanitizer's library.
//
// Barriers are the only order: an access comes before another of the same launch where both are one thread's, where the block has
// passed more barriers since, or, in other blocks, where more barriers of the cluster or the grid were passed. A byte of device
// memory that is read must have been written. Nothing is watched unless races.cpp is compiled with WBM_WATCH_ACCESSES.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace cuda_on_cpu {

// Whose access: which launch, block and thread, and the barriers that the thread has passed.
struct Stamp {
  std::uint64_t launch = 0, block = 0;
  std::int32_t thread = -1, block_barriers = 0, wide_barriers = 0;
};

// The running thread; `thread` is -1 outside of kernels.
Stamp now();

// Bytes to watch from now on, nothing known of them; `written`: reading them is no fault.
void watch(const void* begin, std::size_t bytes, const std::string& name, bool written);
void forget_watched();
void touch(const void* begin, std::size_t bytes, bool writes, const Stamp& me = now());

// Accesses seen, and the first fault of each kind and place since forget_watched, a line each.
std::int64_t accesses();
const std::string& faults();

// While it lives accesses are not looked at: atomics, whose order does not matter.
struct Unwatched {
  Unwatched();
  ~Unwatched();
};

}  // namespace cuda_on_cpu
