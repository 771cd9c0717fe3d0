#include "cpu/runtime/shared_loop.h"

#include <utility>

#include "cpu/runtime/processors.h"
#include "cpu/runtime/spin_wait.h"

namespace wbm {

void SharedLoop::open(int workers) {
  mode_ = FloatingMode::of_this_thread();
  workers_.store(workers, std::memory_order_relaxed);
}

void SharedLoop::run(std::int64_t count, int parts, Call call, const void* work) {
  count_ = count;
  parts_ = parts;
  call_ = call;
  work_ = work;
  done_.store(0, std::memory_order_relaxed);
  const Clock::time_point begun = Clock::now();
  const std::uint64_t round = (state_.load(std::memory_order_relaxed) >> 32) + 1;
  state_.store(round << 32 | static_cast<std::uint64_t>(parts), std::memory_order_release);
  while (take(true, 0)) {
  }
  // A part that a worker has in hand takes no longer than what the owner has done meanwhile, unless it was sent away.
  if (done_.load(std::memory_order_acquire) != parts) {
    const Clock::time_point waiting = Clock::now();
    for (SpinWait wait; done_.load(std::memory_order_acquire) != parts;) wait.pause();
    note_wait(Clock::now() - waiting, 2 * (waiting - begun));
  }
  if (failed_.load(std::memory_order_relaxed)) {
    failed_.store(false, std::memory_order_relaxed);
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
}

bool SharedLoop::take(bool front, int worker) {
  std::uint64_t state = state_.load(std::memory_order_acquire);
  for (;;) {
    const std::uint64_t first = state >> 16 & 0xffff, end = state & 0xffff;
    if (first >= end || !admits(worker)) return false;
    // An equal share of what is left: few calls where all are there, small ones towards the end.
    const std::uint64_t sharing = static_cast<std::uint64_t>(workers_.load(std::memory_order_relaxed)) + 1;
    const std::uint64_t taken = (end - first + sharing - 1) / sharing;
    if (!state_.compare_exchange_weak(state, front ? state + (taken << 16) : state - taken, std::memory_order_acq_rel,
                                      std::memory_order_acquire))
      continue;
    if (!front) mode_.enter();
    front ? compute(first, first + taken) : compute(end - taken, end);
    return true;
  }
}

void SharedLoop::compute(std::uint64_t first, std::uint64_t end) {
  const auto bound = [this](std::uint64_t k) { return count_ * static_cast<std::int64_t>(k) / parts_; };
  try {
    call_(work_, bound(first), bound(end));
  } catch (...) {
    if (!failed_.exchange(true, std::memory_order_relaxed)) error_ = std::current_exception();
  }
  done_.fetch_add(static_cast<std::int64_t>(end - first), std::memory_order_release);
}

}  // namespace wbm
