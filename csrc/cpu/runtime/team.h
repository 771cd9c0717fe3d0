// One thread, and those that help it with the loops of a call.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "cpu/runtime/thread_pool.h"

namespace wbm {

class Team {
 public:
  explicit Team(int threads = 1)
      : loop_(threads > 1 ? ThreadPool::of_process().hire(threads - 1) : nullptr), size_(loop_ ? threads : 1) {}
  ~Team() {
    if (loop_) ThreadPool::of_process().dismiss(loop_);
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // The most threads that may share a loop.
  int size() const { return size_; }

  // work(begin, end) on contiguous parts of [0, count); returns when all are done.
  template <typename Work>
  void split(std::int64_t count, const Work& work) {
    if (size_ == 1 || count < 2 || alone_ > 0) {
      if (alone_ > 0) --alone_;
      work(std::int64_t(0), count);
      return;
    }
    // A helper was sent away in the middle of its part: the machine is busy.
    if (run(count, static_cast<int>(std::min<std::int64_t>(count, kParts)), work)) alone_ = kRetreat;
  }

  // The same where `parallel`, else all of it here.
  template <typename Work>
  void split_if(bool parallel, std::int64_t count, const Work& work) {
    parallel ? split(count, work) : work(std::int64_t(0), count);
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
    if (size_ == 1)
      work(next);
    else
      run(size_, size_, [&](std::int64_t, std::int64_t) { work(next); });
  }

 private:
  static constexpr std::int64_t kParts = 64;
  static constexpr int kRetreat = 500;  // loops that are not shared after a long wait

  template <typename Work>
  bool run(std::int64_t count, int parts, const Work& work) {
    return loop_->run(
        count, parts, [](const void* w, std::int64_t begin, std::int64_t end) { (*static_cast<const Work*>(w))(begin, end); },
        &work);
  }

  Loop* const loop_;
  const int size_;
  int alone_ = 0;
};

}  // namespace wbm
