// Newton's method for the scalings, for problems on which plain iterations crawl.
//
// With u eliminated by its own update, the dual is a concave function of y = log v with
//
//     gradient  G = c* - c,     c = P'1,  c* = b (hard) or b exp(-g/kappa2) (soft),
//     -Hessian  H = diag(c + h) - P' diag(1/(k1 r)) P,     r = P1,  k1 = 1 + eps/kappa1,  h = 0 (hard) or eps/kappa2 c*,
//
// an M-matrix with row sums c (1 - 1/k1) + h >= 0. Each step solves H d = G by conjugate gradients on the plan in float32
// (PlanSchur), preconditioned by a factor of the plan's largest entries that is used until the products needed say that it is
// too old; by diag(H) where plain iterations would nearly do; by a factor of the whole of H where the problem is small or its
// plan full. A Levenberg term lambda diag(c) and a line search on the dual make every step safe; with both marginals hard H
// has the null vector 1, and steps are free of it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "cpu/runtime/interrupt.h"
#include "cpu/kernels/kernels.h"
#include "cpu/linear/plan_schur.h"
#include "cpu/linear/schur.h"
#include "cpu/linear/schur_factor.h"

namespace wbm {

template <typename Stored>
class Newton {
 public:
  explicit Newton(Stored& scaling)
      : k_(scaling), matrix_(scaling.k_), rows_(scaling.rows_), columns_(scaling.columns_), n_(rows_.size()),
        m_(columns_.size()), k1_(rows_.side.hard ? 1.0 : 1.0 + scaling.view_.epsilon / rows_.side.kappa),
        singular_(rows_.side.hard && columns_.side.hard), plan_(n_, m_, scaling.team_, scaling.view_.interrupt) {
    for (auto* x : {&v_, &c_, &log_v_, &gradient_, &step_, &residual_, &excess_}) x->resize(m_);
    r_.resize(n_);
  }

  bool run(double target, std::int64_t budget, std::int64_t& passes, double& residual, bool& left_range) {
    passes_ = 0;
    v_ = columns_.u;
    for (std::int64_t j = 0; j < m_; ++j) log_v_[j] = columns_.side.hard ? std::log(v_[j]) : columns_.log_u[j];
    Point now = evaluate();
    const bool alive = now.finite();
    double best = now.residual, levenberg = 1.0;
    left_range = false;
    if (alive) now = update_while_fast(now, target, budget);
    int last_products = 0, fruitless = 0;
    for (int count = 0; alive && now.residual > target && passes_ < budget && count < 100 && fruitless < 12; ++count) {
      if (raised(k_.view_.interrupt)) break;
      lambda_ = std::fmin(1.0, levenberg * std::fmin(1e-2, 1e-4 * now.residual));
      if (!plan_.written() || moved_ > kMoved) write_plan();
      prepare();
      if (jacobi_ && last_products >= kJacobiProducts) jacobi_ = false;
      if (!jacobi_ && (!factor_ || last_products > kOldFactor)) factorise(last_products);
      last_products = solve(std::fmax(std::fmax(std::fmin(1e-2, 10.0 * now.residual), 0.2 * target / now.residual), 1e-4));
      double length;
      const Point next = search(now, length);
      if (!next.finite()) break;
      now = next;
      if (length < 1.0) last_products = kStale;
      if (length < 0.2) levenberg = std::fmin(1e4, 10.0 * levenberg);
      if (length >= 1.0) levenberg = std::fmax(1.0, 0.1 * levenberg);
      fruitless = now.residual < 0.7 * best ? 0 : fruitless + 1;
      best = std::fmin(best, now.residual);
      if (!k_.rows_.safe(1e80) || !in_range()) {
        left_range = true;
        break;
      }
    }
    publish();
    if (factor_) k_.factor_ = std::move(factor_);
    passes = passes_;
    residual = now.residual;
    return alive && now.residual <= target;
  }

 private:
  static constexpr int kJacobiProducts = 20;   // more than these, and a factor is cheaper
  static constexpr int kProducts = 200;        // most products of one step with a factor
  static constexpr int kOldFactor = 6;         // products of a step after which the factor is made anew
  static constexpr int kStale = 1000;          // stands for any number: the point has moved away
  static constexpr double kMoved = 0.01;       // change of log v that the plan in float32 may be behind
  static constexpr double kLongest = 8.0;      // largest change of log v in a step at first,
  static constexpr double kFarthest = 150.0;   // and at most
  static constexpr std::int64_t kSmall = 96;   // columns up to which the whole of H is factored,
  static constexpr std::int64_t kFull = 2048;  // and up to which it is where the plan has no few large entries

  struct Point {
    double residual, dual;
    bool finite() const { return std::isfinite(residual) && std::isfinite(dual); }
  };

