#include "cpu/linear_system.h"

#include <algorithm>
#include <cmath>

#include "cpu/factor.h"
#include "cpu/schur.h"

namespace wbm {
namespace {

constexpr int kTrial = 12;            // products after which the rate of plain conjugate gradients is judged anew
constexpr double kCheaper = 60.0;     // products that a factor costs
constexpr std::int64_t kLargestFactor = 6144;

class System {
 public:
  System(StoredMatrix<double>& plan, const std::vector<double>& r, const std::vector<double>& c, double k1, double k2,
         bool both_hard)
      : plan_(plan), h_(plan, both_hard), c_(c), n_(r.size()), m_(c.size()), residual_(m_), best_y_(m_, 0.0) {
    for (std::size_t i = 0; i < n_; ++i) h_.weight[i] = r[i] > 0.0 ? 1.0 / (k1 * r[i]) : 0.0;
    for (std::size_t j = 0; j < m_; ++j) {
      h_.v[j] = c[j] > 0.0 ? 1.0 : 0.0;
      h_.diagonal[j] = c[j] > 0.0 ? k2 * c[j] : 1.0;
    }
    h_.carried = c;
    excess_ = k2 - 1.0 / k1;
  }

  double solve(double tolerance, const std::vector<double>& h1, const std::vector<double>& h2, std::vector<double>& x,
               std::vector<double>& y) {
    // h2 - P' (h1 / (k1 r)); the scale of the answer's error is that of both terms before they cancel
    plan_.set_v([](std::int64_t) { return 0.0; });
    std::vector<double> eliminated(n_);
    for (std::size_t i = 0; i < n_; ++i) eliminated[i] = h_.weight[i] * h1[i];
    plan_.pass([&](std::int64_t r, int) { return eliminated.data() + r; });
    double scale = 0.0;
    for (std::size_t j = 0; j < m_; ++j) {
      const double other = plan_.column_sums[j];
      residual_[j] = c_[j] > 0.0 ? h2[j] - other : 0.0;
      if (c_[j] > 0.0) scale += (h2[j] * h2[j] + other * other) / h_.diagonal[j];
    }
    scale = std::sqrt(scale);
    h_.project(residual_);
    std::fill(y.begin(), y.end(), 0.0);
    best_ = size();
    iterate(tolerance * scale, y);
    y = best_y_;
    centre(y);

    plan_.set_v([&](std::int64_t j) { return y[j]; });
    plan_.pass([&](std::int64_t r, int) { return eliminated.data() + r; });
    for (std::size_t i = 0; i < n_; ++i) x[i] = eliminated[i] - h_.weight[i] * plan_.sums[i];
    return scale > 0.0 ? best_ / scale : 0.0;
  }

 private:
  // |residual| in the norm of diag(H)^-1
  double size() const {
    double sum = 0.0;
    for (std::size_t j = 0; j < m_; ++j) sum += residual_[j] * residual_[j] / h_.diagonal[j];
    return std::sqrt(sum);
  }

  // H 1 = 0 leaves a constant free: the c-mean becomes 0
  void centre(std::vector<double>& y) const {
    if (!h_.singular) return;
    double sum = 0.0, total = 0.0;
    for (std::size_t j = 0; j < m_; ++j) sum += c_[j] * y[j], total += c_[j];
    if (!(total > 0.0)) return;
    for (std::size_t j = 0; j < m_; ++j)
      if (c_[j] > 0.0) y[j] -= sum / total;
  }

  void iterate(double target, std::vector<double>& y) {
    if (!(best_ > target)) return;
    const double first = best_;
    int count = 0, since_best = 0, patience = 200;
    bool slow = false;
    const auto settled = [&] {
      const double now = size();
      ++count;
      ++since_best;
      if (now < best_) {
        if (now < 0.5 * best_) since_best = 0;
        best_ = now;
        best_y_ = y;
        best_residual_ = residual_;
      }
      if (!factor_.made() && m_ <= kLargestFactor && count % kTrial == 0) {
        const double left = std::log(target / best_) / std::log(best_ / first) * count;
        slow = !(left >= 0.0 && count + left < kCheaper);
      }
      return slow || !(best_ > target) || since_best >= patience;
    };
    const int limit = static_cast<int>(20 * std::min(n_, m_) + 500);
    const auto by_diagonal = [&](const std::vector<double>& r, std::vector<double>& z) {
      for (std::size_t j = 0; j < m_; ++j) z[j] = r[j] / h_.diagonal[j];
    };
    h_.conjugate_gradients(by_diagonal, y, residual_, limit, settled);
    if (!slow) return;

    double total = 0.0;
    for (const double value : c_) total += value;
    std::vector<double> excess(m_);
    for (std::size_t j = 0; j < m_; ++j) excess[j] = std::max(excess_ * c_[j], 0.0);
    factor_.make(plan_, h_.weight, h_.v, excess, static_cast<double>(m_) / total);
    slow = false;
    patience = 20;
    since_best = 0;
    const auto by_factor = [&](const std::vector<double>& r, std::vector<double>& z) {
      factor_.solve(r, z);
      centre(z);
    };
    h_.conjugate_gradients(by_factor, y, residual_, 100, settled);
    if (!(best_ > target)) return;
    y = best_y_;  // the factor has met its limits
    residual_ = best_residual_;
    patience = 200;
    since_best = 0;
    h_.conjugate_gradients(by_diagonal, y, residual_, limit, settled);
  }

  StoredMatrix<double>& plan_;
  Schur h_;
  Factor factor_;
  const std::vector<double>& c_;
  const std::size_t n_, m_;
  double excess_, best_ = 0.0;
  std::vector<double> residual_, best_y_, best_residual_;
};

}  // namespace

double solve_plan_system(StoredMatrix<double>& plan, const std::vector<double>& r, const std::vector<double>& c, double k1,
                         double k2, bool both_hard, double tolerance, const std::vector<double>& h1, const std::vector<double>& h2,
                         std::vector<double>& x, std::vector<double>& y) {
  return System(plan, r, c, k1, k2, both_hard).solve(tolerance, h1, h2, x, y);
}

}  // namespace wbm
