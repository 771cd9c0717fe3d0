#include "cpu/runtime/processors.h"

#include <algorithm>
#include <atomic>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif
#ifdef __unix__
#include <unistd.h>
#endif

namespace wbm {
namespace {

#ifdef __unix__
const pid_t kLoadedBy = getpid();
#endif

int count_processors() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::atomic<int> at_work{0};
std::atomic<Clock::rep> contended_until{0};

}  // namespace

int processors() {
  static const int count = count_processors();
  return count;
}

bool forked() {
#ifdef __unix__
  return getpid() != kLoadedBy;
#else
  return false;
#endif
}

bool reserve_processors(int count) {
  int now = at_work.load(std::memory_order_relaxed);
  do {
    if (now + count > processors()) return false;
  } while (!at_work.compare_exchange_weak(now, now + count, std::memory_order_relaxed));
  return true;
}

void add_threads(int count) { at_work.fetch_add(count, std::memory_order_relaxed); }

void release_processors(int count) { at_work.fetch_sub(count, std::memory_order_relaxed); }

void note_wait(Clock::duration waited, Clock::duration expected) {
  constexpr auto kUsual = std::chrono::microseconds(30);
  constexpr int kAlone = 16;
  if (waited <= kUsual + expected) return;
  contended_until.store((Clock::now() + kAlone * waited).time_since_epoch().count(), std::memory_order_relaxed);
}

bool contended() {
  const Clock::rep until = contended_until.load(std::memory_order_relaxed);
  return until != 0 && Clock::now().time_since_epoch().count() < until;
}

}  // namespace wbm
