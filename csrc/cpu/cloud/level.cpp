#include "cpu/cloud/level.h"

#include <algorithm>
#include <cmath>

namespace wbm::cpu {
namespace {

constexpr int kProducts = 200;         // most products of one Newton step
constexpr double kReach = 6.0;         // e-folds of a scaling after which the plan is taken anew

}  // namespace

CloudLevel::CloudLevel(const CloudProblem& problem, Team& team, double share, std::int64_t memory)
    : problem_(problem), team_(team), plan_(problem, team, share, memory),
      system_(plan_, problem), log_u_(problem.x.n), log_v_(problem.y.n), wanted_(problem.y.n) {}

// A full iteration in the log domain: columns exact, rows within a few e-folds. The plan is taken there.
void CloudLevel::start(const std::vector<double>& g, std::vector<double>& f) {
  const CloudProblem& p = problem_;
  std::vector<double> padded(std::max(p.x.padded, p.y.padded), -kInf), next(p.y.n);
  std::copy(g.begin(), g.end(), padded.begin());
  softmin_update(p.x, p.rows, p.y, padded.data(), p.epsilon, p.cost, team_, f.data());
  std::fill(padded.begin(), padded.end(), -kInf);
  std::copy(f.begin(), f.end(), padded.begin());
  softmin_update(p.y, p.columns, p.x, padded.data(), p.epsilon, p.cost, team_, next.data());
  plan_.build(f, next);
  std::fill(log_v_.begin(), log_v_.end(), 0.0);
}

// The rows' own update for the present v, c = v K'u, and the residual of that plan. The rows are exact.
CloudLevel::Point CloudLevel::evaluate() {
  const CloudProblem& p = problem_;
  for (std::int64_t j = 0; j < p.y.n; ++j) system_.v[j] = std::exp(log_v_[j]);
  const std::vector<double>&f = plan_.f(), &g = plan_.g();
  plan_.pass(system_.v.data(), [&](std::int64_t i) {
    log_u_[i] = (p.rows.update(i, -f[i], plan_.sums[i], p.epsilon) - f[i]) / p.epsilon;
    return std::exp(log_u_[i]);
  });
  double error = 0.0, mass = 0.0, dual = 0.0;
  for (std::int64_t j = 0; j < p.y.n; ++j) {
    const double c = system_.v[j] * plan_.column_sums[j], potential = g[j] + p.epsilon * log_v_[j];
    wanted_[j] = p.columns.target(j, potential);
    system_.carried[j] = c;
    dual += p.columns.hard ? wanted_[j] * log_v_[j] : -p.columns.kappa / p.epsilon * wanted_[j];
    error += std::fabs(wanted_[j] - c);
    mass += c;
  }
  for (std::int64_t i = 0; i < p.x.n; ++i)
    dual += p.rows.hard ? p.rows.mass[i] * log_u_[i]
                        : -p.rows.kappa / p.epsilon * std::exp(log_u_[i]) * plan_.sums[i];
  return {error / std::fmax(mass, p.scale()), dual - mass};
}

void CloudLevel::update_columns() {
  const std::vector<double>& g = plan_.g();
  for (std::int64_t j = 0; j < problem_.y.n; ++j)
    log_v_[j] = (problem_.columns.update(j, -g[j], plan_.column_sums[j], problem_.epsilon) - g[j]) / problem_.epsilon;
}

double CloudLevel::iterate(double target, int sweeps, std::int64_t budget, std::int64_t& passes) {
  double residual = kInf;
  for (int sweep = 0; sweep < sweeps && passes < budget && !raised(problem_.interrupt); ++sweep) {
    const std::vector<double> before = log_v_;
    residual = evaluate().residual;
    ++passes;
    if (!(residual > target)) return residual;
    update_columns();
    if (far()) {
      log_v_ = before;  // with the rows of this evaluation
      return residual;
    }
  }
  return residual;
}

bool CloudLevel::far() const {
  const auto large = [](double x) { return !(std::fabs(x) < kReach); };
  return std::any_of(log_u_.begin(), log_u_.end(), large) || std::any_of(log_v_.begin(), log_v_.end(), large);
}

// The matrix at the point last evaluated; see solve/newton.h.
void CloudLevel::set_system(double levenberg) {
  const CloudProblem& p = problem_;
  const double k1 = p.rows.hard ? 1.0 : 1.0 + p.epsilon / p.rows.kappa, share = 1.0 - 1.0 / k1;
  for (std::int64_t j = 0; j < p.y.n; ++j) {
    const double c = system_.carried[j], h = p.columns.hard ? 0.0 : p.epsilon / p.columns.kappa * wanted_[j];
    system_.diagonal[j] = c * (1.0 + levenberg) + h;
    system_.excess[j] = c * (levenberg + share) + h;
  }
  for (std::int64_t i = 0; i < p.x.n; ++i)
    system_.weight[i] = plan_.sums[i] > 0.0 ? std::exp(log_u_[i]) / (k1 * plan_.sums[i]) : 0.0;
}

double CloudLevel::newton(double target, std::int64_t budget, std::int64_t& passes) {
  const std::int64_t m = problem_.y.n;
  Point now = evaluate();
  ++passes;
  double levenberg = 1e-4;
  clusters_ = Clusters();
  int fruitless = 0;
  while (now.residual > target && passes < budget && fruitless < 6 && !raised(problem_.interrupt)) {
    set_system(std::fmin(1e-2, levenberg * now.residual));
    std::vector<double> gradient(m), step(m, 0.0);
    double size = 0.0;
    for (std::int64_t j = 0; j < m; ++j) gradient[j] = wanted_[j] - system_.carried[j];
    for (const double x : gradient) size += std::fabs(x);
    const double relative = std::fmax(std::fmin(1e-1, now.residual), 0.2 * target / now.residual);
    passes += system_.solve(step, gradient, relative * size, kProducts, clusters_);
    double largest = 0.0;
    for (const double x : step) largest = std::fmax(largest, std::fabs(x));
    double length = std::fmin(1.0, 8.0 / largest);
    const bool capped = length < 1.0;
    const std::vector<double> from = log_v_;
    Point next{};
    for (int halving = 0; halving < 8; ++halving, length *= 0.5) {
      for (std::int64_t j = 0; j < m; ++j) log_v_[j] = from[j] + length * step[j];
      next = evaluate();
      ++passes;
      if (std::isfinite(next.residual) && (next.dual > now.dual || next.residual < 0.9 * now.residual)) break;
    }
    if (!std::isfinite(next.residual) || !(next.dual > now.dual || next.residual < now.residual)) {
      log_v_ = from;
      return evaluate().residual;
    }
    fruitless = next.residual < 0.7 * now.residual ? 0 : fruitless + 1;
    levenberg = capped || length < 1.0 ? std::fmin(1e2, 10.0 * levenberg) : std::fmax(1e-4, 0.1 * levenberg);
    now = next;
    if (far()) break;  // taken anew there
  }
  return now.residual;
}

void CloudLevel::read(std::vector<double>& f, std::vector<double>& g) const {
  for (std::int64_t i = 0; i < problem_.x.n; ++i) f[i] = plan_.f()[i] + problem_.epsilon * log_u_[i];
  for (std::int64_t j = 0; j < problem_.y.n; ++j) g[j] = plan_.g()[j] + problem_.epsilon * log_v_[j];
}

double CloudLevel::solve(std::vector<double>& f, std::vector<double>& g, double target, double rough, int sweeps,
                         std::int64_t budget, std::int64_t& passes) {
  f.resize(problem_.x.n);
  double residual = kInf;
  for (int round = 0; round < 20 && passes < budget && !raised(problem_.interrupt); ++round) {
    start(g, f);
    passes += 3;
    residual = iterate(target, sweeps, budget, passes);
    if (residual > rough && !far()) residual = newton(rough <= target ? target : rough, budget, passes);
    read(f, g);
    if (!far() && !(residual > rough)) break;
  }
  return residual;
}

void CloudLevel::refine(std::vector<double>& f, std::vector<double>& g, const std::vector<double>& columns,
                        std::int64_t& passes) {
  const CloudProblem& p = problem_;
  plan_.build(f, g);
  std::fill(log_v_.begin(), log_v_.end(), 0.0);
  evaluate();
  set_system(0.0);
  std::vector<double> gradient(p.y.n), step(p.y.n, 0.0);
  double size = 0.0;
  for (std::int64_t j = 0; j < p.y.n; ++j) {
    gradient[j] = p.columns.target(j, g[j]) - columns[j];
    size += std::fabs(gradient[j]);
  }
  clusters_ = Clusters();
  passes += 2 + system_.solve(step, gradient, 1e-3 * size, kProducts, clusters_);
  std::vector<double> padded(p.y.padded, -kInf);
  for (std::int64_t j = 0; j < p.y.n; ++j) padded[j] = g[j] += p.epsilon * step[j];
  softmin_update(p.x, p.rows, p.y, padded.data(), p.epsilon, p.cost, team_, f.data());
}

}  // namespace wbm::cpu
