// A dense matrix K in memory of our own, its rows padded with zeros, and the one loop over it that the fast paths are
// made of: K v and K'w in a single read.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "cpu/kernels/kernels.h"
#include "cpu/runtime/memory.h"
#include "cpu/runtime/team.h"

namespace wbm {

template <typename S>
class StoredMatrix {
 public:
  StoredMatrix(std::int64_t rows, std::int64_t columns, Team& team) : StoredMatrix(rows, columns, team, Array<S>()) {
    own_ = Array<S>(rows_ * stride_);
    k_ = own_.data();
  }

  // The matrix that another one has released.
  StoredMatrix(std::int64_t rows, std::int64_t columns, Team& team, const Array<S>& k)
      : sums(rows), column_sums(columns), kernels_(scaling_kernels<S>()), team_(team), rows_(rows), columns_(columns),
        padded_((columns + kPadding - 1) / kPadding * kPadding), stride_(row_stride(padded_)),
        chunk_(chunk_rows(rows)), chunks_((rows + chunk_ - 1) / chunk_),
        parallel_(rows * columns >= kParallel && chunks_ > 1), k_(k.data()), v_(padded_), partial_(chunks_ * padded_) {
    std::fill(v_.data() + columns_, v_.data() + padded_, S(0));
  }

  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  std::int64_t padded() const { return padded_; }
  std::int64_t stride() const { return stride_; }
  S* row(std::int64_t r) { return k_ + r * stride_; }
  const S* row(std::int64_t r) const { return k_ + r * stride_; }
  Array<S> release() { return std::move(own_); }
  Team& team() const { return team_; }
  bool parallel() const { return parallel_; }

  const S* v() const { return v_.data(); }

  // v_j of the next pass
  template <typename Value>
  void set_v(const Value& value) {
    for (std::int64_t j = 0; j < columns_; ++j) v_[j] = static_cast<S>(value(j));
  }

  // sums = K v, and column_sums = K'w with w = weight(first, count), a pointer to the weights of each block of rows whose
  // sums are known. A block is added to K'w while the next one is dotted with v.
  template <typename Weight>
  void pass(const Weight& weight) {
    const int step = kernels_.block_rows(padded_ * static_cast<std::int64_t>(sizeof(S)));
    team_.split_if(parallel_, chunks_, [&](std::int64_t first, std::int64_t last) {
      S w[8];
      int count = 0;  // rows of the block whose weights are known and which waits to be added to `total`
      const S* waiting = nullptr;
      S* total = nullptr;
      for (std::int64_t chunk = first; chunk < last; ++chunk) {
        S* own = partial_.data() + chunk * padded_;
        std::fill(own, own + padded_, S(0));
        const std::int64_t end = std::min((chunk + 1) * chunk_, rows_);
        for (std::int64_t r = chunk * chunk_; r < end; r += step) {
          const int rows = static_cast<int>(std::min<std::int64_t>(step, end - r));
          const S* block = row(r);
          if (waiting && rows == step && count == step) {
            kernels_.fused(block, waiting, stride_, step, v_.data(), w, total, padded_, sums.data() + r);
          } else {
            if (waiting) kernels_.accumulate(waiting, stride_, count, w, total, padded_);
            kernels_.dots(block, stride_, rows, v_.data(), padded_, sums.data() + r);
          }
          const double* values = weight(r, rows);
          for (int c = 0; c < rows; ++c) w[c] = static_cast<S>(values[c]);
          count = rows;
          waiting = block;
          total = own;
        }
      }
      if (waiting) kernels_.accumulate(waiting, stride_, count, w, total, padded_);
    });
    kernels_.reduce(partial_.data(), chunks_, padded_, column_sums.data(), columns_);
  }

  // column_sums = what add(first, count, block, v, out) adds to `out` for each block of at most 4 rows.
  template <typename Add>
  void accumulate(const Add& add) {
    team_.split_if(parallel_, chunks_, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t chunk = first; chunk < last; ++chunk) {
        S* own = partial_.data() + chunk * padded_;
        std::fill(own, own + padded_, S(0));
        const std::int64_t end = std::min((chunk + 1) * chunk_, rows_);
        for (std::int64_t r = chunk * chunk_; r < end; r += 4)
          add(r, static_cast<int>(std::min<std::int64_t>(4, end - r)), row(r), v_.data(), own);
      }
    });
    kernels_.reduce(partial_.data(), chunks_, padded_, column_sums.data(), columns_);
  }

  std::vector<double> sums, column_sums;

 private:
  // Rows with one running sum K'w: the unit of work of a thread. They depend on the size alone, so that results do not depend
  // on the threads: 64 to 128 rows, and more where that would make more than 64 sums.
  static std::int64_t chunk_rows(std::int64_t rows) {
    const auto of = [rows](std::int64_t chunks) { return (rows + 8 * chunks - 1) / (8 * chunks) * 8; };
    return std::max({std::int64_t(64), std::min(of(8), std::int64_t(128)), of(64)});
  }
  // Entries from which a pass is shared.
  static constexpr std::int64_t kParallel = std::int64_t(1) << 15;

  // Rows a multiple of 4 KiB apart would share the cache's sets.
  static std::int64_t row_stride(std::int64_t padded) {
    return padded * static_cast<std::int64_t>(sizeof(S)) % 1024 == 0 ? padded + kPadding : padded;
  }

  const ScalingKernels<S>& kernels_;
  Team& team_;
  const std::int64_t rows_, columns_, padded_, stride_, chunk_, chunks_;
  const bool parallel_;
  Array<S> own_;
  S* k_;
  Array<S> v_, partial_;
};

}  // namespace wbm
