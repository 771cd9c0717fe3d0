#include "cpu/cloud/clusters.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cpu/kernels/kernels.h"

namespace wbm::cpu {
namespace {

constexpr std::int64_t kLinks = 6;         // of each row's first column to the next ones
constexpr std::int64_t kClusters = 1024;   // aimed at
constexpr std::int64_t kLeastMembers = 32, kMostMembers = 128;
constexpr std::size_t kWideRow = 128;      // entries; of more, those below a share of the row are left out of the blocks
constexpr double kFaint = 1e-3;
constexpr std::int64_t kParts = 4;         // sums of the coarse matrix side by side

struct Link {
  float strength;
  std::int32_t from, to;
};

// The largest entries P_ij v_j of a row, in order.
struct Largest {
  double value[kLinks + 1];
  std::int32_t column[kLinks + 1];
  std::int64_t count = 0;

  void offer(double x, std::int32_t j) {
    if (count == kLinks + 1 && !(x > value[kLinks])) return;
    std::int64_t k = count < kLinks + 1 ? count++ : kLinks;
    for (; k > 0 && value[k - 1] < x; --k) value[k] = value[k - 1], column[k] = column[k - 1];
    value[k] = x;
    column[k] = j;
  }
};

class Union {
 public:
  explicit Union(std::int64_t size) : parent_(size), size_(size, 1) { std::iota(parent_.begin(), parent_.end(), 0); }
  std::int32_t find(std::int32_t j) {
    while (parent_[j] != j) j = parent_[j] = parent_[parent_[j]];
    return j;
  }
  void join(std::int32_t p, std::int32_t q, std::int64_t most) {
    p = find(p);
    q = find(q);
    if (p == q || size_[p] + size_[q] > most) return;
    if (p > q) std::swap(p, q);
    parent_[q] = p;
    size_[p] += size_[q];
  }

