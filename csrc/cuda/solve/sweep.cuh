// One iteration's read of the kernel matrix: rows are dotted with the column weights, each dot gives the row's new scale, and
// scale x row is added to the column sums while the row is still in registers.
//
// A team of kWidth threads (one warp, or the block where a row is too long for that) takes R rows at a time; thread k of the
// team holds columns k, k + kWidth, ... of each, kHold numbers in all. Longer rows are kept in shared memory where they fit,
// else read twice. Sums have fixed trees.
#pragma once

#include "cuda/solve/iterates.cuh"
#include "cuda/solve/line_update.cuh"
#include "cuda/runtime/reduce.cuh"

namespace wbm::cuda {

WBM_DEVICE float exponential(float x) { return expf(x); }
WBM_DEVICE double exponential(double x) { return exp(x); }

// The rows of one block; every array begins at the first of them. What belongs to the entries comes apart, as small structs by
// value: then a sweep, a function of its own, gets all of it in registers.
struct SweepRows {
  int count, m;
  const State* state;
  const double *mass, *log_mass;
  const std::uint8_t* active;
  const RowIterate* present;
  RowIterate* next;
  double shift;
};

// K in shared memory; the weights are v.
template <typename T>
struct StoredEntries {
  static constexpr bool streamed = false;
  Shared<T> kernel, weights;
  int m;

  struct Source {
    unsigned kernel, weights;  // bytes into the dynamic shared memory
  };
  WBM_DEVICE StoredEntries(const Source& source, const SweepRows& rows)
      : kernel(dynamic_shared<T>(source.kernel)), weights(dynamic_shared<T>(source.weights)), m(rows.m) {}

  using Row = int;
  using Column = T;  // its weight
  WBM_DEVICE Row row(int i) const { return i * m; }
  WBM_DEVICE Column column(int j) const { return weights[j]; }
  WBM_DEVICE T at(Row row, int, int j, Column) const { return kernel[row + j]; }
  WBM_DEVICE T weighted(T entry, Column weight) const { return entry * weight; }
};

// K_ij b_j = exp(base_i + base_j - D_ij / eps) from D itself; the weights are 1. The exponent is float64.
template <typename T, typename S>
struct StreamedEntries {
  static constexpr bool streamed = true;
  Matrix<T> matrix;
  const RowIterate* rows;
  const double* column_base;
  double inverse_epsilon;

  struct Source {
    Matrix<T> matrix;
    const double* column_base;
  };
  WBM_DEVICE StreamedEntries(const Source& source, const SweepRows& rows)
      : matrix(source.matrix), rows(rows.present), column_base(source.column_base),
        inverse_epsilon(rows.state->inverse_epsilon) {}

