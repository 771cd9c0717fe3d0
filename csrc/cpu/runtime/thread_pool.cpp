#include "cpu/runtime/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <thread>

#include "cpu/runtime/processors.h"
#include "cpu/runtime/spin_wait.h"

#ifdef __unix__
#include <pthread.h>
#include <signal.h>
#endif

namespace wbm {
namespace {

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

ThreadPool& ThreadPool::of_process() {
  static ThreadPool& pool = *new ThreadPool;
  return pool;
}

SharedLoop* ThreadPool::acquire(int workers) {
  if (workers < 1 || forked()) return nullptr;
  workers = std::min(workers, kMostThreads);
  if (threads_.load(std::memory_order_relaxed) < workers) grow(workers);
  std::uint32_t open = open_.load(std::memory_order_relaxed);
  int place;
  do {
    for (place = 0; place < kLoops && open >> place & 1; ++place) {
    }
    if (place == kLoops) return nullptr;
  } while (!open_.compare_exchange_weak(open, open | std::uint32_t(1) << place));
  SharedLoop& loop = loops_[place];
  loop.open(workers);
  if (asleep_.load() > 0) {
    // A worker that holds the mutex is about to look or to sleep; should it miss the call, it is late, no more than that.
    if (mutex_.try_lock()) mutex_.unlock();
    wake_.notify_all();
  }
  return &loop;
}

void ThreadPool::release(SharedLoop* loop) {
  open_.fetch_and(~(std::uint32_t(1) << (loop - loops_)), std::memory_order_release);
}

void ThreadPool::grow(int workers) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const SignalsBlocked blocked;
  while (threads_.load(std::memory_order_relaxed) < workers) {
    const int worker = threads_.load(std::memory_order_relaxed) + 1;
    try {
      std::thread([this, worker] { serve(worker); }).detach();
    } catch (const std::system_error&) {
      return;  // the system gives no more: those that are there will do
    }
    threads_.store(worker, std::memory_order_relaxed);
  }
}

bool ThreadPool::needed(int worker) const {
  const std::uint32_t open = open_.load();
  for (int place = 0; place < kLoops && open >> place; ++place)
    if ((open >> place & 1) && loops_[place].admits(worker)) return true;
  return false;
}

void ThreadPool::serve(int worker) {
  for (;;) {
    for (SpinWait wait; wait.brief() || needed(worker);) {
      bool worked = false;
      const std::uint32_t open = open_.load(std::memory_order_acquire);
      for (int place = 0; place < kLoops && open >> place; ++place)
        if (open >> place & 1)
          while (loops_[place].take_part(worker)) worked = true;
      if (worked)
        wait = SpinWait();
      else
        wait.pause();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    ++asleep_;
    // For ever; but an unlimited wait is a symbol of the newest C++ libraries, which systems of 2021 lack.
    wake_.wait_for(lock, std::chrono::hours(1), [&] { return needed(worker); });
    --asleep_;
  }
}

}  // namespace wbm
