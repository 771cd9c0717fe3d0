// Threads that share the loops inside one solve.
//
// A solve is thousands of loops of a few microseconds each; to enter a parallel region for every one of them costs more
// than most of them take. One region is opened around the whole solve: its first thread runs the solve, the others wait,
// spinning for a moment before they offer the core to somebody else, for parts of the next loop to take. Nobody waits for a
// thread that is late (waking one takes longer than many a solve, and on a busy machine it may be away for long): whoever is
// there takes the parts, and only those in work are waited for. What a loop computes must not depend on who that is.
//
// The region itself ends when all its threads have come, also one that has slept through the whole solve: on a machine whose
// cores are taken that may be a tick of the scheduler later, longer than the solve. Where it was so, the next solves of this
// thread are not shared, the more of them the more often it happens.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <thread>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace wbm {

class Team {
 public:
  // body(team) on the calling thread, with at most threads - 1 helpers.
  template <typename Body>
  static void run(int threads, const Body& body) {
    Team team;
#ifdef _OPENMP
    Lateness& lateness = Lateness::of_this_thread();
    if (threads > 1 && lateness.share()) {
      std::exception_ptr error;
      Clock::time_point finished;
      team.size_ = threads;
#pragma omp parallel num_threads(threads)
      {
        if (omp_get_thread_num() == 0) {
          try {
            body(team);
          } catch (...) {
            error = std::current_exception();
          }
          team.loop_.store(kClosed, std::memory_order_release);
          finished = Clock::now();
        } else {
          team.serve();
        }
      }
      lateness.note(Clock::now() - finished);
      if (error) std::rethrow_exception(error);
      return;
    }
#endif
    body(team);
  }

  Team() = default;
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // The most threads that may share a loop.
  int size() const { return size_; }

  // work(begin, end) on contiguous parts of [0, count); returns when all are done. `work` must not throw.
  template <typename Work>
  void split(std::int64_t count, const Work& work) {
    if (size_ == 1 || count < 2 || alone_ > 0) {
      if (alone_ > 0) --alone_;
      work(std::int64_t(0), count);
      return;
    }
    work_ = &work;
    call_ = [](const void* w, std::int64_t begin, std::int64_t end) { (*static_cast<const Work*>(w))(begin, end); };
    count_ = count;
    const std::uint64_t parts = static_cast<std::uint64_t>(std::min<std::int64_t>(count, kParts));
    done_.store(0, std::memory_order_relaxed);
    loop_.store((++round_ << 32) + (parts << 16), std::memory_order_release);
    while (take()) {
    }
    Patience patience;
    while (done_.load(std::memory_order_acquire) != parts) patience.wait();
    if (patience.lost()) alone_ = kRetreat;  // a helper was sent away in the middle of its part: the machine is busy
  }

  // The same where `parallel`, else all of it here.
  template <typename Work>
  void split_if(bool parallel, std::int64_t count, const Work& work) {
    parallel ? split(count, work) : work(std::int64_t(0), count);
  }

 private:
  static constexpr std::int64_t kParts = 16;
  static constexpr int kRetreat = 500;  // loops that are not shared after a long wait
  static constexpr std::uint64_t kClosed = ~std::uint64_t(0);

  using Clock = std::chrono::steady_clock;

  // How long the calling thread has waited for its helpers after a solve was done.
  class Lateness {
   public:
    static Lateness& of_this_thread() {
      thread_local Lateness lateness;
      return lateness;
    }
    bool share() { return unshared_ == 0 || unshared_-- == 0; }
    void note(Clock::duration wait) {
      constexpr int kLeast = 8, kMost = 512;
      if (wait > std::chrono::microseconds(500)) {
        unshared_ = penalty_;
        penalty_ = std::min(2 * penalty_, kMost);
      } else {
        penalty_ = std::max(penalty_ / 2, kLeast);
      }
    }

   private:
    int unshared_ = 0, penalty_ = 8;  // solves
  };

  class Patience {
   public:
    void wait() {
      if (++turns_ < kSpins) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
      } else {
        std::this_thread::yield();
      }
    }
    bool lost() const { return turns_ >= kSpins; }

   private:
    static constexpr int kSpins = 4000;
    int turns_ = 0;
  };

  // Takes the next part of the open loop, if there is one. loop_ holds round, parts and the next part in 32, 16 and 16 bits;
  // the loop's fields may be read once a part is taken, for the loop is not over before that part is.
  bool take() {
    std::uint64_t loop = loop_.load(std::memory_order_acquire);
    for (;;) {
      const std::uint64_t part = loop & 0xffff, parts = loop >> 16 & 0xffff;
      if (loop == kClosed || part >= parts) return false;
      if (!loop_.compare_exchange_weak(loop, loop + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      const auto bound = [&](std::uint64_t k) {
        return count_ * static_cast<std::int64_t>(k) / static_cast<std::int64_t>(parts);
      };
      call_(work_, bound(part), bound(part + 1));
      done_.fetch_add(1, std::memory_order_release);
      return true;
    }
  }

  void serve() {
    Patience patience;
    while (loop_.load(std::memory_order_acquire) != kClosed) {
      if (take())
        patience = Patience();
      else
        patience.wait();
    }
  }

  int size_ = 1, alone_ = 0;
  const void* work_ = nullptr;
  void (*call_)(const void*, std::int64_t, std::int64_t) = nullptr;
  std::int64_t count_ = 0;
  std::uint64_t round_ = 0;
  alignas(64) std::atomic<std::uint64_t> loop_{0};
  alignas(64) std::atomic<std::uint64_t> done_{0};
};

}  // namespace wbm
