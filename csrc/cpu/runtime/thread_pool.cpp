#include "cpu/runtime/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

#ifdef __unix__
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#endif
#ifdef __SSE2__
#include <xmmintrin.h>
#endif

namespace wbm {
namespace {

// A forked child has none of the threads of its parent.
#ifdef __unix__
const pid_t kLoadedBy = getpid();
bool forked() { return getpid() != kLoadedBy; }
#else
bool forked() { return false; }
#endif

using Clock = std::chrono::steady_clock;

// Waits by spinning for a moment, then by offering the core to others, then by short sleeps.
class Patience {
 public:
  void wait() {
    ++turns_;
    if (turns_ < kSpins) {
#ifdef __SSE2__
      _mm_pause();
#endif
    } else if (turns_ < kYields) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  bool spinning() const { return turns_ < kSpins; }
  bool lingering() const { return turns_ < kLinger; }

 private:
  static constexpr int kSpins = 4000;   // some tens of microseconds
  static constexpr int kLinger = 4400;  // a helper that nobody wants goes to sleep
  static constexpr int kYields = 8000;
  int turns_ = 0;
};

// Signals are for the threads of the program.
class SignalsBlocked {
 public:
#ifdef __unix__
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
#endif
};

}  // namespace

FloatingMode FloatingMode::of_this_thread() {
  FloatingMode mode;
#ifdef __SSE2__
  mode.bits_ = _mm_getcsr() & ~0x3fu;  // without the flags of what has happened
#endif
  return mode;
}

void FloatingMode::enter() const {
#ifdef __SSE2__
  if ((_mm_getcsr() & ~0x3fu) != bits_) _mm_setcsr(bits_);
#endif
}

void Loop::own(int helpers) {
  mode_ = FloatingMode::of_this_thread();
  helpers_.store(helpers, std::memory_order_relaxed);
}

bool Loop::run(std::int64_t count, int parts, Call call, const void* work) {
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
  // What a helper still has in hand takes no longer than what the owner has done meanwhile, unless it was sent away.
  Patience patience;
  bool late = false;
  if (done_.load(std::memory_order_acquire) != parts) {
    const Clock::time_point waiting = Clock::now();
    while (done_.load(std::memory_order_acquire) != parts) patience.wait();
    late = !patience.spinning() && Clock::now() - waiting > std::chrono::microseconds(100) + 2 * (waiting - begun);
  }
  if (failed_.load(std::memory_order_relaxed)) {
    failed_.store(false, std::memory_order_relaxed);
    std::rethrow_exception(std::exchange(error_, nullptr));
  }
  return late;
}

bool Loop::help(int number) { return take(false, number); }

bool Loop::take(bool front, int number) {
  std::uint64_t state = state_.load(std::memory_order_acquire);
  for (;;) {
    const std::uint64_t first = state >> 16 & 0xffff, end = state & 0xffff;
    if (first >= end || !wants(number)) return false;
    // An equal share of what is left: few calls where all are there, small ones towards the end.
    const std::uint64_t sharing = static_cast<std::uint64_t>(helpers_.load(std::memory_order_relaxed)) + 1;
    const std::uint64_t taken = (end - first + sharing - 1) / sharing;
    if (!state_.compare_exchange_weak(state, front ? state + (taken << 16) : state - taken, std::memory_order_acq_rel,
                                      std::memory_order_acquire))
      continue;
    if (!front) mode_.enter();
    front ? compute(first, first + taken) : compute(end - taken, end);
    return true;
  }
}

void Loop::compute(std::uint64_t first, std::uint64_t end) {
  const auto bound = [this](std::uint64_t k) { return count_ * static_cast<std::int64_t>(k) / parts_; };
  try {
    call_(work_, bound(first), bound(end));
  } catch (...) {
    if (!failed_.exchange(true, std::memory_order_relaxed)) error_ = std::current_exception();
  }
  done_.fetch_add(static_cast<std::int64_t>(end - first), std::memory_order_release);
}

ThreadPool& ThreadPool::of_process() {
  static ThreadPool& helpers = *new ThreadPool;
  return helpers;
}

Loop* ThreadPool::hire(int helpers) {
  if (helpers < 1 || forked()) return nullptr;
  helpers = std::min(helpers, kMost);
  if (threads_.load(std::memory_order_relaxed) < helpers) grow(helpers);
  std::uint32_t hired = hired_.load(std::memory_order_relaxed);
  int place;
  do {
    for (place = 0; place < kLoops && hired >> place & 1; ++place) {
    }
    if (place == kLoops) return nullptr;
  } while (!hired_.compare_exchange_weak(hired, hired | std::uint32_t(1) << place));
  Loop& loop = loops_[place];
  loop.own(helpers);
  if (asleep_.load() > 0) {
    // A helper that holds the mutex is about to look or to sleep; should it miss the call, it is late, no more than that.
    if (mutex_.try_lock()) mutex_.unlock();
    wake_.notify_all();
  }
  return &loop;
}

void ThreadPool::dismiss(Loop* loop) {
  hired_.fetch_and(~(std::uint32_t(1) << (loop - loops_)), std::memory_order_release);
}

void ThreadPool::grow(int helpers) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const SignalsBlocked blocked;
  while (threads_.load(std::memory_order_relaxed) < helpers) {
    const int number = threads_.load(std::memory_order_relaxed) + 1;
    try {
      std::thread([this, number] { serve(number); }).detach();
    } catch (const std::system_error&) {
      return;  // the system gives no more: those that are there will do
    }
    threads_.store(number, std::memory_order_relaxed);
  }
}

bool ThreadPool::wanted(int number) const {
  const std::uint32_t hired = hired_.load();
  for (int place = 0; place < kLoops && hired >> place; ++place)
    if ((hired >> place & 1) && loops_[place].wants(number)) return true;
  return false;
}

void ThreadPool::serve(int number) {
  for (;;) {
    for (Patience patience; patience.lingering() || wanted(number);) {
      bool helped = false;
      const std::uint32_t hired = hired_.load(std::memory_order_acquire);
      for (int place = 0; place < kLoops && hired >> place; ++place)
        if (hired >> place & 1)
          while (loops_[place].help(number)) helped = true;
      if (helped)
        patience = Patience();
      else
        patience.wait();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    ++asleep_;
    // For ever; but an unlimited wait is a symbol of the newest C++ libraries, which systems of 2021 lack.
    wake_.wait_for(lock, std::chrono::hours(1), [&] { return wanted(number); });
    --asleep_;
  }
}

}  // namespace wbm