  // u, c, G, the residual and the dual (in units of epsilon) at v_. The rows are exact, for u is their own update.
  Point evaluate() {
    matrix_.set_v([this](std::int64_t j) { return v_[j]; });
    k_.sweep();
    ++passes_;
    const Side &rows = rows_.side, &columns = columns_.side;
    const double epsilon = k_.view_.epsilon;
    double error = 0.0, mass = 0.0, dual = 0.0;
    if (!columns.hard)  // c* = exp(alpha / ratio + (1 - 1/ratio) log v)
      vector_kernels().exp_linear(columns_.alpha.data(), 1.0 / columns.ratio, log_v_.data(), 1.0 - 1.0 / columns.ratio,
                                  excess_.data(), m_);
    for (std::int64_t j = 0; j < m_; ++j) {
      c_[j] = v_[j] * matrix_.column_sums[j];
      const double wanted = columns.hard ? columns_.mass[j] : excess_[j];
      gradient_[j] = wanted - c_[j];
      dual += columns.hard ? wanted * log_v_[j] : -columns.kappa / epsilon * wanted;
      error += std::fabs(gradient_[j]);
      mass += c_[j];
    }
    for (std::int64_t i = 0; i < n_; ++i) {
      const double r = rows_.next[i] * matrix_.sums[i];
      dual += rows.hard ? rows_.mass[i] * std::log(rows_.next[i]) : -rows.kappa / epsilon * r;
    }
    const double scale = std::fmax(mass, 0.5 * (rows.total + columns.total));
    return {scale > 0.0 ? error / scale : 0.0, dual - mass};
  }

  // Plain updates of v while a handful more will do; their rate tells whether diag(H) will.
  Point update_while_fast(Point now, double target, std::int64_t budget) {
    for (int count = 0; now.residual > target && passes_ < budget && count < 50 && !raised(k_.view_.interrupt); ++count) {
      const double before = now.residual;
      columns_.update(matrix_.column_sums.data(), 0, m_);
      std::vector<double> log_next(m_);
      if (columns_.side.hard)
        vector_kernels().logarithm(columns_.next.data(), log_next.data(), m_);
      else
        log_next = columns_.next_log;
      for (std::int64_t j = 0; j < m_; ++j) moved_ = std::fmax(moved_, std::fabs(log_next[j] - log_v_[j]));
      log_v_ = log_next;
      v_ = columns_.next;
      now = evaluate();
      if (!now.finite()) return now;
      const double rate = now.residual / before, left = rate < 1.0 ? std::log(target / now.residual) / std::log(rate) : kInf;
      jacobi_ = left < 40.0;
      if (left > 4.0) break;
    }
    return now;
  }

  void write_plan() {
    for (std::int64_t i = 0; i < n_; ++i) r_[i] = rows_.next[i] * matrix_.sums[i];
    plan_.write(matrix_, rows_.next.data(), v_, r_, c_, k1_);
    written_c_ = c_;
    moved_ = 0.0;
    ++passes_;
  }

  // What the diagonal of H has beyond P'1.
  void prepare() {
    const Side& columns = columns_.side;
    const double soft = columns.hard ? 0.0 : k_.view_.epsilon / columns.kappa;
    for (std::int64_t j = 0; j < m_; ++j)
      plan_.extra[j] = lambda_ * written_c_[j] + (columns.hard ? 0.0 : soft * (c_[j] + gradient_[j]));
  }

  void factorise(int last_products) {
    const double entries = static_cast<double>(n_) * static_cast<double>(m_), budget = 30.0 * entries;
    if (m_ > kSmall) {
      // A new factor that took many products was too thin.
      if (fresh_ && last_products > 12 && last_products < kStale && theta_ > 1e-5) theta_ *= 0.25;
      fresh_ = factor_ != nullptr || theta_ == kTheta;
      factor_ = plan_.factor(theta_, 4.0 * budget + 1e6);
      ++passes_;
      jacobi_ = !factor_;
      if (jacobi_ || theta_ < PlanSchur::kThinnest || m_ > kFull) return;
    }
    std::vector<double> weight(n_);
    for (std::int64_t i = 0; i < n_; ++i) {  // P' diag(1/(k1 r)) P p = v K'(u^2/(k1 r) K (v p)), r = u s
      const double s = matrix_.sums[i];
      weight[i] = s > 0.0 ? rows_.next[i] / (k1_ * s) : 0.0;
    }
    double total = 0.0;
    for (std::int64_t j = 0; j < m_; ++j) {
      total += c_[j];
      excess_[j] = c_[j] * (1.0 - 1.0 / k1_) + plan_.extra[j];
    }
    factor_ = std::make_unique<SchurFactor>(matrix_, weight, v_, excess_, total > 0.0 ? static_cast<double>(m_) / total : 1.0,
                                            k_.view_.interrupt);
    ++passes_;
  }

