#include "cpu/cloud/tree.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <queue>
#include <utility>

namespace wbm::cpu {

Cloud::Cloud(const double* given, const double* given_masses, std::int64_t count, std::int64_t dimension_)
    : n(count), dimension(dimension_), padded((count + kCloudLanes - 1) / kCloudLanes * kCloudLanes), order(count) {
  std::iota(order.begin(), order.end(), 0);
  const auto at = [&](std::int64_t place, std::int64_t c) { return given[place * dimension + c]; };
  nodes.push_back({0, static_cast<std::int32_t>(n)});
  for (std::size_t k = 0; k < nodes.size(); ++k) {
    const CloudNode node = nodes[k];
    std::int64_t widest = 0;
    double width = -1.0;
    for (std::int64_t c = 0; c < dimension; ++c) {
      double least = std::numeric_limits<double>::infinity(), most = -least;
      for (std::int32_t i = node.begin; i < node.end; ++i) {
        least = std::min(least, at(order[i], c));
        most = std::max(most, at(order[i], c));
      }
      low.push_back(least);
      high.push_back(most);
      if (most - least > width) width = most - least, widest = c;
    }
    if (node.end - node.begin <= kLeaf) continue;
    const std::int64_t half = (node.end - node.begin) / 2;
    const std::int32_t middle = node.begin + static_cast<std::int32_t>((half + kCloudLanes - 1) / kCloudLanes * kCloudLanes);
    std::nth_element(order.begin() + node.begin, order.begin() + middle, order.begin() + node.end,
                     [&](std::int64_t p, std::int64_t q) {  // places break ties: the tree depends on the points alone
                       return std::make_pair(at(p, widest), p) < std::make_pair(at(q, widest), q);
                     });
    nodes[k].left = static_cast<std::int32_t>(nodes.size());
    nodes.push_back({node.begin, middle});
    nodes[k].right = static_cast<std::int32_t>(nodes.size());
    nodes.push_back({middle, node.end});
  }
  for (std::size_t k = 0; k < nodes.size(); ++k)
    if (nodes[k].left < 0) leaves.push_back(static_cast<std::int32_t>(k));
  std::sort(leaves.begin(), leaves.end(), [&](std::int32_t p, std::int32_t q) { return nodes[p].begin < nodes[q].begin; });
  points.resize(n * dimension);
  coordinates.resize(dimension * padded);
  masses.resize(n);
  for (std::int64_t k = 0; k < n; ++k) {
    masses[k] = given_masses[order[k]];
    for (std::int64_t c = 0; c < dimension; ++c) points[k * dimension + c] = at(order[k], c);
  }
  for (std::int64_t c = 0; c < dimension; ++c)
    for (std::int64_t k = 0; k < padded; ++k) coordinates[c * padded + k] = points[std::min(k, n - 1) * dimension + c];
}

double Cloud::spread(std::int32_t which) const {
  const CloudNode& node = nodes[which];
  double mass = 0.0, out = 0.0;
  for (std::int32_t i = node.begin; i < node.end; ++i) mass += masses[i];
  for (std::int64_t c = 0; c < dimension; ++c) {
    double mean = 0.0, square = 0.0;
    for (std::int32_t i = node.begin; i < node.end; ++i) mean += masses[i] / mass * points[i * dimension + c];
    for (std::int32_t i = node.begin; i < node.end; ++i) {
      const double x = points[i * dimension + c] - mean;
      square += masses[i] / mass * x * x;
    }
    out += square;
  }
  return out;
}

std::vector<CloudRange> Cloud::cut_by_radius(double square) const {
  std::vector<CloudRange> out;
  std::vector<std::int32_t> stack{0};
  while (!stack.empty()) {
    const std::int32_t k = stack.back();
    const CloudNode& node = nodes[k];
    stack.pop_back();
    if (spread(k) <= square) {
      out.push_back({node.begin, node.end});
    } else if (node.left < 0) {
      for (std::int32_t i = node.begin; i < node.end; ++i) out.push_back({i, i + 1});
    } else {
      stack.push_back(node.right);
      stack.push_back(node.left);
    }
  }
  return out;
}

std::vector<CloudRange> Cloud::cut_by_count(std::int64_t most) const {
  std::vector<CloudRange> out;
  const auto smaller = [&](std::int32_t p, std::int32_t q) {
    return std::make_pair(nodes[p].end - nodes[p].begin, -p) < std::make_pair(nodes[q].end - nodes[q].begin, -q);
  };
  std::priority_queue<std::int32_t, std::vector<std::int32_t>, decltype(smaller)> open(smaller);
  open.push(0);
  while (!open.empty()) {
    const std::int32_t k = open.top();
    open.pop();
    if (nodes[k].left < 0 || static_cast<std::int64_t>(out.size() + open.size()) + 2 > most) {
      out.push_back({nodes[k].begin, nodes[k].end});
      continue;
    }
    open.push(nodes[k].left);
    open.push(nodes[k].right);
  }
  std::sort(out.begin(), out.end(), [](const CloudRange& p, const CloudRange& q) { return p.begin < q.begin; });
  return out;
}

Cloud Cloud::coarsened(const std::vector<CloudRange>& cut) const {
  const auto size = static_cast<std::int64_t>(cut.size());
  std::vector<double> centroids(size * dimension, 0.0), mass(size, 0.0);
  for (std::int64_t k = 0; k < size; ++k) {
    for (std::int32_t i = cut[k].begin; i < cut[k].end; ++i) mass[k] += masses[i];
    for (std::int32_t i = cut[k].begin; i < cut[k].end; ++i)
      for (std::int64_t c = 0; c < dimension; ++c) centroids[k * dimension + c] += masses[i] / mass[k] * point(i)[c];
  }
  return Cloud(centroids.data(), mass.data(), size, dimension);
}

double Cloud::nearest(const Cloud& x, std::int32_t i, const Cloud& y, std::int32_t j) {
  double out = 0.0;
  for (std::int64_t c = 0; c < x.dimension; ++c) {
    const double gap = std::max({x.low[i * x.dimension + c] - y.high[j * x.dimension + c],
                                 y.low[j * x.dimension + c] - x.high[i * x.dimension + c], 0.0});
    out += gap * gap;
  }
  return out;
}

}  // namespace wbm::cpu
