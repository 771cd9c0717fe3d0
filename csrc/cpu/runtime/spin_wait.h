// Waiting for another thread: a bounded spin, then the core is offered to others, then short sleeps.
#pragma once

#include <chrono>
#include <thread>

#ifdef __SSE2__
#include <xmmintrin.h>
#endif

namespace wbm {

class SpinWait {
 public:
  void pause() {
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
  // Whether it is still within the time that an idle worker looks out for the next loop.
  bool brief() const { return turns_ < kBrief; }

 private:
  static constexpr int kSpins = 4000;  // some tens of microseconds
  static constexpr int kBrief = 4400;
  static constexpr int kYields = 8000;
  int turns_ = 0;
};

}  // namespace wbm