  // residual -= c (1'residual) / (1'c) where H is singular: what no step can remove
  void project(std::vector<double>& residual) const {
    if (!singular_) return;
    double sum = 0.0, total = 0.0;
    for (std::int64_t j = 0; j < m_; ++j) sum += residual[j], total += c_[j];
    if (!(total > 0.0)) return;
    for (std::int64_t j = 0; j < m_; ++j) residual[j] -= sum / total * c_[j];
  }

  // Conjugate gradients for H step = G to a relative |residual|_1; returns the products taken.
  int solve(double tolerance) {
    std::fill(step_.begin(), step_.end(), 0.0);
    residual_ = gradient_;
    project(residual_);
    const auto size = [this] {
      double sum = 0.0;
      for (const double x : residual_) sum += std::fabs(x);
      return sum;
    };
    const double wanted = tolerance * size();
    const auto precondition = [this](const std::vector<double>& r, std::vector<double>& z) {
      if (!jacobi_) return factor_->solve(r, z);
      for (std::int64_t j = 0; j < m_; ++j) z[j] = r[j] / (written_c_[j] + plan_.extra[j]);
    };
    double least = kInf;
    int idle = 0;
    const int products = solver_.run([this](std::vector<double>& p, std::vector<double>& out) { plan_.apply(p, out); },
                                     precondition, [this](std::vector<double>& r) { project(r); }, step_, residual_,
                                     jacobi_ ? kJacobiProducts : kProducts, [&] {
                                       const double now = size();
                                       idle = now < 0.9 * least ? 0 : idle + 1;
                                       least = std::fmin(least, now);
                                       return !(now >= wanted) || idle >= 40 || raised(k_.view_.interrupt);
                                     });
    passes_ += products;
    if (products == 1 && dot(step_, step_) == 0.0) precondition(residual_, step_);
    return products;
  }

  // Halves the step until the dual has risen enough (Armijo) or the residual is half of what it was.
  Point search(const Point& now, double& length) {
    if (singular_) {  // v times a constant is the same plan
      double mean = 0.0, total = 0.0;
      for (std::int64_t j = 0; j < m_; ++j) mean += columns_.mass[j] * step_[j], total += columns_.mass[j];
      for (double& d : step_) d -= mean / total;
    }
    double slope = 0.0, largest = 0.0;
    for (std::int64_t j = 0; j < m_; ++j) {
      slope += gradient_[j] * step_[j];
      largest = std::fmax(largest, std::fabs(step_[j]));
    }
    const std::vector<double> start = log_v_;
    double& longest = k_.longest_step_;
    length = largest > longest ? longest / largest : 1.0;
    Point next{};
    for (int halvings = 0;; ++halvings, length *= 0.5) {
      for (std::int64_t j = 0; j < m_; ++j) log_v_[j] = start[j] + length * step_[j];
      vector_kernels().exp_linear(log_v_.data(), 1.0, log_v_.data(), 0.0, v_.data(), m_);
      next = evaluate();
      if (next.finite() && (next.residual < 0.5 * now.residual ||
                            next.dual >= now.dual + 1e-4 * length * slope - 1e-14 * (1.0 + std::fabs(now.dual)))) {
        moved_ += length * largest;
        // A step that is cut short and does well may be part of a long way: to a faint column of a soft side, for example.
        longest = halvings > 0 ? kLongest : largest > longest ? std::fmin(4.0 * longest, kFarthest) : longest;
        return next;
      }
      if (raised(k_.view_.interrupt)) return next;
      if (halvings < 10) continue;
      log_v_ = start;  // no progress along this line
      vector_kernels().exp_linear(log_v_.data(), 1.0, log_v_.data(), 0.0, v_.data(), m_);
      return evaluate();
    }
  }

  bool in_range() const {
    for (std::int64_t j = 0; j < m_; ++j)
      if (!(std::fabs(log_v_[j] - columns_.log_mass[j]) < 180.0)) return false;
    return true;
  }

  // Hands v and its u to the scaling.
  void publish() {
    evaluate();
    columns_.u = v_;
    columns_.log_u = log_v_;
    columns_.set_target();
    rows_.accept();
    k_.column_error_ = ColumnError();  // the rows are exact now, the columns are not
    k_.write_v();
  }

  Stored& k_;
  StoredMatrix<double>& matrix_;
  typename Stored::PartType &rows_, &columns_;
  const std::int64_t n_, m_;
  const double k1_;
  static constexpr double kTheta = 0.1;
  const bool singular_;
  PlanSchur plan_;
  ConjugateGradients solver_;
  std::unique_ptr<Preconditioner> factor_;
  std::vector<double> v_, c_, r_, log_v_, gradient_, step_, residual_, excess_, written_c_;  // c = P'1
  double theta_ = kTheta, lambda_ = 0.0, moved_ = 0.0;
  bool jacobi_ = false, fresh_ = false;
  std::int64_t passes_ = 0;
};

}  // namespace wbm
