// The threads of the process that help with loops, and the loops that they look at.
//
// A solve is thousands of loops of a few microseconds each. To enter an OpenMP region for every one of them costs more than
// most of them take, and a region around the whole solve ends only when its last thread has come, which on a machine whose
// cores are taken may be a tick of the scheduler after the solve. Here nobody waits for a thread that is late: helpers look
// at the loops that are open and take parts of them, whoever opened the loop takes parts too, and only parts that somebody
// has taken are waited for. What helpers read before they have taken a part lies in memory that is never given back.
//
// What a loop computes must not depend on who takes which part.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>

namespace wbm {

// Flush-to-zero, rounding and the like: helpers compute in the mode of the thread they help.
class FloatingMode {
 public:
  static FloatingMode of_this_thread();
  void enter() const;

 private:
  unsigned bits_ = 0;
};

// A loop over [0, count) in parts, one after another of the same owner. The owner takes parts from the front and helpers from
// the back, so that over many loops a part stays with the core that has its data.
class alignas(64) Loop {
 public:
  using Call = void (*)(const void* work, std::int64_t begin, std::int64_t end);

  // --- the owner's --------------------------------------------------------------------------------------------------
  void own(int helpers);
  // Returns when all is done; whether a part was waited for so long that its helper must have been sent away. What `call`
  // throws is thrown here, after all parts are done.
  bool run(std::int64_t count, int parts, Call call, const void* work);

  // --- a helper's ---------------------------------------------------------------------------------------------------
  // Takes a part, if there is one and helper number `number` (from 1 on) is wanted.
  bool help(int number);
  bool wants(int number) const { return number <= helpers_.load(std::memory_order_relaxed); }

 private:
  bool take(bool front, int number);
  void compute(std::uint64_t first, std::uint64_t end);

  // Round, first part that is free and the one after the last: 32, 16 and 16 bits. The round makes sure that what a helper
  // has read of one loop takes nothing of a later one.
  std::atomic<std::uint64_t> state_{0};
  std::atomic<int> helpers_{0};
  // Written by the owner between loops; to be read once a part is taken, for the loop is not over before that part is.
  std::int64_t count_ = 0, parts_ = 0;
  Call call_ = nullptr;
  const void* work_ = nullptr;
  FloatingMode mode_;
  std::exception_ptr error_;
  std::atomic<bool> failed_{false};
  alignas(64) std::atomic<std::int64_t> done_{0};
};

class ThreadPool {
 public:
  // Never destroyed: its threads look at it until the process has ended.
  static ThreadPool& of_process();

  // A loop for the caller alone, with up to `helpers` threads to look at it; nullptr where none can be had (a forked child
  // has no helpers; more than kLoops solves at once).
  Loop* hire(int helpers);
  void dismiss(Loop* loop);

 private:
  static constexpr int kLoops = 32, kMost = 255;

  ThreadPool() = default;
  void grow(int helpers);
  void serve(int number);
  bool wanted(int number) const;

  Loop loops_[kLoops];
  std::atomic<std::uint32_t> hired_{0};  // a bit for each loop that has an owner
  std::atomic<int> threads_{0}, asleep_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace wbm
