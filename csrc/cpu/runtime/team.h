// The calling thread, and the workers that share its loops.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <optional>

#include "cpu/runtime/interrupt.h"
#include "cpu/runtime/openmp.h"

namespace wbm {

class Team {
 public:
  // At most `threads`, and no more than there are processors. Workers are called at the first loop that is shared. Before each
  // loop `interrupt`, if any, is looked at, and Interrupted thrown where it is raised.
  explicit Team(int threads, Interrupt* interrupt = nullptr);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // The most threads that may share a loop.
  int size() const { return size_; }

  // work(begin, end) on contiguous parts of [0, count); returns when all are done.
  template <typename Work>
  void split(std::int64_t count, const Work& work) {
    check(interrupt_);
    if (count > 1 && have_workers())
      run(count, static_cast<int>(std::min<std::int64_t>(count, kParts)), work);
    else
      work(std::int64_t(0), count);
  }

  // The same where `parallel`, else all of it here.
  template <typename Work>
  void split_if(bool parallel, std::int64_t count, const Work& work) {
    if (parallel) return split(count, work);
    if (++serial_ % kSerial == 0) check(interrupt_);
    work(std::int64_t(0), count);
  }

  // work(next) on each thread that comes, where next(begin, end) names the next items of [0, count), `step` at a time, until
  // it returns false: for items of unequal length, and for what a thread sets up once.
  template <typename Work>
  void deal(std::int64_t count, std::int64_t step, const Work& work) {
    std::atomic<std::int64_t> dealt{0};
    const auto next = [&](std::int64_t& begin, std::int64_t& end) {
      begin = dealt.fetch_add(step, std::memory_order_relaxed);
      end = std::min(begin + step, count);
      return begin < count;
    };
    if (have_workers())
      run(size_, size_, [&](std::int64_t, std::int64_t) { work(next); });
    else
      work(next);
  }

 private:
  static constexpr std::int64_t kParts = 64;
  static constexpr unsigned kSerial = 8;  // loops too short to share between two looks at the clock

  template <typename Work>
  void run(std::int64_t count, int parts, const Work& work) {
    loop_->run(
        count, parts, [](const void* w, std::int64_t begin, std::int64_t end) { (*static_cast<const Work*>(w))(begin, end); },
        &work);
  }

  // Calls them if need be. False where the loop had better stay on this thread: others need the processors.
  bool have_workers() { return size_ > 1 && call_workers(); }
  bool call_workers();
  void dismiss_workers();

  const int size_;
  Interrupt* const interrupt_;
  unsigned serial_ = 0;
  SharedLoop* loop_ = nullptr;
  std::optional<OpenMpRegion> region_;  // else the loop is one of the thread pool
};

}  // namespace wbm
