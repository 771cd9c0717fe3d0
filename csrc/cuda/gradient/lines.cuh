// A row or a column of the matrix and the threads that share it, so that one kernel serves both sides: a block takes a
// row; a tile of kTileColumns x kTileRows threads takes kTileColumns columns. Every thread of a block goes the same way
// through more(), and calls each reduction.
#pragma once

#include "cuda/gradient/adjoint.cuh"
#include "cuda/problem/log_sum.cuh"
#include "cuda/runtime/reduce.cuh"

namespace wbm::cuda {

struct RowLine {
  static constexpr bool kRows = true;
  std::int64_t index, count;

  WBM_DEVICE RowLine(std::int64_t n, std::int64_t) : index(block_x()), count(n) {}
  WBM_DEVICE bool more() const { return index < count; }
  WBM_DEVICE void next() { index += grid_x(); }
  WBM_DEVICE bool exists() const { return true; }
  WBM_DEVICE bool leads() const { return thread_x() == 0; }

  // The entries of this thread: first(), first() + step(), ...
  WBM_DEVICE std::int64_t first() const { return thread_x(); }
  WBM_DEVICE std::int64_t step() const { return threads_x(); }
  WBM_DEVICE std::int64_t row(std::int64_t) const { return index; }
  WBM_DEVICE std::int64_t column(std::int64_t k) const { return k; }

  // reduce: for the thread that leads; reduce_all: for every thread of the line.
  template <typename Value, typename Combine>
  WBM_DEVICE Value reduce(Value value, Combine combine) const {
    return block_reduce(value, combine);
  }
  template <typename Value, typename Combine>
  WBM_DEVICE Value reduce_all(Value value, Combine combine) const {
    return block_reduce(value, combine);
  }
};

struct ColumnLine {
  static constexpr bool kRows = false;
  std::int64_t start, index, count;

  WBM_DEVICE ColumnLine(std::int64_t, std::int64_t m) : start(block_x() * kTileColumns), index(start + thread_x()), count(m) {}
  WBM_DEVICE bool more() const { return start < count; }
  WBM_DEVICE void next() {
    start += grid_x() * kTileColumns;
    index = start + thread_x();
  }
  WBM_DEVICE bool exists() const { return index < count; }
  WBM_DEVICE bool leads() const { return thread_y() == 0 && index < count; }

  WBM_DEVICE std::int64_t first() const { return thread_y(); }
  WBM_DEVICE std::int64_t step() const { return kTileRows; }
  WBM_DEVICE std::int64_t row(std::int64_t k) const { return k; }
  WBM_DEVICE std::int64_t column(std::int64_t) const { return index; }

  template <typename Value, typename Combine>
  WBM_DEVICE Value reduce(Value value, Combine combine) const {
    return tile_reduce(value, combine);
  }
  template <typename Value, typename Combine>
  WBM_DEVICE Value reduce_all(Value value, Combine combine) const {
    WBM_SHARED(Value, result, kTileColumns);
    value = tile_reduce(value, combine);
    if (thread_y() == 0) result[thread_x()] = value;
    block_barrier();  // the next one to write has passed the barriers of tile_reduce, hence everyone has read
    return result[thread_x()];
  }
};

// For the thread that leads.
template <typename Line>
WBM_DEVICE double line_sum(const Line& line, double value) {
  return line.reduce(value, Sum{});
}

// The line's own side of a problem, and the other one.
template <typename Line, typename T>
struct LineView {
  const AdjointView<T>& view;
  const Marginal &mine, &other;
  const SideArrays &arrays, &other_arrays;

  WBM_DEVICE explicit LineView(const AdjointView<T>& view_)
      : view(view_), mine(Line::kRows ? view.rows : view.columns), other(Line::kRows ? view.columns : view.rows),
        arrays(Line::kRows ? view.row : view.column), other_arrays(Line::kRows ? view.column : view.row) {}

  // potential of entry k of the line minus D, -inf where the pair is forbidden
  WBM_DEVICE double exponent(const Line& line, std::int64_t k, double potential) const {
    return view.matrix.exponent(line.row(k), line.column(k), potential);
  }
  WBM_DEVICE double cost(const Line& line, std::int64_t k) const { return view.matrix.at(line.row(k), line.column(k)); }
  WBM_DEVICE double& entry(const Line& line, std::int64_t k) const {
    return view.entries[line.row(k) * view.m + line.column(k)];
  }
};

}  // namespace wbm::cuda
