// The order in which a sparse symmetric matrix is eliminated.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/runtime/interrupt.h"

namespace wbm {

// A graph by rows: the neighbours of vertex v are adjacent[start[v] .. start[v + 1]).
struct Graph {
  std::vector<std::int64_t> start;
  std::vector<std::int32_t> adjacent;
  std::int64_t size() const { return static_cast<std::int64_t>(start.size()) - 1; }
};

// Vertex order[s] is eliminated at step s. The first `sparse` of them leave columns of L with entries in the rows
// index[start[s] .. start[s + 1]), as positions, ascending; the rest has filled up and is one dense front.
struct EliminationOrder {
  std::vector<std::int32_t> order, position;
  std::int64_t sparse = 0;
  std::vector<std::int64_t> start;
  std::vector<std::int32_t> index;
  double flops = 0.0;  // of a factor, the front included
};

// Minimum degree on the quotient graph (Amestoy, Davis and Duff 1996: an eliminated vertex becomes an element, the clique of
// its neighbours, and degrees are bounded by what each element has outside of the newest one). Ends where the least degree
// exceeds `full` times the vertices left. Memory: the graph and L. Interrupted it ends anywhere: the order is then of no use.
EliminationOrder minimum_degree(const Graph& graph, double full, Interrupt* interrupt);

}  // namespace wbm