 private:
  std::vector<std::int32_t> parent_, size_;
};

}  // namespace

// Clusters of columns by the strongest couplings first, none larger than its share.
void Clusters::gather(CloudPlan& plan, const std::vector<double>& v, const std::vector<double>& weight,
                      const std::vector<double>& carried) {
  const auto m = static_cast<std::int64_t>(carried.size());
  std::vector<std::vector<Link>> links(plan.chunks());
  plan.each_row([&](std::int64_t chunk, std::int64_t i, const float* values, const std::int32_t* groups, std::int64_t count) {
    Largest largest;
    for (std::int64_t k = 0; k < count; ++k)
      for (std::int32_t lane = 0; lane < kCloudLanes; ++lane) {
        const double x = values[k * kCloudLanes + lane] * v[groups[k] + lane];
        if (x > 0.0) largest.offer(x, groups[k] + lane);
      }
    for (std::int64_t k = 1; k < largest.count; ++k) {
      const std::int32_t p = largest.column[0], q = largest.column[k];
      const double coupling = weight[i] * largest.value[0] * largest.value[k] / std::fmin(carried[p], carried[q]);
      links[chunk].push_back({static_cast<float>(coupling), p, q});
    }
  });
  std::vector<Link> all;
  for (const std::vector<Link>& part : links) all.insert(all.end(), part.begin(), part.end());
  std::stable_sort(all.begin(), all.end(), [](const Link& p, const Link& q) { return p.strength > q.strength; });
  Union sets(m);
  const std::int64_t most = std::min(kMostMembers, std::max(kLeastMembers, 2 * m / kClusters));
  for (const Link& link : all) sets.join(link.from, link.to, most);
  std::vector<std::int32_t> number(m, -1);
  cluster_.resize(m);
  place_.resize(m);
  std::vector<std::int64_t> sizes;
  for (std::int32_t j = 0; j < m; ++j) {
    std::int32_t& own = number[sets.find(j)];
    if (own < 0) own = static_cast<std::int32_t>(sizes.size()), sizes.push_back(0);
    cluster_[j] = own;
    place_[j] = static_cast<std::int32_t>(sizes[own]++);
  }
  first_.assign(1, 0);
  block_.assign(1, 0);
  for (const std::int64_t size : sizes) first_.push_back(first_.back() + size), block_.push_back(block_.back() + size * size);
  member_.resize(m);
  for (std::int32_t j = 0; j < m; ++j) member_[first_[cluster_[j]] + place_[j]] = j;
}

void Clusters::make(CloudPlan& plan, const std::vector<double>& v, const std::vector<double>& weight,
                    const std::vector<double>& diagonal, const std::vector<double>& excess, double scale) {
  scale_ = scale;
  gather(plan, v, weight, diagonal);
  const auto count = static_cast<std::int64_t>(first_.size()) - 1;
  size_ = (count + 31) / 32 * 32;
  stride_ = size_ % 1024 ? size_ : size_ + 32;
  // Sums over rows of weight q q', q the row's entries: by entries within a cluster, by clusters between them.
  std::vector<std::vector<float>> coarse(kParts);
  std::vector<std::vector<double>> within(kParts);
  plan.each_row_by_parts(kParts, [&](std::int64_t part, std::int64_t i, const float* values, const std::int32_t* groups,
                                     std::int64_t found) {
    struct Entry {
      std::int32_t cluster, place;
      double value;
    };
    thread_local std::vector<Entry> entries;
    thread_local std::vector<std::pair<std::int32_t, float>> sums;
    if (coarse[part].empty()) coarse[part].assign(size_ * stride_, 0.0f), within[part].assign(block_.back(), 0.0);
    double row_sum = 0.0;
    entries.clear();
    sums.clear();
    for (std::int64_t k = 0; k < found; ++k)
      for (std::int32_t lane = 0; lane < kCloudLanes; ++lane) {
        const std::int32_t j = groups[k] + lane;
        const double x = values[k * kCloudLanes + lane] * v[j];
        if (x > 0.0) entries.push_back({cluster_[j], place_[j], x}), row_sum += x;
      }
    std::stable_sort(entries.begin(), entries.end(), [](const Entry& p, const Entry& q) { return p.cluster < q.cluster; });
    for (std::size_t begin = 0, end; begin < entries.size(); begin = end) {
      const std::int32_t own = entries[begin].cluster;
      double sum = 0.0;
      for (end = begin; end < entries.size() && entries[end].cluster == own; ++end) sum += entries[end].value;
      sums.push_back({own, static_cast<float>(sum)});
      const std::int64_t side = first_[own + 1] - first_[own];
      double* block = &within[part][block_[own]];
      const double least = entries.size() > kWideRow ? kFaint * row_sum : 0.0;
      for (std::size_t p = begin; p < end; ++p)
        for (std::size_t q = begin; entries[p].value > least && q < end; ++q)
          block[entries[p].place * side + entries[q].place] += weight[i] * entries[p].value * entries[q].value;
    }
    for (std::size_t p = 0; p < sums.size(); ++p) {
      float* row = &coarse[part][sums[p].first * stride_];
      const float own = static_cast<float>(scale_ * weight[i]) * sums[p].second;
      for (std::size_t q = p + 1; q < sums.size(); ++q) row[sums[q].first] += own * sums[q].second;
    }
  });
  blocks_.assign(block_.back(), 0.0);
  for (const std::vector<double>& part : within)
    for (std::size_t k = 0; k < part.size(); ++k) blocks_[k] -= part[k];
  for (std::int64_t k = 0; k < count; ++k) {
    const std::int64_t side = first_[k + 1] - first_[k];
    for (std::int64_t p = 0; p < side; ++p) blocks_[block_[k] + p * side + p] += diagonal[member_[first_[k] + p]];
  }
  factorise_blocks();
  factor_ = Array<float>(size_ * stride_);
  panel_ = Array<float>(kFactorPanel * stride_);
  std::fill_n(factor_.data(), size_ * stride_, 0.0f);
  for (const std::vector<float>& part : coarse)
    for (std::size_t k = 0; k < part.size(); ++k) factor_[static_cast<std::int64_t>(k)] += part[k];
  factorise_coarse(excess);
}

// T_k = L L'; a pivot that rounding leaves without a value is set to one that fixes its answer near 0.
void Clusters::factorise_blocks() {
  for (std::size_t k = 0; k + 1 < first_.size(); ++k) {
    const std::int64_t side = first_[k + 1] - first_[k];
    double* block = &blocks_[block_[k]];
    for (std::int64_t c = 0; c < side; ++c) {
      double pivot = block[c * side + c];
      const double own = pivot;
      for (std::int64_t q = 0; q < c; ++q) pivot -= block[c * side + q] * block[c * side + q];
      pivot = pivot > 1e-13 * own ? std::sqrt(pivot) : std::sqrt(own) * 1e3 + 1e-300;
      block[c * side + c] = pivot;
      for (std::int64_t r = c + 1; r < side; ++r) {
        double x = block[r * side + c];
        for (std::int64_t q = 0; q < c; ++q) x -= block[r * side + q] * block[c * side + q];
        block[r * side + c] = x / pivot;
      }
    }
  }
}

void Clusters::factorise_coarse(const std::vector<double>& excess) {
  const FactorKernels& kernels = factor_kernels();
  std::vector<double> surplus(size_, 1.0);
  for (std::size_t k = 0; k + 1 < first_.size(); ++k) {
    surplus[k] = 0.0;
    for (std::int64_t p = first_[k]; p < first_[k + 1]; ++p) surplus[k] += scale_ * excess[member_[p]];
  }
  pivot_.assign(size_, 0.0);
  const std::int64_t tile = kernels.tile_columns;
  for (std::int64_t start = 0; start < size_; start += kFactorPanel) {
    const std::int64_t stop = std::min(start + kFactorPanel, size_);
    kernels.eliminate(factor_.data(), stride_, size_, start, stop, surplus.data(), pivot_.data(), panel_.data());
    if (stop < size_)
      kernels.update(factor_.data(), stride_, start, stop, panel_.data(), std::max(stop / tile * tile, stop), size_);
    kernels.keep(factor_.data(), stride_, size_, start, stop, panel_.data());
  }
}

void Clusters::solve(const std::vector<double>& r, std::vector<double>& z) const {
  const auto count = static_cast<std::int64_t>(first_.size()) - 1;
  std::vector<double> in(size_, 0.0), out(size_);
  for (std::int64_t k = 0; k < count; ++k)
    for (std::int64_t p = first_[k]; p < first_[k + 1]; ++p) in[k] += scale_ * r[member_[p]];
  factor_kernels().solve(factor_.data(), stride_, size_, pivot_.data(), in.data(), out.data());
  double x[kMostMembers];
  for (std::int64_t k = 0; k < count; ++k) {
    const std::int64_t side = first_[k + 1] - first_[k];
    const double* l = &blocks_[block_[k]];
    for (std::int64_t p = 0; p < side; ++p) {
      double value = r[member_[first_[k] + p]];
      for (std::int64_t q = 0; q < p; ++q) value -= l[p * side + q] * x[q];
      x[p] = value / l[p * side + p];
    }
    for (std::int64_t p = side - 1; p >= 0; --p) {
      x[p] /= l[p * side + p];
      for (std::int64_t q = 0; q < p; ++q) x[q] -= l[p * side + q] * x[p];
    }
    for (std::int64_t p = 0; p < side; ++p) z[member_[first_[k] + p]] = x[p] + out[k];
  }
}

}  // namespace wbm::cpu
