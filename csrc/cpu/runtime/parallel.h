// How threads are used: over the problems of a batch when there are enough, else over the rows and columns of one problem.
#pragma once

#include <algorithm>
#include <cstdint>

namespace wbm {

inline constexpr std::int64_t kProblems = 2, kTinyProblems = 128;  // of a batch that a thread takes at a time

struct Threads {
  int across = 1;  // problems side by side
  int within = 1;  // rows or columns of one problem side by side

  Threads(std::int64_t batch, std::int64_t n, std::int64_t m, int available) {
    constexpr std::int64_t kBatch = 1 << 14;   // entries; below it a second thread costs more than it saves
    constexpr std::int64_t kShared = 1 << 15;  // entries of one problem; below it a loop is shorter than what sharing it takes
    if (batch < available && n * m >= kShared)
      within = available;
    else if (batch * n * m >= kBatch)
      across = static_cast<int>(std::max<std::int64_t>(std::min<std::int64_t>(batch, available), 1));
  }
};

}  // namespace wbm
