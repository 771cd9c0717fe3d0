#include "cpu/gradient/linear_system.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <type_traits>

#include "cpu/linear/plan_schur.h"
#include "cpu/linear/schur.h"
#include "cpu/linear/schur_factor.h"
#include "cpu/problem/view.h"

namespace wbm {
namespace {

constexpr int kTrial = 12;            // products after which the rate of plain conjugate gradients is judged anew
constexpr std::int64_t kLargestFactor = 6144;

template <typename S>
class System {
 public:
  System(const PlanMatrix<S>& plan, const PlanSystem& system)
      : k_(plan.k), u_(plan.u), r_(plan.r), c_(plan.c), k1_(system.k1), h_(plan.k, system.both_hard), known_(plan.factor), n_(plan.r.size()),
        m_(plan.c.size()), share_(n_), residual_(m_), best_y_(m_, 0.0) {
    for (std::size_t i = 0; i < n_; ++i) {
      share_[i] = plan.r[i] > 0.0 ? 1.0 / (system.k1 * plan.r[i]) : 0.0;
      h_.weight[i] = share_[i] * u_[i] * u_[i];
    }
    for (std::size_t j = 0; j < m_; ++j) {
      h_.v[j] = c_[j] > 0.0 ? plan.v[j] : 0.0;
      h_.diagonal[j] = c_[j] > 0.0 ? system.k2 * c_[j] : 1.0;
    }
    h_.carried = c_;
    excess_ = system.k2 - 1.0 / system.k1;
    crawls_ = system.crawls;
  }

  double solve(double tolerance, const std::vector<double>& h1, const std::vector<double>& h2, std::vector<double>& x,
               std::vector<double>& y) {
    // h2 - P' (h1 / (k1 r)); the scale of the answer's error is that of both terms before they cancel
    k_.set_v([](std::int64_t) { return 0.0; });
    std::vector<double> eliminated(n_), scaled(n_);
    for (std::size_t i = 0; i < n_; ++i) {
      eliminated[i] = share_[i] * h1[i];
      scaled[i] = u_[i] * eliminated[i];
    }
    k_.pass([&](std::int64_t r, int) { return scaled.data() + r; });
    double scale = 0.0;
    for (std::size_t j = 0; j < m_; ++j) {
      const double other = h_.v[j] * k_.column_sums[j];
      residual_[j] = c_[j] > 0.0 ? h2[j] - other : 0.0;
      if (c_[j] > 0.0) scale += (h2[j] * h2[j] + other * other) / h_.diagonal[j];
    }
    scale = std::sqrt(scale);
    h_.project(residual_);
    std::fill(y.begin(), y.end(), 0.0);
    begin(y);
    if constexpr (std::is_same_v<S, float>) {
      refine(tolerance * scale, eliminated, h2, x, y);
    } else {
      const bool met = known_ && correct(tolerance * scale, eliminated, h2, x, y);
      if (met) return scale > 0.0 ? best_ / scale : 0.0;
      known_ = nullptr;
      iterate(tolerance * scale, y);
      y = best_y_;
      centre(y);
      k_.set_v([&](std::int64_t j) { return h_.v[j] * y[j]; });
      k_.pass([&](std::int64_t r, int) { return scaled.data() + r; });
      for (std::size_t i = 0; i < n_; ++i) x[i] = eliminated[i] - share_[i] * u_[i] * k_.sums[i];
    }
    return scale > 0.0 ? best_ / scale : 0.0;
  }

 private:
  // Conjugate gradients from y, whose residual_ is known.
  void begin(const std::vector<double>& y) {
    best_ = size();
    best_y_ = y;
    best_residual_ = residual_;
  }

  // Products of a float32 K err by 1e-7 of their terms, and the residual that conjugate gradients carry along drifts from the
  // true one by as much. So they reduce it by kCycle only; then it is taken anew, and they go on from there.
  void refine(double target, const std::vector<double>& eliminated, const std::vector<double>& h2, std::vector<double>& x,
              std::vector<double>& y) {
    constexpr double kCycle = 1e-5;
    for (;;) {
      const double before = best_;
      const bool slow = iterate(std::fmax(target, kCycle * before), y);
      y = best_y_;
      centre(y);
      take_residual(eliminated, h2, x, y);
      begin(y);
      if (slow || !(best_ > target) || !(best_ < 0.1 * before)) return;
    }
  }

