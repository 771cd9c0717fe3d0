#include "cpu/cloud/pruning.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace wbm::cpu {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

void append(std::vector<CloudRange>& ranges, const CloudNode& node) {
  const auto end = static_cast<std::int32_t>((node.end + kCloudLanes - 1) / kCloudLanes * kCloudLanes);
  if (!ranges.empty() && ranges.back().end == node.begin)
    ranges.back().end = end;
  else
    ranges.push_back({node.begin, end});
}

// The leaves of y in order, but for the nodes that keep(node) refuses.
template <typename Keep>
void descend(const Cloud& y, const Keep& keep, std::vector<CloudRange>& ranges) {
  ranges.clear();
  std::int32_t stack[128];
  int top = 0;
  stack[top++] = 0;
  while (top > 0) {
    const std::int32_t k = stack[--top];
    if (!keep(k)) continue;
    const CloudNode& node = y.nodes[k];
    if (node.left < 0) {
      append(ranges, node);
    } else {
      stack[top++] = node.right;
      stack[top++] = node.left;
    }
  }
}

// max over x in [x0, x1], y in [y0, y1] of p x + s y - (x - y)^2: concave, and greatest on an edge.
double largest_on_edges(double p, double s, double x0, double x1, double y0, double y1) {
  const auto clamp = [](double t, double low, double high) { return std::min(std::max(t, low), high); };
  const auto value = [&](double x, double y) { return p * x + s * y - (x - y) * (x - y); };
  const double low = std::max(value(x0, clamp(x0 + 0.5 * s, y0, y1)), value(x1, clamp(x1 + 0.5 * s, y0, y1)));
  const double high = std::max(value(clamp(y0 + 0.5 * p, x0, x1), y0), value(clamp(y1 + 0.5 * p, x0, x1), y1));
  return std::max(low, high);
}

// Bound of f_i + g_j - D_ij for the rows of box i of x (majorant in slot `own` of f) and box j of y.
double pair_bound(const Cloud& x, std::int32_t i, const Majorant& f, std::int64_t own, const Cloud& y, std::int32_t j,
                  const Majorant& g, CloudCost cost) {
  double bound = f.top[own] + g.top[j];
  if (cost.euclidean) return bound - cost(Cloud::nearest(x, i, y, j));
  const std::int64_t d = x.dimension;
  for (std::int64_t c = 0; c < d; ++c) {
    const double p = f.slope[own * d + c], s = g.slope[j * d + c], x_c = f.centre[own * d + c], y_c = g.centre[j * d + c];
    bound += largest_on_edges(p, s, x.low[i * d + c], x.high[i * d + c], y.low[j * d + c], y.high[j * d + c]) - p * x_c - s * y_c;
  }
  return bound;
}

// Bound of g_j - D(point, y_j) for box j of y.
double point_bound(const double* point, const Cloud& y, std::int32_t j, const Majorant& g, CloudCost cost) {
  const std::int64_t d = y.dimension;
  double bound = g.top[j], square = 0.0;
  for (std::int64_t c = 0; c < d; ++c) {
    const double s = g.slope[j * d + c], low = y.low[j * d + c], high = y.high[j * d + c];
    const double best = std::min(std::max(point[c] + 0.5 * s, low), high), away = point[c] - best;
    bound += s * (best - g.centre[j * d + c]);
    square += away * away;
  }
  return bound - cost(square);
}

// max over columns begin .. end - 1 of g_j - D(point, y_j)
double largest_term(const double* point, const Cloud& y, std::int32_t begin, std::int32_t end, const double* g, CloudCost cost) {
  double most = -kInfinity;
  for (std::int32_t j = begin; j < end; ++j) {
    double square = 0.0;
    for (std::int64_t c = 0; c < y.dimension; ++c) square += (point[c] - y.point(j)[c]) * (point[c] - y.point(j)[c]);
    most = std::max(most, g[j] - cost(square));
  }
  return most;
}

// The leaf with the largest g_j - D(point, y_j) of all, by branch and bound.
std::int32_t best_leaf(const double* point, const Cloud& y, const double* g, const Majorant& g_bound, CloudCost cost) {
  struct Open {
    std::int32_t node;
    double bound;
  } stack[128];
  int top = 0;
  stack[top++] = {0, kInfinity};
  double most = -kInfinity;
  std::int32_t best = 0;
  while (top > 0) {
    const Open at = stack[--top];
    if (!(at.bound > most)) continue;
    const CloudNode& node = y.nodes[at.node];
    if (node.left < 0) {
      const double found = largest_term(point, y, node.begin, node.end, g, cost);
      if (found > most) most = found, best = at.node;
      continue;
    }
    Open left{node.left, point_bound(point, y, node.left, g_bound, cost)};
    Open right{node.right, point_bound(point, y, node.right, g_bound, cost)};
    if (left.bound > right.bound) std::swap(left, right);
    stack[top++] = left;  // the better one next
    stack[top++] = right;
  }
  return best;
}

}  // namespace

