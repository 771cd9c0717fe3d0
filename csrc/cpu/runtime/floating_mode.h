// Flush-to-zero, rounding and the like: a worker computes in the mode of the thread whose loop it works on.
#pragma once

#ifdef __SSE2__
#include <xmmintrin.h>
#endif

namespace wbm {

class FloatingMode {
 public:
  static FloatingMode of_this_thread() {
    FloatingMode mode;
#ifdef __SSE2__
    mode.bits_ = _mm_getcsr() & ~0x3fu;  // without the flags of what has happened
#endif
    return mode;
  }

  void enter() const {
#ifdef __SSE2__
    if ((_mm_getcsr() & ~0x3fu) != bits_) _mm_setcsr(bits_);
#endif
  }

 private:
  unsigned bits_ = 0;
};

}  // namespace wbm
