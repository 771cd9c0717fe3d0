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
#include <vector>

#include "cpu/interrupt.h"
#include "cpu/kernels.h"

namespace wbm {

template <typename Stored>
class Newton {
 public:
  explicit Newton(Stored& scaling)
      : k_(scaling), rows_(scaling.rows_), columns_(scaling.columns_), n_(rows_.size()), m_(columns_.size()),
        k1_(rows_.side.hard ? 1.0 : 1.0 + scaling.view_.epsilon / rows_.side.kappa),
        singular_(rows_.side.hard && columns_.side.hard) {
    for (auto* x : {&v_, &log_v_, &c_, &curvature_, &gradient_, &step_, &residual_, &direction_, &preconditioned_, &product_})
      x->resize(m_);
    coefficient_.resize(n_);
    weight_.resize(n_);
  }

  bool run(double target, std::int64_t budget, std::int64_t& passes, double& residual) {
    passes_ = 0;
    v_ = columns_.u;
    for (std::int64_t j = 0; j < m_; ++j) log_v_[j] = columns_.side.hard ? std::log(v_[j]) : columns_.log_u[j];
    Point now = evaluate();
    const bool alive = now.finite();
    bool factored = false;
    int last_products = 0;
    double levenberg = 1.0, best = now.residual;
    int fruitless = 0;
    for (int count = 0; alive && now.residual > target && passes_ < budget && count < 150 && fruitless < 12; ++count) {
      if (raised(k_.view_.interrupt)) break;
      const double lambda = std::fmin(1.0, levenberg * std::fmin(1e-2, 0.1 * now.residual));
      prepare(lambda);
      if (jacobi_ && last_products >= kJacobiProducts) jacobi_ = m_ > kLargestFactor;
      if (!jacobi_ && (!factored || last_products > kOldFactor)) factored = factorise(lambda);
      last_products = solve(std::fmax(std::fmin(1e-2, 10.0 * now.residual), 0.2 * target / now.residual));
      double length;
      const Point next = search(now, length);
      if (!next.finite()) break;
      now = next;
      if (length < 1.0) last_products = 1000;
      if (length < 0.2) levenberg = std::fmin(1e4, 10.0 * levenberg);
      if (length >= 1.0) levenberg = std::fmax(1.0, 0.1 * levenberg);
      fruitless = now.residual < 0.7 * best ? 0 : fruitless + 1;
      best = std::fmin(best, now.residual);
      if (!k_.rows_.safe(1e80) || !in_range()) break;
    }
    publish();
    passes = passes_;
    residual = now.residual;
    return alive && now.residual <= target;
  }

 private:
  static constexpr int kJacobiProducts = 20;   // more than these, and a factor is cheaper
  static constexpr int kProducts = 30;         // most products of one step with a factor
  static constexpr int kOldFactor = 4;         // products after which the factor is made anew
  static constexpr std::int64_t kLargestFactor = 6144;

  struct Point {
    double residual, dual;
    bool finite() const { return std::isfinite(residual) && std::isfinite(dual); }
  };

  // u, c, G, the residual and the dual (in units of epsilon) at v_. The rows are exact, for u is their own update.
  Point evaluate() {
    for (std::int64_t j = 0; j < m_; ++j) k_.v_[j] = v_[j];
    k_.sweep();
    ++passes_;
    const Side &rows = rows_.side, &columns = columns_.side;
    const double epsilon = k_.view_.epsilon;
    double error = 0.0, mass = 0.0, dual = 0.0;
    if (!columns.hard)  // c* = exp(alpha / ratio + (1 - 1/ratio) log v)
      vector_kernels().exp_linear(columns_.alpha.data(), 1.0 / columns.ratio, log_v_.data(), 1.0 - 1.0 / columns.ratio,
                                  curvature_.data(), m_);
    for (std::int64_t j = 0; j < m_; ++j) {
      c_[j] = v_[j] * k_.column_sums_[j];
      const double wanted = columns.hard ? columns_.mass[j] : curvature_[j];
      gradient_[j] = wanted - c_[j];
      dual += columns.hard ? wanted * log_v_[j] : -columns.kappa / epsilon * wanted;
      error += std::fabs(gradient_[j]);
      mass += c_[j];
    }
    for (std::int64_t i = 0; i < n_; ++i) {
      const double r = rows_.next[i] * k_.sums_[i];
      dual += rows.hard ? rows_.mass[i] * std::log(rows_.next[i]) : -rows.kappa / epsilon * r;
    }
    const double scale = std::fmax(mass, 0.5 * (rows.total + columns.total));
    return {scale > 0.0 ? error / scale : 0.0, dual - mass};
  }

  // The Hessian's diagonal parts at the current point.
  void prepare(double lambda) {
    const Side& columns = columns_.side;
    const double soft = columns.hard ? 0.0 : k_.view_.epsilon / columns.kappa;
    for (std::int64_t j = 0; j < m_; ++j) {
      const double h = columns.hard ? 0.0 : soft * (c_[j] + gradient_[j]);
      curvature_[j] = c_[j] * (1.0 + lambda) + h;
    }
    for (std::int64_t i = 0; i < n_; ++i) {  // P' diag(1/(k1 r)) P p = v K'(u^2/(k1 r) K (v p)), r = u s
      const double s = k_.sums_[i];
      coefficient_[i] = s > 0.0 ? rows_.next[i] / (k1_ * s) : 0.0;
    }
  }

