// A point cloud in the order of a k-d tree: what lies together stands together, in boxes.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/kernels/cloud.h"

namespace wbm::cpu {

struct CloudNode {
  std::int32_t begin, end;          // points; begin is a multiple of kCloudLanes
  std::int32_t left = -1, right = -1;  // children; -1: a leaf
};

class Cloud {
 public:
  static constexpr std::int64_t kLeaf = kCloudLanes;  // most points of a leaf

  // points: (n, dimension), masses (n) > 0. Both are copied, in the order of the tree.
  Cloud(const double* points, const double* masses, std::int64_t n, std::int64_t dimension);

  std::int64_t n, dimension, padded;  // padded: n up to a multiple of kCloudLanes
  std::vector<std::int64_t> order;    // place in the caller's arrays of point k of the tree
  std::vector<double> points;         // (n, dimension)
  std::vector<double> coordinates;    // (dimension, padded); the padding repeats the last point
  std::vector<double> masses;         // (n)
  std::vector<CloudNode> nodes;       // parents before children; 0 is the root
  std::vector<std::int32_t> leaves;   // in the order of their points
  std::vector<double> low, high;      // (nodes, dimension) boxes

  const double* point(std::int64_t k) const { return &points[k * dimension]; }

  // Ranges of points that cover the cloud in order, each with a mean squared radius of at most `square`; by nodes, and by
  // single points where a leaf is larger.
  std::vector<CloudRange> cut_by_radius(double square) const;
  // At most `most` nodes, the largest split first.
  std::vector<CloudRange> cut_by_count(std::int64_t most) const;

  // Centroids and masses of a cut as a cloud of its own.
  Cloud coarsened(const std::vector<CloudRange>& cut) const;

  // Squared distance of the nearest points of two boxes.
  static double nearest(const Cloud& x, std::int32_t i, const Cloud& y, std::int32_t j);

 private:
  double spread(std::int32_t node) const;  // mean squared distance from the centroid, by mass
};

}  // namespace wbm::cpu
