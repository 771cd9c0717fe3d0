#include "cpu/linear_system.h"

#include <algorithm>

namespace wbm {
namespace {

constexpr double kRelativeResidual = 1e-14;
constexpr std::int64_t kBlock = 256;  // columns a thread sums at a time

double dot(const std::vector<double>& x, const std::vector<double>& y) {
  double s = 0.0;
  for (std::size_t k = 0; k < x.size(); ++k) s += x[k] * y[k];
  return s;
}

}  // namespace

// out_i = sum_j P_ij v_j, four partial sums so that the compiler may keep them apart.
void LinearSystem::rows_times(const std::vector<double>& v, std::vector<double>& out) const {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (std::int64_t i = 0; i < n; ++i) {
    const double* p = plan + i * m;
    double s[8] = {};
    std::int64_t j = 0;
    for (; j + 8 <= m; j += 8)
      for (int k = 0; k < 8; ++k) s[k] += p[j + k] * v[j + k];
    for (; j < m; ++j) s[0] += p[j] * v[j];
    out[i] = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
  }
}

// out_j = sum_i P_ij v_i, by column blocks with the rows in order: independent of the number of threads.
void LinearSystem::columns_times(const std::vector<double>& v, std::vector<double>& out) const {
#pragma omp parallel for num_threads(threads) if (threads > 1) schedule(static)
  for (std::int64_t begin = 0; begin < m; begin += kBlock) {
    const std::int64_t end = std::min(begin + kBlock, m);
    for (std::int64_t j = begin; j < end; ++j) out[j] = 0.0;
    for (std::int64_t i = 0; i < n; ++i) {
      const double* p = plan + i * m;
      const double w = v[i];
      for (std::int64_t j = begin; j < end; ++j) out[j] += p[j] * w;
    }
  }
}

// out = k2 c v - P' ((P v) / (k1 r))
void LinearSystem::schur_times(const std::vector<double>& v, std::vector<double>& out,
                               std::vector<double>& scratch) const {
  rows_times(v, scratch);
  for (std::int64_t i = 0; i < n; ++i) scratch[i] = r[i] > 0.0 ? scratch[i] / (k1 * r[i]) : 0.0;
  columns_times(scratch, out);
  for (std::int64_t j = 0; j < m; ++j) out[j] = k2 * c[j] * v[j] - out[j];
}

// The null vector of T is 1: residual -= diag(k2 c) 1 (1'residual) / (1' diag(k2 c) 1).
void LinearSystem::project(std::vector<double>& residual, double total) const {
  if (!singular || !(total > 0.0)) return;
  double s = 0.0;
  for (const double value : residual) s += value;
  for (std::int64_t j = 0; j < m; ++j) residual[j] -= c[j] * (s / total);
}

double LinearSystem::solve(const std::vector<double>& h1, const std::vector<double>& h2, std::vector<double>& x,
                           std::vector<double>& y) const {
  std::vector<double> scratch(n), residual(m), direction(m), product(m), preconditioned(m);
  double total = 0.0;
  for (const double value : c) total += value;

  for (std::int64_t i = 0; i < n; ++i) scratch[i] = r[i] > 0.0 ? h1[i] / (k1 * r[i]) : 0.0;
  columns_times(scratch, product);
  for (std::int64_t j = 0; j < m; ++j) residual[j] = c[j] > 0.0 ? h2[j] - product[j] : 0.0;
  project(residual, total);

  const auto precondition = [&] {
    for (std::int64_t j = 0; j < m; ++j) preconditioned[j] = c[j] > 0.0 ? residual[j] / (k2 * c[j]) : 0.0;
  };
  // The scale of the answer's error: the right side before elimination, in the preconditioner's norm.
  double scale = 0.0;
  for (std::int64_t j = 0; j < m; ++j)
    if (c[j] > 0.0) scale += (h2[j] * h2[j] + product[j] * product[j]) / (k2 * c[j]);
  scale = std::sqrt(scale);

  std::fill(y.begin(), y.end(), 0.0);
  precondition();
  direction = preconditioned;
  double rho = dot(residual, preconditioned), best = rho;
  std::vector<double> best_y = y;
  std::int64_t since_best = 0;
  const std::int64_t limit = 20 * std::min(n, m) + 500;
  for (std::int64_t step = 0; step < limit && std::sqrt(best) > kRelativeResidual * scale && since_best < 200; ++step) {
    schur_times(direction, product, scratch);
    const double curvature = dot(direction, product);
    if (!(curvature > 0.0)) break;  // rounding has met the null space
    const double length = rho / curvature;
    for (std::int64_t j = 0; j < m; ++j) {
      y[j] += length * direction[j];
      residual[j] -= length * product[j];
    }
    project(residual, total);
    precondition();
    const double next = dot(residual, preconditioned);
    ++since_best;
    if (next < best) {
      if (next < 0.25 * best) since_best = 0;
      best = next;
      best_y = y;
    }
    for (std::int64_t j = 0; j < m; ++j) direction[j] = preconditioned[j] + next / rho * direction[j];
    rho = next;
  }
  y = best_y;
  rows_times(y, scratch);
  for (std::int64_t i = 0; i < n; ++i) x[i] = r[i] > 0.0 ? (h1[i] - scratch[i]) / (k1 * r[i]) : 0.0;
  return scale > 0.0 ? std::sqrt(best) / scale : 0.0;
}

}  // namespace wbm