double CloudCost::operator()(double square) const { return euclidean ? std::sqrt(square) : square; }

Majorant::Majorant(const Cloud& cloud, const std::vector<double>& value, CloudCost cost)
    : centre(cloud.nodes.size() * cloud.dimension, 0.0), slope(centre.size(), 0.0), top(cloud.nodes.size(), -kInfinity) {
  for (std::size_t k = 0; k < cloud.nodes.size(); ++k)
    set(cloud, static_cast<std::int32_t>(k), value.data(), cost, static_cast<std::int64_t>(k));
}

void Majorant::set_leaf(const Cloud& cloud, std::int32_t leaf, const double* value, CloudCost cost) {
  centre.assign(cloud.dimension, 0.0);
  slope.assign(cloud.dimension, 0.0);
  top.assign(1, -kInfinity);
  set(cloud, leaf, value - cloud.nodes[leaf].begin, cost, 0);
}

// Slopes by regression, coordinate by coordinate; any slope gives a majorant.
void Majorant::set(const Cloud& cloud, std::int32_t which, const double* value, CloudCost cost, std::int64_t slot) {
  const CloudNode& node = cloud.nodes[which];
  const std::int64_t d = cloud.dimension;
  double *middle = &centre[slot * d], *rise = &slope[slot * d];
  if (!cost.euclidean && d <= kPrunedDimensions) {
    const double count = node.end - node.begin;
    double mean = 0.0;
    for (std::int32_t i = node.begin; i < node.end; ++i) {
      mean += value[i] / count;
      for (std::int64_t c = 0; c < d; ++c) middle[c] += cloud.point(i)[c] / count;
    }
    for (std::int64_t c = 0; c < d; ++c) {
      double square = 0.0, product = 0.0;
      for (std::int32_t i = node.begin; i < node.end; ++i) {
        const double away = cloud.point(i)[c] - middle[c];
        square += away * away;
        product += away * (value[i] - mean);
      }
      rise[c] = square > 0.0 && std::isfinite(product / square) ? product / square : 0.0;
    }
  }
  for (std::int32_t i = node.begin; i < node.end; ++i) {
    double rest = value[i];
    for (std::int64_t c = 0; c < d; ++c) rest -= rise[c] * (cloud.point(i)[c] - middle[c]);
    top[slot] = std::max(top[slot], rest);
  }
}

void plan_ranges(const Cloud& x, std::int32_t leaf, const Majorant& f, const Cloud& y, const Majorant& g, CloudCost cost,
                 double inverse_epsilon, double cut, std::vector<CloudRange>& ranges, double& left_out) {
  if (x.dimension > kPrunedDimensions) {
    ranges.assign(1, {0, static_cast<std::int32_t>(y.padded)});
    return;
  }
  const double rows = x.nodes[leaf].end - x.nodes[leaf].begin;
  descend(
      y,
      [&](std::int32_t k) {
        const double bound = pair_bound(x, leaf, f, leaf, y, k, g, cost) * inverse_epsilon;
        if (bound > cut) return true;
        left_out += rows * (y.nodes[k].end - y.nodes[k].begin) * std::exp(bound);
        return false;
      },
      ranges);
}

void softmin_ranges(const Cloud& x, std::int32_t leaf, const Cloud& y, const double* g, const Majorant& g_bound, CloudCost cost,
                    double epsilon, std::vector<CloudRange>& ranges) {
  if (x.dimension > kPrunedDimensions) {
    ranges.assign(1, {0, static_cast<std::int32_t>(y.padded)});
    return;
  }
  constexpr double kNothing = 40.0;  // e-folds below the largest term
  // The best leaf of y for one row has good columns for its neighbours: their terms bound each row's largest from below.
  thread_local Majorant least;
  thread_local std::vector<double> best;
  const CloudNode& rows = x.nodes[leaf];
  const CloudNode& near = y.nodes[best_leaf(x.point((rows.begin + rows.end) / 2), y, g, g_bound, cost)];
  best.resize(rows.end - rows.begin);
  for (std::int32_t i = rows.begin; i < rows.end; ++i)
    best[i - rows.begin] = -largest_term(x.point(i), y, near.begin, near.end, g, cost);
  least.set_leaf(x, leaf, best.data(), cost);
  descend(
      y, [&](std::int32_t k) { return pair_bound(x, leaf, least, 0, y, k, g_bound, cost) >= -kNothing * epsilon; }, ranges);
}

}  // namespace wbm::cpu
