// A loop over [0, count) in parts that its owner and any number of workers take.
//
// A solve is thousands of loops of a few microseconds each. Nobody waits for a worker that is late: workers look at the loops
// that are open and take parts of them, the owner takes parts too, and only parts that somebody has taken are waited for.
//
// What a loop computes must not depend on who takes which part.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>

#include "cpu/runtime/floating_mode.h"

namespace wbm {

// The owner takes parts from the front and workers from the back, so that over many loops a part stays with the core that has
// its data.
class alignas(64) SharedLoop {
 public:
  using Call = void (*)(const void* work, std::int64_t begin, std::int64_t end);

  // --- the owner ----------------------------------------------------------------------------------------------------
  // Opens it to workers 1 to `workers`, to compute in the floating-point mode of this thread.
  void open(int workers);
  // Returns when all is done. What `call` throws is thrown here, after all parts are done. A worker that was sent away in the
  // middle of its part is noted as lost time (processors.h).
  void run(std::int64_t count, int parts, Call call, const void* work);

  // --- a worker -----------------------------------------------------------------------------------------------------
  // Takes a part, if there is one for this worker.
  bool take_part(int worker) { return take(false, worker); }
  bool admits(int worker) const { return worker <= workers_.load(std::memory_order_relaxed); }

 private:
  bool take(bool front, int worker);
  void compute(std::uint64_t first, std::uint64_t end);

  // Round, first part that is free and the one after the last: 32, 16 and 16 bits. The round makes sure that what a worker
  // has read of one loop takes nothing of a later one.
  std::atomic<std::uint64_t> state_{0};
  std::atomic<int> workers_{0};
  // Written by the owner between loops; to be read once a part is taken, for the loop is not over before that part is.
  std::int64_t count_ = 0, parts_ = 0;
  Call call_ = nullptr;
  const void* work_ = nullptr;
  FloatingMode mode_;
  std::exception_ptr error_;
  std::atomic<bool> failed_{false};
  alignas(64) std::atomic<std::int64_t> done_{0};
};

}  // namespace wbm
