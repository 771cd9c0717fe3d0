// Newton's method for the scalings, for problems on which plain iterations crawl.
//
// With u eliminated by its own update, the dual is a concave function of y = log v with
//
//     gradient  G = c* - c,     c = P'1,  c* = b (hard) or b exp(-g/kappa2) (soft),
//     -Hessian  H = diag(c + h) - P' diag(1/(k1 r)) P,     r = P1,  k1 = 1 + eps/kappa1,  h = 0 (hard) or eps/kappa2 c*,
//
// an M-matrix with row sums c (1 - 1/k1) + h >= 0. Each step solves H d = G by conjugate gradients, one read of K a product:
// preconditioned by diag(H) while that takes few products, else by a float32 factor L D L' of H that is kept until the
// products needed say that it is too old. A Levenberg term lambda diag(c) and a line search on the dual make every step
// safe; with both marginals hard H has the null vector 1, and steps are kept free of it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "cpu/linear/factor.h"
#include "cpu/runtime/interrupt.h"
#include "cpu/kernels/kernels.h"
#include "cpu/linear/schur.h"

namespace wbm {

template <typename Stored>
class Newton {
 public:
  explicit Newton(Stored& scaling)
      : k_(scaling), matrix_(scaling.k_), rows_(scaling.rows_), columns_(scaling.columns_), n_(rows_.size()),
        m_(columns_.size()), k1_(rows_.side.hard ? 1.0 : 1.0 + scaling.view_.epsilon / rows_.side.kappa),
        hessian_(matrix_, rows_.side.hard && columns_.side.hard), v_(hessian_.v), c_(hessian_.carried) {
    for (auto* x : {&log_v_, &gradient_, &step_, &residual_, &excess_}) x->resize(m_);
  }

  bool run(double target, std::int64_t budget, std::int64_t& passes, double& residual) {
    passes_ = 0;
    v_ = columns_.u;
    for (std::int64_t j = 0; j < m_; ++j) log_v_[j] = columns_.side.hard ? std::log(v_[j]) : columns_.log_u[j];
    Point now = evaluate();
    const bool alive = now.finite();
    int last_products = 0;
    double levenberg = 1.0, best = now.residual;
    int fruitless = 0;
    for (int count = 0; alive && now.residual > target && passes_ < budget && count < 150 && fruitless < 12; ++count) {
      if (raised(k_.view_.interrupt)) break;
      const double lambda = std::fmin(1.0, levenberg * std::fmin(1e-2, 1e-3 * now.residual));
      prepare(lambda);
      if (jacobi_ && last_products >= kJacobiProducts) jacobi_ = m_ > kLargestFactor;
      if (!jacobi_ && (!factor_.made() || last_products > old_factor_)) factorise();
      last_products = solve(std::fmax(std::fmin(1e-2, 10.0 * now.residual), 0.2 * target / now.residual));
      double length;
      const Point next = search(now, length);
      if (!next.finite()) break;
      now = next;
      if (length < 1.0) last_products = 1000;
      if (length < 0.2) levenberg = std::fmin(1e6, 10.0 * levenberg);
      if (length >= 1.0) levenberg = std::fmax(1.0, 0.1 * levenberg);
      fruitless = now.residual < 0.7 * best ? 0 : fruitless + 1;
      best = std::fmin(best, now.residual);
      if (!k_.rows_.safe(1e80) || !in_range()) break;
    }
    publish();
    if (factor_.made()) k_.factor_ = std::move(factor_);
    passes = passes_;
    residual = now.residual;
    return alive && now.residual <= target;
  }

 private:
  static constexpr int kJacobiProducts = 20;   // more than these, and a factor is cheaper
  static constexpr int kProducts = 30;         // most products of one step with a factor
  static constexpr std::int64_t kLargestFactor = 6144;

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

  // H at the current point.
  void prepare(double lambda) {
    const Side& columns = columns_.side;
    const double soft = columns.hard ? 0.0 : k_.view_.epsilon / columns.kappa, share = 1.0 - 1.0 / k1_;
    for (std::int64_t j = 0; j < m_; ++j) {
      const double h = columns.hard ? 0.0 : soft * (c_[j] + gradient_[j]);
      hessian_.diagonal[j] = c_[j] * (1.0 + lambda) + h;
      excess_[j] = c_[j] * (lambda + share) + h;
    }
    for (std::int64_t i = 0; i < n_; ++i) {  // P' diag(1/(k1 r)) P p = v K'(u^2/(k1 r) K (v p)), r = u s
      const double s = matrix_.sums[i];
      hessian_.weight[i] = s > 0.0 ? rows_.next[i] / (k1_ * s) : 0.0;
    }
  }

  void factorise() {
    double total = 0.0;
    for (const double x : c_) total += x;
    factor_.make(matrix_, hessian_.weight, v_, excess_, total > 0.0 ? static_cast<double>(m_) / total : 1.0);
    ++passes_;
  }

  // Conjugate gradients for H step = G to a relative |residual|_1; returns the products taken.
  int solve(double tolerance) {
    std::fill(step_.begin(), step_.end(), 0.0);
    residual_ = gradient_;
    hessian_.project(residual_);
    const auto size = [this] {
      double sum = 0.0;
      for (const double x : residual_) sum += std::fabs(x);
      return sum;
    };
    const double wanted = tolerance * size();
    const auto precondition = [this](const std::vector<double>& r, std::vector<double>& z) {
      if (!jacobi_) return factor_.solve(r, z);
      for (std::int64_t j = 0; j < m_; ++j) z[j] = r[j] / hessian_.diagonal[j];
    };
    const int products = hessian_.conjugate_gradients(precondition, step_, residual_, jacobi_ ? kJacobiProducts : kProducts,
                                                      [&] { return size() < wanted; });
    passes_ += products;
    if (products == 1 && dot(step_, step_) == 0.0) precondition(residual_, step_);
    return products;
  }

  // Halves the step until the dual has risen enough (Armijo) or the residual is half of what it was.
  Point search(const Point& now, double& length) {
    if (hessian_.singular) {  // v times a constant is the same plan
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
    length = largest > 100.0 ? 100.0 / largest : 1.0;
    Point next{};
    for (int halvings = 0;; ++halvings, length *= 0.5) {
      for (std::int64_t j = 0; j < m_; ++j) log_v_[j] = start[j] + length * step_[j];
      vector_kernels().exp_linear(log_v_.data(), 1.0, log_v_.data(), 0.0, v_.data(), m_);
      next = evaluate();
      if (next.finite() && (next.residual < 0.5 * now.residual ||
                            next.dual >= now.dual + 1e-4 * length * slope - 1e-14 * (1.0 + std::fabs(now.dual))))
        return next;
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
  // Products of a step after which the factor is made anew: it costs as much as m / 18 of them, and serves a step or two.
  const std::int64_t old_factor_ = std::clamp<std::int64_t>(m_ / 36, 4, kProducts - 6);
  Schur<double> hessian_;
  Factor factor_;
  std::vector<double>&v_, &c_;  // the Hessian's v, and c = P'1
  std::vector<double> log_v_, gradient_, step_, residual_, excess_;
  bool jacobi_ = true;
  std::int64_t passes_ = 0;
};

}  // namespace wbm