  // With the factor that the solve needed: corrections from products of the plan in float32, whose difference form keeps the
  // slow modes (in plain products they cancel, in float64 too where they are slow enough), to residuals with float64 sums.
  // True when the target was met, or nearly so.
  bool correct(double target, const std::vector<double>& eliminated, const std::vector<double>& h2, std::vector<double>& x,
               std::vector<double>& y) {
    constexpr double kCycle = 1e-3;
    constexpr int kRounds = 12, kProducts = 100;
    constexpr double kNear = 30.0;  // where rounding ends the way this close to the target, no other way is tried
    PlanSchur plan(static_cast<std::int64_t>(n_), static_cast<std::int64_t>(m_), k_.team(), nullptr);
    plan.write(k_, u_.data(), h_.v, r_, c_, k1_);
    for (std::size_t j = 0; j < m_; ++j) plan.extra[j] = h_.diagonal[j] - c_[j];
    ConjugateGradients solver;
    std::unique_ptr<Preconditioner> fresh;
    std::vector<double> correction(m_), residual(m_);
    const auto norm = [this](const std::vector<double>& r) {
      double sum = 0.0;
      for (std::size_t j = 0; j < m_; ++j) sum += r[j] * r[j] / h_.diagonal[j];
      return std::sqrt(sum);
    };
    for (int round = 0; round < kRounds && best_ > target; ++round) {
      const double before = best_, wanted = std::fmax(kCycle * before, 0.3 * target);
      std::fill(correction.begin(), correction.end(), 0.0);
      residual = residual_;
      solver.run([&](std::vector<double>& p, std::vector<double>& out) { plan.apply(p, out); },
                 [&](const std::vector<double>& r, std::vector<double>& z) {
                   (fresh ? *fresh : *known_).solve(r, z);
                   centre(z);
                 },
                 [&](std::vector<double>& r) { h_.project(r); }, correction, residual, kProducts,
                 [&] { return !(norm(residual) > wanted); });
      for (std::size_t j = 0; j < m_; ++j) y[j] += correction[j];
      centre(y);
      take_residual(eliminated, h2, x, y);
      if (size() < best_)
        begin(y);
      else
        restart(y);
      if (fresh && best_ <= kNear * target) return true;
      if (best_ < 0.5 * before) continue;
      if (fresh) return false;
      double theta = 0.03;  // the saved factor is too old or too thin
      fresh = plan.factor(theta, 120.0 * static_cast<double>(n_) * static_cast<double>(m_) + 1e6);
    }
    return !(best_ > target);
  }

  // x = (h1 - P y) / (k1 r) and residual = h2 - k2 c y - P'x, all sums in float64. Chunks of rows have their own column sums,
  // added in order: the result does not depend on the number of threads.
  void take_residual(const std::vector<double>& eliminated, const std::vector<double>& h2, std::vector<double>& x,
                     const std::vector<double>& y) {
    if constexpr (std::is_same_v<S, double>) {
      k_.set_v([&](std::int64_t j) { return h_.v[j] * y[j]; });
      std::vector<double> scaled(n_);
      k_.pass([&](std::int64_t first, int rows) {
        for (std::int64_t i = first; i < first + rows; ++i) {
          x[i] = eliminated[i] - share_[i] * u_[i] * k_.sums[i];
          scaled[i] = u_[i] * x[i];
        }
        return scaled.data() + first;
      });
      for (std::size_t j = 0; j < m_; ++j)
        residual_[j] = c_[j] > 0.0 ? h2[j] - h_.diagonal[j] * y[j] - h_.v[j] * k_.column_sums[j] : 0.0;
      h_.project(residual_);
    } else {
      take_float32_residual(eliminated, h2, x, y);
    }
  }

  void take_float32_residual(const std::vector<double>& eliminated, const std::vector<double>& h2, std::vector<double>& x,
                             const std::vector<double>& y) {
    constexpr std::size_t kChunk = 128;
    const std::size_t padded = static_cast<std::size_t>(k_.padded()), chunks = (n_ + kChunk - 1) / kChunk;
    std::vector<double> vy(padded, 0.0), partial(chunks * padded, 0.0);
    for (std::size_t j = 0; j < m_; ++j) vy[j] = h_.v[j] * y[j];
    const MixedKernels& kernels = mixed_kernels();
    k_.team().split_if(k_.parallel(), static_cast<std::int64_t>(chunks), [&](std::int64_t first, std::int64_t last) {
      for (std::size_t chunk = first; chunk < static_cast<std::size_t>(last); ++chunk)
        for (std::size_t i = chunk * kChunk; i < std::min((chunk + 1) * kChunk, n_); ++i) {
          const float* row = k_.row(static_cast<std::int64_t>(i));
          x[i] = eliminated[i] - share_[i] * u_[i] * kernels.dot(row, vy.data(), k_.padded());
          kernels.accumulate(row, u_[i] * x[i], &partial[chunk * padded], k_.padded());
        }
    });
    for (std::size_t j = 0; j < m_; ++j) {
      double sum = 0.0;
      for (std::size_t chunk = 0; chunk < chunks; ++chunk) sum += partial[chunk * padded + j];
      residual_[j] = c_[j] > 0.0 ? h2[j] - h_.diagonal[j] * y[j] - h_.v[j] * sum : 0.0;
    }
    h_.project(residual_);
  }

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

