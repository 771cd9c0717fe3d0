#include "cpu/linear/elimination_order.h"

#include <algorithm>
#include <numeric>

namespace wbm {
namespace {

// Vertices by degree, in doubly linked lists.
class DegreeLists {
 public:
  explicit DegreeLists(std::int64_t size) : head_(size + 1, -1), next_(size, -1), before_(size, -1), degree_(size, 0) {}

  void insert(std::int32_t v, std::int32_t degree) {
    degree_[v] = degree;
    next_[v] = head_[degree];
    before_[v] = -1;
    if (next_[v] >= 0) before_[next_[v]] = v;
    head_[degree] = v;
    least_ = std::min(least_, degree);
  }
  void remove(std::int32_t v) {
    (before_[v] >= 0 ? next_[before_[v]] : head_[degree_[v]]) = next_[v];
    if (next_[v] >= 0) before_[next_[v]] = before_[v];
  }
  std::int32_t degree(std::int32_t v) const { return degree_[v]; }
  std::int32_t least() {
    while (head_[least_] < 0) ++least_;
    return head_[least_];
  }

 private:
  std::vector<std::int32_t> head_, next_, before_, degree_;
  std::int32_t least_ = 0;
};

}  // namespace

EliminationOrder minimum_degree(const Graph& graph, double full, Interrupt* interrupt) {
  const std::int64_t size = graph.size();
  EliminationOrder out;
  out.position.assign(size, -1);
  out.start.push_back(0);
  // Of vertex v: first the elements it belongs to (steps), then the neighbours that no element covers. A step takes away at
  // least as many as it adds.
  std::vector<std::int32_t> list = graph.adjacent;
  std::vector<std::int32_t> elements(size, 0), neighbours(size), tag(size, -1), seen(size, -1), outside(size), uncovered;
  std::vector<std::uint8_t> alive(size, 0);  // of elements
  DegreeLists degrees(size);
  for (std::int64_t v = size; v-- > 0;) {
    neighbours[v] = static_cast<std::int32_t>(graph.start[v + 1] - graph.start[v]);
    degrees.insert(static_cast<std::int32_t>(v), neighbours[v]);
  }
  std::vector<std::int32_t>& index = out.index;
  for (std::int32_t step = 0; step < size; ++step) {
    const std::int32_t pivot = degrees.least(), degree = degrees.degree(pivot);
    if (degree > 4 && degree > full * static_cast<double>(size - step)) break;
    if (step % 64 == 0 && raised(interrupt)) break;
    degrees.remove(pivot);
    out.position[pivot] = step;
    out.order.push_back(pivot);
    tag[pivot] = step;
    // The new element: what the pivot and its elements, which it absorbs, are adjacent to.
    const std::int64_t first = static_cast<std::int64_t>(index.size());
    const auto add = [&](std::int32_t v) {
      if (out.position[v] >= 0 || tag[v] == step) return;
      tag[v] = step;
      index.push_back(v);
    };
    const std::int32_t* own = list.data() + graph.start[pivot];
    for (std::int32_t k = 0; k < neighbours[pivot]; ++k) add(own[elements[pivot] + k]);
    for (std::int32_t k = 0; k < elements[pivot]; ++k) {
      const std::int32_t e = own[k];
      if (!alive[e]) continue;
      for (std::int64_t q = out.start[e]; q < out.start[e + 1]; ++q) add(index[q]);
      alive[e] = 0;
    }
    const std::int64_t last = static_cast<std::int64_t>(index.size());
    const std::int32_t count = static_cast<std::int32_t>(last - first);
    out.start.push_back(last);
    alive[step] = 1;
    out.flops += static_cast<double>(count) * (count + 1.0);
    // outside[e] = what element e has outside of the new one
    for (std::int64_t q = first; q < last; ++q) {
      const std::int32_t* of = list.data() + graph.start[index[q]];
      for (std::int32_t k = 0; k < elements[index[q]]; ++k) {
        const std::int32_t e = of[k];
        if (!alive[e]) continue;
        if (seen[e] != step) {
          seen[e] = step;
          outside[e] = static_cast<std::int32_t>(out.start[e + 1] - out.start[e]);
        }
        --outside[e];
      }
    }
    for (std::int64_t q = first; q < last; ++q) {
      const std::int32_t v = index[q];
      std::int32_t* of = list.data() + graph.start[v];
      uncovered.clear();
      for (std::int32_t k = elements[v]; k < elements[v] + neighbours[v]; ++k)
        if (tag[of[k]] != step && out.position[of[k]] < 0) uncovered.push_back(of[k]);
      std::int64_t now = count - 1 + static_cast<std::int64_t>(uncovered.size());
      std::int32_t kept = 0;
      for (std::int32_t k = 0; k < elements[v]; ++k) {
        const std::int32_t e = of[k];
        if (!alive[e]) continue;
        if (outside[e] == 0) {  // the new element holds all of it
          alive[e] = 0;
          continue;
        }
        now += outside[e];
        of[kept++] = e;
      }
      of[kept++] = step;
      elements[v] = kept;
      neighbours[v] = static_cast<std::int32_t>(uncovered.size());
      std::copy(uncovered.begin(), uncovered.end(), of + kept);
      degrees.remove(v);
      const std::int64_t most = std::min<std::int64_t>(degrees.degree(v) + count - 1, size - step - 2);
      degrees.insert(v, static_cast<std::int32_t>(std::max<std::int64_t>(std::min(now, most), 0)));
    }
  }
  out.sparse = static_cast<std::int64_t>(out.order.size());
  for (std::int32_t v = 0; v < size; ++v)
    if (out.position[v] < 0) {
      out.position[v] = static_cast<std::int32_t>(out.order.size());
      out.order.push_back(v);
    }
  for (std::int32_t& v : index) v = out.position[v];
  for (std::int64_t s = 0; s < out.sparse; ++s) std::sort(index.begin() + out.start[s], index.begin() + out.start[s + 1]);
  const double front = static_cast<double>(size - out.sparse);
  out.flops += front * front * front / 3.0;
  return out;
}

}  // namespace wbm