  // out = H p
  void apply(const std::vector<double>& p, std::vector<double>& out) {
    for (std::int64_t j = 0; j < m_; ++j) k_.v_[j] = v_[j] * p[j];
    k_.pass([this](std::int64_t r, int rows) {
      for (int c = 0; c < rows; ++c) weight_[r + c] = coefficient_[r + c] * k_.sums_[r + c];
      return weight_.data() + r;
    });
    ++passes_;
    for (std::int64_t j = 0; j < m_; ++j) out[j] = curvature_[j] * p[j] - v_[j] * k_.column_sums_[j];
  }

  // L D L' of H, from B_ij = P_ij / sqrt(k1 r_i): off the diagonal H = -B'B. Scaled by 1 / mean(c) into float32's range.
  bool factorise(double lambda) {
    const std::int64_t size = (m_ + 31) / 32 * 32, stride = size % 1024 ? size : size + 32;
    double total = 0.0;
    for (const double x : c_) total += x;
    scale_ = total > 0.0 ? m_ / total : 1.0;
    if (factor_.empty()) {
      gram_.assign(n_ * stride, 0.0f);
      panel_.assign(64 * stride, 0.0f);
      excess_.resize(size);
      pivot_.resize(size);
      padded_in_.assign(size, 0.0);
      padded_out_.assign(size, 0.0);
    }
    size_ = size;
    stride_ = stride;
    for (std::int64_t i = 0; i < n_; ++i) {
      const double u = std::sqrt(scale_ * coefficient_[i]);  // u_i / sqrt(k1 r_i)
      const double* k = k_.k_.get() + i * k_.stride_;
      float* b = gram_.data() + i * stride;
      for (std::int64_t j = 0; j < m_; ++j) b[j] = static_cast<float>(u * k[j] * v_[j]);
    }
    factor_.assign(size * stride, 0.0f);
    factor_kernels().add_gram(gram_.data(), stride, n_, factor_.data(), stride, size);
    const double share = 1.0 - 1.0 / k1_;
    for (std::int64_t j = 0; j < size; ++j)
      excess_[j] = j < m_ ? scale_ * (curvature_[j] - c_[j] * (1.0 + lambda) + c_[j] * (lambda + share)) + 1e-30 : 1.0;
    factor_kernels().factor(factor_.data(), stride, size, excess_.data(), pivot_.data(), panel_.data());
    ++passes_;
    return true;
  }

  void precondition() {
    if (jacobi_) {
      for (std::int64_t j = 0; j < m_; ++j) preconditioned_[j] = residual_[j] / curvature_[j];
      return;
    }
    for (std::int64_t j = 0; j < m_; ++j) padded_in_[j] = residual_[j] * scale_;
    factor_kernels().solve(factor_.data(), stride_, size_, pivot_.data(), padded_in_.data(), padded_out_.data());
    std::copy(padded_out_.begin(), padded_out_.begin() + m_, preconditioned_.begin());
  }

  static double dot(const std::vector<double>& x, const std::vector<double>& y) {
    double s[4] = {};
    std::size_t k = 0;
    for (; k + 4 <= x.size(); k += 4)
      for (int q = 0; q < 4; ++q) s[q] += x[k + q] * y[k + q];
    for (; k < x.size(); ++k) s[0] += x[k] * y[k];
    return (s[0] + s[1]) + (s[2] + s[3]);
  }

  // Conjugate gradients for H step = G to a relative |residual|_1; returns the products taken.
  int solve(double tolerance) {
    std::fill(step_.begin(), step_.end(), 0.0);
    residual_ = gradient_;
    if (singular_) {
      double mean = 0.0, total = 0.0;
      for (std::int64_t j = 0; j < m_; ++j) mean += residual_[j], total += c_[j];
      for (std::int64_t j = 0; j < m_; ++j) residual_[j] -= mean / total * c_[j];
    }
    double first = 0.0;
    for (const double x : residual_) first += std::fabs(x);
    precondition();
    direction_ = preconditioned_;
    double rho = dot(residual_, preconditioned_);
    int products = 0;
    for (const int most = jacobi_ ? kJacobiProducts : kProducts; products < most;) {
      apply(direction_, product_);
      ++products;
      const double curvature = dot(direction_, product_);
      if (!(curvature > 0.0)) break;
      const double length = rho / curvature;
      double left = 0.0;
      for (std::int64_t j = 0; j < m_; ++j) {
        step_[j] += length * direction_[j];
        residual_[j] -= length * product_[j];
        left += std::fabs(residual_[j]);
      }
      if (left < tolerance * first) break;
      precondition();
      const double next = dot(residual_, preconditioned_);
      for (std::int64_t j = 0; j < m_; ++j) direction_[j] = preconditioned_[j] + next / rho * direction_[j];
      rho = next;
    }
    if (products == 1 && dot(step_, step_) == 0.0) step_ = preconditioned_;
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
    k_.cold_ = false;
    k_.slack_ = 0.0;
    k_.write_v();
  }

  Stored& k_;
  typename Stored::PartType &rows_, &columns_;
  const std::int64_t n_, m_;
  const double k1_;
  const bool singular_;
  bool jacobi_ = true;
  std::int64_t passes_ = 0, size_ = 0, stride_ = 0;
  double scale_ = 1.0;
  std::vector<double> v_, log_v_, c_, curvature_, gradient_, step_, residual_, direction_, preconditioned_, product_;
  std::vector<double> coefficient_, weight_, excess_, pivot_, padded_in_, padded_out_;
  std::vector<float> gram_, factor_, panel_;
};

}  // namespace wbm