  // True when it was given up.
  bool iterate(double target, std::vector<double>& y) {
    target_ = target;
    if constexpr (std::is_same_v<S, double>) {
      const bool may = m_ <= kLargestFactor;
      const bool slow = (crawls_ && may) || run_by_diagonal(y, /*judge=*/may);
      if (!slow) return false;
      double total = 0.0;
      for (const double value : c_) total += value;
      std::vector<double> excess(m_);
      for (std::size_t j = 0; j < m_; ++j) excess[j] = std::max(excess_ * c_[j], 0.0);
      const SchurFactor factor(k_, h_.weight, h_.v, excess, static_cast<double>(m_) / total);
      run(y, factor, kInf);
      if (!(best_ > target)) return false;
      restart(y);  // the factor has met its limits
    }
    return run_by_diagonal(y, /*judge=*/std::is_same_v<S, float>);
  }

  // From the best answer so far.
  void restart(std::vector<double>& y) {
    y = best_y_;
    residual_ = best_residual_;
  }

  // Takes note of a new y. True when the target is met, or the residual has not halved within `patience` products.
  bool settled(const std::vector<double>& y, int patience) {
    const double now = size();
    ++since_halved_;
    if (now < best_) {
      if (now < 0.5 * best_) since_halved_ = 0;
      best_ = now;
      best_y_ = y;
      best_residual_ = residual_;
    }
    return !(best_ > target_) || since_halved_ >= patience;
  }

  bool run(std::vector<double>& y, const Preconditioner& factor, double most) {
    const auto precondition = [&](const std::vector<double>& r, std::vector<double>& z) {
      factor.solve(r, z);
      centre(z);
    };
    return run(y, precondition, 100, kTrial / 3, 20, most);
  }

  bool run_by_diagonal(std::vector<double>& y, bool judge) {
    const auto precondition = [&](const std::vector<double>& r, std::vector<double>& z) {
      for (std::size_t j = 0; j < m_; ++j) z[j] = r[j] / h_.diagonal[j];
    };
    // A factor costs as much as m / 18 products of a float64 matrix; where K is float32, as m / 9 of its own.
    const double cheaper = std::fmax(60.0, static_cast<double>(m_) / (sizeof(S) == 4 ? 9.0 : 18.0));
    return run(y, precondition, static_cast<int>(20 * std::min(n_, m_) + 500), kTrial, 200, judge ? cheaper : kInf);
  }

  // At most `products` of them. True when it was given up, for at the rate of the last `trial` ones it would take more
  // than `most`.
  template <typename Precondition>
  bool run(std::vector<double>& y, const Precondition& precondition, int products, int trial, int patience, double most) {
    since_halved_ = 0;
    double before = best_;
    int count = 0;
    bool slow = false;
    h_.conjugate_gradients(precondition, y, residual_, products, [&] {
      const bool done = settled(y, patience);
      if (++count % trial == 0 && best_ > target_) {
        const double left = std::log(target_ / best_) / std::log(best_ / before) * trial;
        slow = !(left >= 0.0 && count + left < most) && most < kInf;
        before = best_;
      }
      return slow || done;
    });
    return slow;
  }

  StoredMatrix<S>& k_;
  const std::vector<double>&u_, &r_, &c_;
  const double k1_;
  Schur<S> h_;
  const Preconditioner* known_;
  const std::size_t n_, m_;
  double excess_, best_ = 0.0, target_ = 0.0;
  bool crawls_ = false;
  int since_halved_ = 0;
  std::vector<double> share_, residual_, best_y_, best_residual_;  // share = 1 / (k1 r)
};

}  // namespace

template <typename S>
double solve_plan_system(const PlanMatrix<S>& plan, const PlanSystem& system, const std::vector<double>& h1,
                         const std::vector<double>& h2, std::vector<double>& x, std::vector<double>& y) {
  return System<S>(plan, system).solve(system.tolerance, h1, h2, x, y);
}

template double solve_plan_system(const PlanMatrix<float>&, const PlanSystem&, const std::vector<double>&,
                                  const std::vector<double>&, std::vector<double>&, std::vector<double>&);
template double solve_plan_system(const PlanMatrix<double>&, const PlanSystem&, const std::vector<double>&,
                                  const std::vector<double>&, std::vector<double>&, std::vector<double>&);

}  // namespace wbm
