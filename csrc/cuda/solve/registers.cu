// Kernels of the regime `registers`, one a size of tile.
#include "cuda/solve/registers.h"

#include <algorithm>
#include <cstdint>

#include "cuda/runtime/launches.cuh"
#include "cuda/solve/registers.cuh"

namespace wbm::cuda {
namespace {

template <typename Tile>
void enqueue(const RegisterArguments& args, void* stream) {
  Shape shape{grid(args.all.problem.batch), {Tile::kThreads, 1}};
  shape.shared = Tile::kShared + Tile::kThreads * RegisterIterations<Tile, true>::kOwnPlaces * sizeof(float);
  launch(solve_in_registers<Tile>, shape, args, stream);
}

CostType type_of(const Problem& problem) {
  if (problem.bits16 == Bits16::float16) return CostType::float16;
  return problem.bits16 == Bits16::bfloat16 ? CostType::bfloat16 : CostType::float32;
}

}  // namespace

void enqueue_in_registers(const Problem& problem, const Options& options, const Solution& solution, const Workspace& work,
                          void* stream) {
  const RegisterArguments args{{problem, options, solution, work}, type_of(problem)};
  const std::int64_t side = std::max(problem.n, problem.m);
  if (side <= Tile32::kN) return enqueue<Tile32>(args, stream);
  if (side <= Tile64::kN) return enqueue<Tile64>(args, stream);
  if (side <= Tile128::kN) return enqueue<Tile128>(args, stream);
  if (side <= Tile192::kN) return enqueue<Tile192>(args, stream);
  enqueue<Tile224>(args, stream);
}

}  // namespace wbm::cuda
