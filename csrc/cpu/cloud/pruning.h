// Which columns a leaf of rows has to look at: those whose plan entries, or share of a log-sum, may count.
//
// A potential varies over a box about as its gradient says, by 2 |x - y| times the box's width, which is many epsilon. So each box
// has an affine majorant, g_j <= top + slope'(y_j - centre) for its points, and with D_ij = |x_i - y_j|^2 the largest
// f_i + g_j - D_ij of two boxes is bounded by a maximum that separates by coordinates:
//
//     top_x + top_y + sum_c max over the boxes of p_c (x_c - centre_c) + s_c (y_c - centre_c) - (x_c - y_c)^2.
#pragma once

#include <vector>

#include "cpu/cloud/tree.h"

namespace wbm::cpu {

// D of two points: |x - y|^2, or |x - y| where `euclidean`.
struct CloudCost {
  bool euclidean;
  double operator()(double square) const;
};

// Affine majorants of a value a point, on each node of a cloud; constants where the cost is not squared.
class Majorant {
 public:
  Majorant() = default;
  Majorant(const Cloud& cloud, const std::vector<double>& value, CloudCost cost);

  // The majorant of one leaf alone.
  void set_leaf(const Cloud& cloud, std::int32_t leaf, const double* value, CloudCost cost);

  std::vector<double> centre, slope, top;  // (nodes, dimension), (nodes, dimension), (nodes)

 private:
  void set(const Cloud& cloud, std::int32_t node, const double* value, CloudCost cost, std::int64_t slot);
};

// Clouds of more dimensions are not pruned: boxes say nothing there.
inline constexpr std::int64_t kPrunedDimensions = 8;

// Ranges of y's groups in which some exponent (f_i + g_j - D_ij) / eps may exceed `cut` for a row of `leaf` of x; `left_out` takes
// the bound of the plan mass of all other pairs.
void plan_ranges(const Cloud& x, std::int32_t leaf, const Majorant& f, const Cloud& y, const Majorant& g, CloudCost cost,
                 double inverse_epsilon, double cut, std::vector<CloudRange>& ranges, double& left_out);

// Ranges that hold all of sum_j exp((g_j - D_ij) / eps) but a share below 1e-17 m, for every row of the leaf.
void softmin_ranges(const Cloud& x, std::int32_t leaf, const Cloud& y, const double* g, const Majorant& g_bound, CloudCost cost,
                    double epsilon, std::vector<CloudRange>& ranges);

}  // namespace wbm::cpu
