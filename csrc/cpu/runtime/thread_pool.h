// Threads of our own, where torch's OpenMP workers cannot be had, and the loops that they look at.
//
// What workers read before they have taken a part lies in memory that is never given back.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "cpu/runtime/shared_loop.h"

namespace wbm {

class ThreadPool {
 public:
  // Never destroyed: its threads look at it until the process has ended.
  static ThreadPool& of_process();

  // A loop for the caller alone, with up to `workers` threads to look at it; nullptr where none can be had (in a forked child;
  // more than kLoops solves at once).
  SharedLoop* acquire(int workers);
  void release(SharedLoop* loop);

 private:
  static constexpr int kLoops = 32, kMostThreads = 255;

  ThreadPool() = default;
  void grow(int workers);
  void serve(int worker);
  bool needed(int worker) const;

  SharedLoop loops_[kLoops];
  std::atomic<std::uint32_t> open_{0};  // a bit for each loop that has an owner
  std::atomic<int> threads_{0}, asleep_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace wbm
