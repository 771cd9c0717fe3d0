// The shapes of the launches over a batch.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/runtime/device.cuh"
#include "cuda/runtime/reduce.cuh"
#include "problem.h"

namespace wbm::cuda {

inline constexpr std::int64_t kRowThreads = 128;

inline Extent grid(std::int64_t x, std::int64_t y = 1) {
  return {static_cast<unsigned>(std::clamp<std::int64_t>(x, 1, kMaxGridX)),
          static_cast<unsigned>(std::clamp<std::int64_t>(y, 1, kMaxGridY))};
}

// A one-dimensional block for `count` values: whole warps, at most `limit` threads.
inline Extent block(std::int64_t count, std::int64_t limit) {
  const std::int64_t whole = std::min(count, limit) + kWarp - 1;
  return {static_cast<unsigned>(std::max<std::int64_t>(whole / kWarp * kWarp, kWarp)), 1};
}

template <typename T>
struct Type {
  using Value = T;
};

// call(Type<T>) with the type of D.
template <typename Call>
void by_type_of_cost(const Problem& problem, const Call& call) {
  if (problem.bits16 == Bits16::float16) return call(Type<Half>{});
  if (problem.bits16 == Bits16::bfloat16) return call(Type<Bfloat16>{});
  problem.float64 ? call(Type<double>{}) : call(Type<float>{});
}

// A block per problem, a block per row, a tile per kTileColumns columns.
template <typename Values>
class Launcher {
 public:
  using Kernel = void (*)(Values);

  Launcher(const Problem& problem, const Values& values, void* stream)
      : batch_(problem.batch), n_(problem.n), m_(problem.m), values_(values), stream_(stream) {}

  void problems(Kernel kernel) const {
    launch(kernel, grid(batch_), block(std::max(n_, m_), kMaxThreads), values_, stream_);
  }
  void rows(Kernel kernel) const { launch(kernel, grid(n_, batch_), block(m_, kRowThreads), values_, stream_); }
  void columns(Kernel kernel) const {
    const std::int64_t tiles = (m_ + kTileColumns - 1) / kTileColumns;
    launch(kernel, grid(tiles, batch_), Extent{kTileColumns, kTileRows}, values_, stream_);
  }

 private:
  const std::int64_t batch_, n_, m_;
  const Values values_;
  void* const stream_;
};

}  // namespace wbm::cuda
