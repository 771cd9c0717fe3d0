// The workers of the OpenMP library that torch computes with, GNU's libgomp, where it is loaded.
//
// After an operation of torch its workers spin for a while, waiting for the next one. Threads of our own would have to share
// the processors with them; so the workers of torch are the ones that a solve uses too.
//
// A parallel region ends only when its last worker has come. Ours lasts as long as loops follow each other closely: a worker
// that finds nothing to do for a moment leaves it and waits as libgomp's workers do, and is called again for the next loop.
#pragma once

#include "cpu/runtime/shared_loop.h"

namespace wbm {

class OpenMpRegion {
 public:
  // Whether this thread may open a region of `threads` threads: libgomp is loaded, its own number of threads is that (another
  // size would make it end threads or create some), this is no forked process and no region of somebody else.
  static bool available(int threads);

  explicit OpenMpRegion(int threads);
  ~OpenMpRegion();
  OpenMpRegion(const OpenMpRegion&) = delete;
  OpenMpRegion& operator=(const OpenMpRegion&) = delete;

  SharedLoop& loop() { return loop_; }
  // Whether a worker has left for want of work.
  bool left() const { return left_.load(std::memory_order_relaxed); }

 private:
  static void work(void* region);

  SharedLoop loop_;
  std::atomic<bool> closing_{false}, left_{false};
};

}  // namespace wbm
