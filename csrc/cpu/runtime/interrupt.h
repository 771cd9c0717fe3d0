// Lets a long call be stopped from outside, e.g. by Ctrl-C.
#pragma once

#include <atomic>
#include <chrono>
#include <exception>
#include <thread>

namespace wbm {

// Shared by all threads of one call. Only the thread that made the call polls, at most every twentieth of a second (the poll
// may take the interpreter's lock); the others read the flag.
class Interrupt {
 public:
  explicit Interrupt(bool (*poll)()) : poll_(poll), owner_(std::this_thread::get_id()), last_(Clock::now()) {}

  bool raised() {
    if (flag_.load(std::memory_order_relaxed)) return true;
    if (std::this_thread::get_id() != owner_) return false;
    const Clock::time_point now = Clock::now();
    if (now - last_ < std::chrono::milliseconds(50)) return false;
    last_ = now;
    if (poll_()) flag_.store(true, std::memory_order_relaxed);
    return flag_.load(std::memory_order_relaxed);
  }

 private:
  using Clock = std::chrono::steady_clock;
  bool (*poll_)();
  std::thread::id owner_;
  Clock::time_point last_;
  std::atomic<bool> flag_{false};
};

inline bool raised(Interrupt* interrupt) { return interrupt && interrupt->raised(); }

// What a call is left with when it is stopped: its outputs are not complete.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "interrupted"; }
};

inline void check(Interrupt* interrupt) {
  if (raised(interrupt)) throw Interrupted();
}

}  // namespace wbm
