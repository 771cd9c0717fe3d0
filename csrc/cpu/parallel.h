// Threads: over the problems of a batch when there are enough, else over the rows and columns of one problem.
#pragma once

#include <algorithm>
#include <cstdint>

#ifdef __unix__
#include <unistd.h>
#endif

namespace wbm {

// A forked child has none of the threads that the parent's pool remembers: it solves on one.
#ifdef __unix__
inline const pid_t kLoadedBy = getpid();
inline bool forked() { return getpid() != kLoadedBy; }
#else
inline bool forked() { return false; }
#endif

struct Threads {
  int across = 1;  // problems side by side
  int within = 1;  // rows or columns of one problem side by side

  Threads(std::int64_t batch, std::int64_t n, std::int64_t m, int available) {
    constexpr std::int64_t kWorthwhile = 1 << 16;  // entries of a batch; below it a second thread costs more than it saves
    constexpr std::int64_t kShared = 1 << 17;      // entries of one problem; a sleeping helper wakes as long as 256 x 256 takes
    available = forked() ? 1 : std::max(available, 1);
    if (batch >= available || batch * n * m < kWorthwhile) {
      const bool worthwhile = batch > 1 && batch * n * m >= kWorthwhile / 4;
      across = worthwhile ? static_cast<int>(std::min<std::int64_t>(batch, available)) : 1;
    } else if (n * m >= kShared) {
      within = available;
    }
  }
};

}  // namespace wbm
