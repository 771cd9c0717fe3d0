#include "cpu/cloud/system.h"

#include <cmath>

#include "cpu/linear/schur.h"

namespace wbm::cpu {
namespace {

constexpr int kDiagonalProducts = 15;  // more than these, and the clusters are cheaper

double absolute_sum(const std::vector<double>& x) {
  double sum = 0.0;
  for (const double entry : x) sum += std::fabs(entry);
  return sum;
}

}  // namespace

void CloudSystem::apply(const std::vector<double>& p, std::vector<double>& out) {
  scaled_.assign(plan.column_sums.size(), 0.0);
  for (std::size_t j = 0; j < p.size(); ++j) scaled_[j] = v[j] * p[j];
  plan.pass(scaled_.data(), [this](std::int64_t i) { return weight[i] * plan.sums[i]; });
  for (std::size_t j = 0; j < p.size(); ++j) out[j] = diagonal[j] * p[j] - v[j] * plan.column_sums[j];
}

void CloudSystem::project(std::vector<double>& r) const {
  if (!singular) return;
  double sum = 0.0, total = 0.0;
  for (std::size_t j = 0; j < r.size(); ++j) sum += r[j], total += carried[j];
  for (std::size_t j = 0; j < r.size(); ++j) r[j] -= sum / total * carried[j];
}

int CloudSystem::conjugate_gradients(std::vector<double>& x, std::vector<double>& residual, double wanted, int most,
                                     const Clusters* clusters) {
  const auto precondition = [&] {
    if (clusters) return clusters->solve(residual, preconditioned_);
    for (std::size_t j = 0; j < x.size(); ++j) preconditioned_[j] = residual[j] / diagonal[j];
  };
  precondition();
  direction_ = preconditioned_;
  double rho = dot(residual, preconditioned_);
  for (int products = 1; products <= most; ++products) {
    apply(direction_, product_);
    const double curvature = dot(direction_, product_);
    if (raised(interrupt) || !(curvature > 0.0)) return products;
    const double length = rho / curvature;
    for (std::size_t j = 0; j < x.size(); ++j) {
      x[j] += length * direction_[j];
      residual[j] -= length * product_[j];
    }
    project(residual);
    if (absolute_sum(residual) <= wanted) return products;
    precondition();
    const double next = dot(residual, preconditioned_);
    for (std::size_t j = 0; j < x.size(); ++j) direction_[j] = preconditioned_[j] + next / rho * direction_[j];
    rho = next;
  }
  return most;
}

int CloudSystem::solve(std::vector<double>& x, std::vector<double>& residual, double wanted, int most, Clusters& clusters) {
  project(residual);
  preconditioned_.resize(x.size());
  product_.resize(x.size());
  int products = 0;
  if (!clusters.made()) {
    products = conjugate_gradients(x, residual, wanted, kDiagonalProducts, nullptr);
    if (absolute_sum(residual) <= wanted || raised(interrupt)) return products;
    double total = 0.0;
    for (const double c : carried) total += c;
    clusters.make(plan, v, weight, diagonal, excess, static_cast<double>(x.size()) / total);
    products += 2;
  }
  return products + conjugate_gradients(x, residual, wanted, most, &clusters);
}

}  // namespace wbm::cpu
