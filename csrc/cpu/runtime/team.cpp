#include "cpu/runtime/team.h"

#include "cpu/runtime/processors.h"
#include "cpu/runtime/thread_pool.h"

namespace wbm {

Team::Team(int threads, Interrupt* interrupt)
    : size_(threads > 1 ? std::min(threads, processors()) : 1), interrupt_(interrupt) {
  if (size_ > 1) add_threads(1);
}

Team::~Team() {
  if (size_ == 1) return;
  dismiss_workers();
  release_processors(1);
}

bool Team::call_workers() {
  if (contended()) {
    dismiss_workers();
    return false;
  }
  if (loop_ && !(region_ && region_->left())) return true;
  dismiss_workers();
  if (!reserve_processors(size_ - 1)) return false;
  if (OpenMpRegion::available(size_)) {
    region_.emplace(size_);
    loop_ = &region_->loop();
  } else {
    loop_ = ThreadPool::of_process().acquire(size_ - 1);
  }
  if (!loop_) release_processors(size_ - 1);
  return loop_;
}

void Team::dismiss_workers() {
  if (!loop_) return;
  if (region_)
    region_.reset();
  else
    ThreadPool::of_process().release(loop_);
  loop_ = nullptr;
  release_processors(size_ - 1);
}

}  // namespace wbm