  using Row = double;
  using Column = double;  // its base
  WBM_DEVICE Row row(int i) const { return rows[i].base; }
  WBM_DEVICE Column column(int j) const { return column_base[j]; }
  WBM_DEVICE S at(Row row, int i, int j, Column base) const {
    const double exponent = matrix.allows(i, j) ? row + base - matrix.at(i, j) * inverse_epsilon : -kInf;
    return exponential(static_cast<S>(exponent));
  }
  WBM_DEVICE S weighted(S entry, Column) const { return entry; }
};

// The f update of one row; its owner writes it into the other copy.
template <typename S, typename Entries>
WBM_DEVICE S update_row(const SweepRows& rows, int i, S sum, bool owner) {
  if (!rows.active[i]) {
    if (owner) rows.next[i] = {-kInf, 0.0, 0.0, 0.0};
    return 0;
  }
  const double base = rows.present[i].base, mass = rows.mass[i], log_mass = rows.log_mass[i];
  const double s = static_cast<double>(sum);
  const LineUpdate next = update_line(rows.state->rows, mass, log_mass, base + rows.shift, s, rows.state->inverse_epsilon);
  if (owner)
    rows.next[i] = Entries::streamed ? RowIterate{base + log(next.scale) - log_mass, mass, next.target, s}
                                     : RowIterate{base, next.scale, next.target, s};
  return static_cast<S>(next.scale);
}

// Every lane's R sums over its warp; lane k returns that of row k % R.
template <int R, typename S>
WBM_DEVICE S warp_sums(S (&values)[R]) {
  S mine = 0;
  const int row = thread_x() % kWarp % R;
  WBM_UNROLL
  for (int r = 0; r < R; ++r) {
    WBM_UNROLL
    for (int bits = kWarp / 2; bits > 0; bits /= 2) values[r] += shuffle_xor(values[r], bits);
    if (r == row) mine = values[r];
  }
  return mine;
}

// The same over the whole block, warp after warp. `buffer` holds two turns, so that one barrier is enough.
template <int R, typename S>
WBM_DEVICE S block_sums(S (&values)[R], Shared<S> buffer, int turn) {
  const int lane = thread_x() % kWarp, warps = threads_x() / kWarp;
  const S mine = warp_sums(values);
  const int first = turn % 2 * warps * R;
  if (lane < R) buffer[first + thread_x() / kWarp * R + lane] = mine;
  block_barrier();
  S total = 0;
  for (int warp = 0; warp < warps; ++warp) total += buffer[first + warp * R + lane % R];
  return total;
}

// The column sums of a block whose warps each hold one of their own: `sums` are those of columns lane, lane + 32, ...
template <int H, typename S, typename Window>
WBM_DEVICE void add_warps(const S (&sums)[H], int m, Shared<S> buffer, Window partial) {
  constexpr int kTurn = H < kBufferColumns / kWarp ? H : kBufferColumns / kWarp, kWidth = kTurn * kWarp;
  const int warp = thread_x() / kWarp, lane = thread_x() % kWarp, warps = threads_x() / kWarp;
  WBM_UNROLL
  for (int h = 0; h < H; h += kTurn) {
    if (h * kWarp >= m) break;
    block_barrier();  // what was read before is done with
    WBM_UNROLL
    for (int k = 0; k < kTurn; ++k)
      if (h + k < H) buffer[warp * kWidth + k * kWarp + lane] = sums[h + k];
    block_barrier();
    for (int k = thread_x(); k < kWidth && h * kWarp + k < m; k += threads_x()) {
      S total = 0;
      for (int w = 0; w < warps; ++w) total += buffer[w * kWidth + k];
      partial[h * kWarp + k] = static_cast<double>(total);
    }
  }
}

template <int kWidth, int R, typename S, typename Entries, typename Window>
WBM_FUNCTION void sweep_held(SweepRows rows, typename Entries::Source source, Window partial) {
  constexpr int H = kHold<S, Entries::streamed> / R;
  constexpr bool kWholeBlock = kWidth != kWarp;
  const Entries entries(source, rows);
  const Shared<S> buffer = dynamic_shared<S>(kBuffer);
  const int place = kWholeBlock ? thread_x() : thread_x() % kWidth, lane = thread_x() % kWarp, m = rows.m;
  const int team = kWholeBlock ? 0 : thread_x() / kWidth, step = kWholeBlock ? R : threads_x() / kWidth * R;
  S sums[H] = {};
  int turn = 0;
  for (int tile = 0; tile < rows.count; tile += step, ++turn) {
    const int first = tile + team * R, here = rows.count - first < R ? rows.count - first : R;  // rows of this team; may be < 1
    S held[R][H], dots[R];
    typename Entries::Row row[R];
    WBM_UNROLL
    for (int r = 0; r < R; ++r) {
      dots[r] = 0;
      row[r] = r < here ? entries.row(first + r) : typename Entries::Row(0);
    }
    WBM_UNROLL
    for (int h = 0; h < H; ++h) {
      const int j = place + h * kWidth;
      const auto column = j < m ? entries.column(j) : typename Entries::Column(0);
      WBM_UNROLL
      for (int r = 0; r < R; ++r) {
        held[r][h] = j < m && r < here ? entries.at(row[r], first + r, j, column) : S(0);
        dots[r] += entries.weighted(held[r][h], column);
      }
    }
    S s;
    if constexpr (kWholeBlock) {
      s = block_sums(dots, buffer, turn);
    } else {
      s = warp_sums(dots);
    }
    const int mine = lane % R;
    const S scale = mine < here ? update_row<S, Entries>(rows, first + mine, s, place < R) : S(0);
    WBM_UNROLL
    for (int r = 0; r < R; ++r) {
      const S factor = shuffle(scale, r);
      WBM_UNROLL
      for (int h = 0; h < H; ++h) sums[h] += held[r][h] * factor;
    }
  }
  if constexpr (!kWholeBlock) {
    add_warps(sums, m, buffer, partial);
  } else {
    WBM_UNROLL
    for (int h = 0; h < H; ++h)
      if (place + h * kWidth < m) partial[place + h * kWidth] = static_cast<double>(sums[h]);
  }
}

// Rows in shared memory, R at a time, behind the sums of the columns: every thread reads what it has written itself. Four
// entries of a thread are on their way at a time; more would spill.
template <int R, typename S, typename Entries, typename Window>
WBM_FUNCTION void sweep_kept(const SweepRows& rows, typename Entries::Source source, unsigned place, Window partial) {
  constexpr int C = 4 / R;  // columns at a time
  const Entries entries(source, rows);
  const Shared<S> buffer = dynamic_shared<S>(kBuffer), sums = dynamic_shared<S>(place), saved = sums + rows.m;
  const int m = rows.m, mine = thread_x() % kWarp % R;
  for (int j = thread_x(); j < m; j += threads_x()) sums[j] = 0;
  int turn = 0;
  for (int first = 0; first < rows.count; first += R, ++turn) {
    const int here = rows.count - first < R ? rows.count - first : R;
    typename Entries::Row row[R];
    S dots[R], factors[R];
    WBM_UNROLL
    for (int r = 0; r < R; ++r) {
      dots[r] = 0;
      row[r] = entries.row(first + (r < here ? r : 0));
    }
    WBM_ROLLED
    for (int k = thread_x(); k < m; k += C * threads_x()) {
      S entry[C][R];
      WBM_UNROLL
      for (int c = 0; c < C; ++c) {
        const int j = k + c * threads_x();
        const auto column = j < m ? entries.column(j) : typename Entries::Column(0);
        WBM_UNROLL
        for (int r = 0; r < R; ++r) {
          entry[c][r] = j < m && r < here ? entries.at(row[r], first + r, j, column) : S(0);
          dots[r] += entries.weighted(entry[c][r], column);
        }
      }
      WBM_UNROLL
      for (int c = 0; c < C; ++c) {
        const int j = k + c * threads_x();
        WBM_UNROLL
        for (int r = 0; r < R; ++r)
          if (j < m) saved[r * m + j] = entry[c][r];
      }
    }
    const S s = block_sums(dots, buffer, turn);
    const S scale = mine < here ? update_row<S, Entries>(rows, first + mine, s, thread_x() < R) : S(0);
    WBM_UNROLL
    for (int r = 0; r < R; ++r) factors[r] = shuffle(scale, r);
    WBM_ROLLED
    for (int j = thread_x(); j < m; j += threads_x()) {
      S sum = sums[j];
      WBM_UNROLL
      for (int r = 0; r < R; ++r) sum += saved[r * m + j] * factors[r];
      sums[j] = sum;
    }
  }
  for (int j = thread_x(); j < m; j += threads_x()) partial[j] = static_cast<double>(sums[j]);
}

// Rows that a block can hold nowhere: each is read twice, the second time from a cache.
template <typename S, typename Entries, typename Window>
WBM_FUNCTION void sweep_long(SweepRows rows, typename Entries::Source source, Window partial) {
  const Entries entries(source, rows);
  const Shared<S> buffer = dynamic_shared<S>(kBuffer);
  for (int j = thread_x(); j < rows.m; j += threads_x()) partial[j] = 0.0;
  int turn = 0;
  for (int i = 0; i < rows.count; ++i, ++turn) {
    const auto row = entries.row(i);
    S dot[1] = {0};
    for (int j = thread_x(); j < rows.m; j += threads_x()) {
      const auto column = entries.column(j);
      dot[0] += entries.weighted(entries.at(row, i, j, column), column);
    }
    const S s = block_sums(dot, buffer, turn);
    const S scale = update_row<S, Entries>(rows, i, s, thread_x() == 0);
    for (int j = thread_x(); j < rows.m; j += threads_x())
      partial[j] += static_cast<double>(entries.at(row, i, j, entries.column(j)) * scale);
  }
}

template <int kWidth, typename S, typename Entries, typename Window>
WBM_DEVICE void sweep_by(const SweepRows& rows, const typename Entries::Source& source, Window partial) {
  constexpr int kMost = kHold<S, Entries::streamed>;
  const int held = (rows.m + kWidth - 1) / kWidth;
  if (held <= kMost / 4) return sweep_held<kWidth, 4, S, Entries>(rows, source, partial);
  if (held <= kMost / 2) return sweep_held<kWidth, 2, S, Entries>(rows, source, partial);
  if (held <= kMost) return sweep_held<kWidth, 1, S, Entries>(rows, source, partial);
  return sweep_long<S, Entries>(rows, source, partial);
}

// The next row iterates, and the column sums of their scales in `partial` (m): both to be read after a barrier.
template <typename S, typename Entries, typename Window>
WBM_DEVICE void sweep(const SweepRows& rows, const typename Entries::Source& source, Window partial) {
  if (rows.m <= kHold<S, Entries::streamed> * kWarp) return sweep_by<kWarp, S, Entries>(rows, source, partial);
  return sweep_by<kSolveThreads, S, Entries>(rows, source, partial);
}

// The same with rows kept in shared memory: there is room for `kept` of them, at least 1, behind the sums at byte `place`.
template <typename S, typename Entries, typename Window>
WBM_DEVICE void sweep_by_kept(const SweepRows& rows, const typename Entries::Source& source, int saved, unsigned place,
                              Window partial) {
  if (saved >= kMostKept) return sweep_kept<kMostKept, S, Entries>(rows, source, place, partial);
  if (saved >= 2) return sweep_kept<2, S, Entries>(rows, source, place, partial);
  return sweep_kept<1, S, Entries>(rows, source, place, partial);
}

}  // namespace wbm::cuda
