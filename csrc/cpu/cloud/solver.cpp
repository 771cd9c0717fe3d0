#include "cpu/cloud/solver.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "cpu/cloud/level.h"

namespace wbm::cpu {
namespace {

constexpr double kWarmest = 0.05;     // of the mean cost: where epsilon begins
constexpr double kLeastBox = 0.3, kMostBox = 2.0;  // mean squared radius of a level's boxes over its blur
constexpr double kRough = 1e-3;       // residual that a level hands on
constexpr double kShare = 1e-2;       // of tol: what pruning may leave out of a row or column
constexpr double kSingle = 5e-8;      // residual that entries in float32 can reach
constexpr int kSweeps = 10;
constexpr std::int64_t kCoarsePasses = 300;

struct Positive {  // the points that carry mass
  std::vector<std::int64_t> places;
  std::vector<double> points, masses;

  Positive(const double* given, const double* mass, std::int64_t n, std::int64_t dimension) {
    for (std::int64_t i = 0; i < n; ++i) {
      if (!(mass[i] > 0.0)) continue;
      places.push_back(i);
      masses.push_back(mass[i]);
      points.insert(points.end(), given + i * dimension, given + (i + 1) * dimension);
    }
  }
  Cloud cloud(std::int64_t dimension) const {
    return Cloud(points.data(), masses.data(), static_cast<std::int64_t>(masses.size()), dimension);
  }
};

double mean_cost(const Cloud& x, const Cloud& y, CloudCost cost) {
  double sum = 0.0;
  if (!cost.euclidean) {  // mean |x - y|^2 = var x + var y + |mean x - mean y|^2
    for (std::int64_t c = 0; c < x.dimension; ++c) {
      const auto moments = [c](const Cloud& z, double& mean, double& variance) {
        mean = variance = 0.0;
        for (std::int64_t i = 0; i < z.n; ++i) mean += z.point(i)[c] / static_cast<double>(z.n);
        for (std::int64_t i = 0; i < z.n; ++i) {
          const double away = z.point(i)[c] - mean;
          variance += away * away / static_cast<double>(z.n);
        }
      };
      double mean_x, variance_x, mean_y, variance_y;
      moments(x, mean_x, variance_x);
      moments(y, mean_y, variance_y);
      sum += variance_x + variance_y + (mean_x - mean_y) * (mean_x - mean_y);
    }
    return sum;
  }
  for (std::int64_t i = 0; i < x.n; ++i)
    for (std::int64_t j = 0; j < y.n; ++j) {
      double square = 0.0;
      for (std::int64_t c = 0; c < x.dimension; ++c) {
        const double away = x.point(i)[c] - y.coordinates[c * y.padded + j];
        square += away * away;
      }
      sum += std::sqrt(square);
    }
  return sum / static_cast<double>(x.n) / static_cast<double>(y.n);
}

// Sums of the plan of f and g, with a bound of what is left out.
struct CloudSums {
  std::vector<double> rows, columns, row_entropy, column_entropy;
  double sharp = 0.0, left_out = 0.0;
};

// work(chunk, row of the plan, its ranges) for every row.
template <typename Work>
double each_plan_row(const CloudProblem& p, const std::vector<double>& f, const std::vector<double>& g, double cut, Team& team,
                     const Work& work) {
  const Majorant f_bound(p.x, f, p.cost), g_bound(p.y, g, p.cost);
  std::vector<double> padded(p.y.padded, -kInf);
  std::copy_n(g.begin(), p.y.n, padded.begin());
  const LeafChunks chunks(p.x);
  std::vector<double> left_out(chunks.count(), 0.0);
  team.split(chunks.count(), [&](std::int64_t first, std::int64_t last) {
    std::vector<CloudRange> ranges;
    for (std::int64_t chunk = first; chunk < last; ++chunk)
      for (std::int64_t l = chunks.begin(chunk); l < chunks.end(chunk); ++l) {
        if (raised(p.interrupt)) return;
        const std::int32_t leaf = p.x.leaves[l];
        plan_ranges(p.x, leaf, f_bound, p.y, g_bound, p.cost, p.inverse_epsilon(), cut, ranges, left_out[chunk]);
        for (std::int32_t i = p.x.nodes[leaf].begin; i < p.x.nodes[leaf].end; ++i)
          work(chunk, i,
               CloudRow{p.x.point(i), p.y.coordinates.data(), p.y.padded, p.y.dimension, p.cost.euclidean, f[i], padded.data(),
                        p.inverse_epsilon()},
               ranges.data(), static_cast<std::int64_t>(ranges.size()));
      }
  });
  double out = 0.0;
  for (const double x : left_out) out += x;
  return out;
}

CloudSums sum_plan(const CloudProblem& p, const std::vector<double>& f, const std::vector<double>& g, double cut, Team& team) {
  const std::int64_t chunks = LeafChunks(p.x).count(), padded = p.y.padded;
  CloudSums out;
  out.rows.resize(p.x.n);
  out.row_entropy.resize(p.x.n);
  out.columns.assign(p.y.n, 0.0);
  out.column_entropy.assign(p.y.n, 0.0);
  std::vector<double> partial(2 * chunks * padded, 0.0), sharp(p.x.n, 0.0);
  out.left_out = each_plan_row(p, f, g, cut, team,
                               [&](std::int64_t chunk, std::int64_t i, const CloudRow& row, const CloudRange* ranges, std::int64_t count) {
                                 double* columns = &partial[2 * chunk * padded];
                                 cloud_kernels().report(row, ranges, count, &out.rows[i], &out.row_entropy[i], &sharp[i], columns,
                                                        columns + padded);
                               });
  for (std::int64_t chunk = 0; chunk < chunks; ++chunk)
    for (std::int64_t j = 0; j < p.y.n; ++j) {
      out.columns[j] += partial[2 * chunk * padded + j];
      out.column_entropy[j] += partial[(2 * chunk + 1) * padded + j];
    }
  for (const double x : sharp) out.sharp += x;
  return out;
}

Side side_of(const Cloud& cloud, double scale, double kappa, double epsilon, Reference reference) {
  Side side;
  side.set(cloud.n, cloud.masses.data(), scale, kappa, epsilon, reference);
  side.active.assign(cloud.n, 1);
  return side;
}

}  // namespace

struct CloudSolution::State {
  explicit State(const CloudInput& given)
      : input(given), positive_x(given.x, given.a, given.n, given.dimension), positive_y(given.y, given.b, given.m, given.dimension),
        x(positive_x.cloud(given.dimension)), y(positive_y.cloud(given.dimension)), cost{given.euclidean}, team(given.threads) {}

  CloudProblem problem(const Cloud& rows, const Cloud& columns, double epsilon, Interrupt* interrupt) const {
    return {rows, columns, side_of(rows, 1.0, input.kappa[0], epsilon, input.reference),
            side_of(columns, b_scale, input.kappa[1], epsilon, input.reference), epsilon, cost, interrupt};
  }

  // Of an exponent below which a pair is not looked at: all such pairs together carry less than a part of tol.
  double cut(double tol) const {
    double mass = 0.0;
    for (const double a : x.masses) mass += a;
    return std::log(1e-2 * tol * mass / (static_cast<double>(x.n) * static_cast<double>(y.n)));
  }
  double tolerance() const { return std::fmax(input.tol, 1e-13); }

  void solve();
  std::vector<double> extended(const CloudProblem& next, const Cloud& rows, double before) const;
  void measure(const CloudProblem& whole);
  void finish(const CloudProblem& whole, CloudLevel& solver);

  CloudInput input;
  Positive positive_x, positive_y;
  Cloud x, y;
  CloudCost cost;
  mutable Team team;
  double b_scale = 1.0;
  std::vector<double> f, g;
  CloudSums sums;
  CloudReport report;
};

// Level by level: the boxes of a level, the start from the level before, its solve.
void CloudSolution::State::solve() {
  const double target = input.epsilon, share = kShare * tolerance();
  if (std::isinf(input.kappa[0]) && std::isinf(input.kappa[1])) {
    double total_a = 0.0, total_b = 0.0;
    for (const double a : x.masses) total_a += a;
    for (const double b : y.masses) total_b += b;
    b_scale = total_a / total_b;
    if (std::fabs(b_scale - 1.0) > 1e-12) report.status |= kRescaled;
  }
  std::optional<Cloud> coarse_x, coarse_y;
  const Cloud *rows = nullptr, *columns = nullptr;
  double before = 0.0;
  for (double epsilon = kWarmest * mean_cost(x, y, cost); epsilon > 1.001 * target; epsilon *= 0.5) {
    const double blur = cost.euclidean ? epsilon * epsilon : epsilon;
    const auto boxes = [&](const Cloud& whole, std::optional<Cloud>& out) -> const Cloud* {
      for (double square = kLeastBox * blur; square < kMostBox * blur; square *= 1.7) {
        const std::vector<CloudRange> cut = whole.cut_by_radius(square);
        if (2 * static_cast<std::int64_t>(cut.size()) <= whole.n) return &out.emplace(whole.coarsened(cut));
      }
      return &whole;
    };
    std::optional<Cloud> next_x, next_y;
    const Cloud *new_rows = boxes(x, next_x), *new_columns = boxes(y, next_y);
    const CloudProblem level = problem(*new_rows, *new_columns, epsilon, input.interrupt);
    g = rows ? extended(level, *rows, before) : std::vector<double>(new_columns->n, 0.0);
    std::int64_t passes = 0;
    CloudLevel(level, team, share, input.memory).solve(f, g, kRough, kRough, kSweeps, kCoarsePasses, passes);
    if (raised(input.interrupt)) return;
    const bool whole_x = new_rows == &x, whole_y = new_columns == &y;
    coarse_x = std::move(next_x);
    coarse_y = std::move(next_y);
    rows = whole_x ? &x : &*coarse_x;
    columns = whole_y ? &y : &*coarse_y;
    before = epsilon;
  }
  const CloudProblem whole = problem(x, y, target, input.interrupt);
  g = rows ? extended(whole, *rows, before) : std::vector<double>(y.n, 0.0);
  CloudLevel solver(whole, team, share, input.memory);
  const double goal = std::fmax(0.5 * tolerance(), kSingle);
  solver.solve(f, g, goal, goal, kSweeps, input.max_iter, report.iterations);
  finish(whole, solver);
}

// g of the next level: the columns' update from f of the level before, at its epsilon, moved to the new one.
std::vector<double> CloudSolution::State::extended(const CloudProblem& next, const Cloud& rows, double before) const {
  std::vector<double> padded(rows.padded, -kInf), out(next.y.n);
  std::copy(f.begin(), f.end(), padded.begin());
  const Side side = side_of(next.y, b_scale, input.kappa[1], before, input.reference);
  softmin_update(next.y, side, rows, padded.data(), before, cost, team, out.data());
  for (std::int64_t j = 0; j < next.y.n; ++j) out[j] += (next.epsilon - before) * side.log_mass[j];
  return out;
}

// The plan's sums, its costs and its residual, in float64.
void CloudSolution::State::measure(const CloudProblem& p) {
  sums = sum_plan(p, f, g, cut(tolerance()), team);
  double error = 2.0 * sums.left_out, mass = 0.0, entropy = 0.0, divergence = 0.0;
  const auto side = [&](const Side& of, const std::vector<double>& potential, const std::vector<double>& found) {
    for (std::int64_t i = 0; i < of.size; ++i) {
      error += std::fabs(found[i] - of.target(i, potential[i]));
      if (!of.hard) divergence += of.kappa * of.divergence(i, found[i]);
    }
  };
  side(p.rows, f, sums.rows);
  side(p.columns, g, sums.columns);
  for (std::int64_t i = 0; i < p.x.n; ++i) mass += sums.rows[i], entropy += sums.row_entropy[i];
  double regularizer = entropy - mass;  // sum P (log P - 1)
  if (input.reference == Reference::product) {  // KL(P | a b')
    regularizer += p.rows.total * p.columns.total;
    for (std::int64_t i = 0; i < p.x.n; ++i) regularizer -= sums.rows[i] * p.rows.log_mass[i];
    for (std::int64_t j = 0; j < p.y.n; ++j) regularizer -= sums.columns[j] * p.columns.log_mass[j];
  }
  report.sharp = sums.sharp;
  report.mass = mass;
  report.left_out = sums.left_out;
  report.regularized = sums.sharp + p.epsilon * regularizer + divergence;
  report.residual = error / std::fmax(mass, p.scale());
}

// What float32 entries cannot reach: Newton steps from sums in float64.
void CloudSolution::State::finish(const CloudProblem& whole, CloudLevel& solver) {
  measure(whole);
  std::vector<double> best_f = f, best_g = g;
  double best = report.residual;
  int fruitless = 0;
  while (report.residual > input.tol && input.tol > 0.0 && report.iterations < input.max_iter && fruitless < 3 &&
         !raised(input.interrupt)) {
    solver.refine(f, g, sums.columns, report.iterations);
    measure(whole);
    report.iterations += 2;
    fruitless = report.residual < 0.5 * best ? 0 : fruitless + 1;
    if (report.residual < best) best = report.residual, best_f = f, best_g = g;
  }
  if (best < report.residual) {
    f = best_f;
    g = best_g;
    measure(whole);
  }
  report.status |= report.residual <= input.tol ? kConverged
                   : report.iterations >= input.max_iter ? kIterationLimit
                                                         : kStagnated;
  if (!whole.rows.hard || !whole.columns.hard) return;
  double shift = 0.0;  // the gauge: <a, f> / sum a = <b, g> / sum b
  for (std::int64_t i = 0; i < x.n; ++i) shift += whole.rows.mass[i] / whole.rows.total * f[i];
  for (std::int64_t j = 0; j < y.n; ++j) shift -= whole.columns.mass[j] / whole.columns.total * g[j];
  for (double& value : f) value -= 0.5 * shift;
  for (double& value : g) value += 0.5 * shift;
}

CloudSolution::CloudSolution(const CloudInput& input) : state_(std::make_unique<State>(input)) { state_->solve(); }

CloudSolution::~CloudSolution() = default;

CloudReport CloudSolution::report() const { return state_->report; }

void CloudSolution::potentials(double* f, double* g) const {
  const State& s = *state_;
  std::fill_n(f, s.input.n, -kInf);
  std::fill_n(g, s.input.m, -kInf);
  for (std::int64_t i = 0; i < s.x.n; ++i) f[s.positive_x.places[s.x.order[i]]] = s.f[i];
  for (std::int64_t j = 0; j < s.y.n; ++j) g[s.positive_y.places[s.y.order[j]]] = s.g[j];
}

// The linear system of gradient/implicit.cpp for (lambda', mu'), with right side -[(P.E)1 + r f / kappa1; (P.E)'1 + c g / kappa2];
// then dL/dD = P.(s (1 + E + lambda' + mu') + w) for upstream gradients s of the sharp and w of the regularised cost.
double CloudSolution::gradient(double s, double w, double* d_x, double* d_y, double* d_a, double* d_b, int threads,
                               Interrupt* interrupt) const {
  const State& state = *state_;
  Team team(threads);
  const CloudProblem p = state.problem(state.x, state.y, state.input.epsilon, interrupt);
  const std::int64_t n = p.x.n, m = p.y.n;
  const std::vector<double>&f = state.f, &g = state.g;
  std::vector<double> row(n, 0.0), column(p.y.padded, 0.0);
  double reached = 0.0;
  const double k1 = p.rows.hard ? 1.0 : 1.0 + p.epsilon / p.rows.kappa, k2 = p.columns.hard ? 1.0 : 1.0 + p.epsilon / p.columns.kappa;
  if (s != 0.0) {
    CloudPlan plan(p, team, kShare * state.tolerance(), state.input.memory);
    plan.build(f, g);
    CloudSystem system(plan, p);
    std::fill_n(system.v.begin(), m, 1.0);
    plan.pass(system.v.data(), [](std::int64_t) { return 1.0; });
    std::vector<double> right(n), rest(m), mu(m, 0.0);
    for (std::int64_t i = 0; i < n; ++i) {
      const double r = plan.sums[i];
      system.weight[i] = r > 0.0 ? 1.0 / (k1 * r) : 0.0;
      right[i] = -state.sums.row_entropy[i] - (p.rows.hard ? 0.0 : state.sums.rows[i] * f[i] / p.rows.kappa);
    }
    for (std::int64_t j = 0; j < m; ++j) {
      const double c = plan.column_sums[j];
      system.carried[j] = c;
      system.diagonal[j] = k2 * c;
      system.excess[j] = c * (k2 - 1.0 / k1);
      rest[j] = -state.sums.column_entropy[j] - (p.columns.hard ? 0.0 : state.sums.columns[j] * g[j] / p.columns.kappa);
    }
    double size = 0.0;
    for (const double x : rest) size += std::fabs(x);
    plan.pass(system.v.data(), [&](std::int64_t i) { return right[i] * system.weight[i]; });
    for (std::int64_t j = 0; j < m; ++j) rest[j] -= plan.column_sums[j];
    Clusters clusters;
    system.project(rest);
    double start = 0.0;
    for (const double x : rest) start += std::fabs(x);
    const double wanted = 1e-9 * std::fmax(size, start);
    system.solve(mu, rest, wanted, 500, clusters);
    for (const double x : rest) reached += std::fabs(x);
    reached /= std::fmax(size, start) > 0.0 ? std::fmax(size, start) : 1.0;
    std::copy(mu.begin(), mu.end(), column.begin());
    plan.pass(column.data(), [](std::int64_t) { return 0.0; });
    for (std::int64_t i = 0; i < n; ++i) row[i] = (right[i] - plan.sums[i]) * system.weight[i];
  }
  const auto masses = [&](const Side& side, const Side& other, double k, const std::vector<double>& potential,
                          const std::vector<double>& found, const double* multiplier, const Positive& positive, const Cloud& cloud,
                          std::int64_t size, double* out) {
    if (!out) return;
    std::fill_n(out, size, 0.0);
    const bool product = state.input.reference == Reference::product;
    double mean = 0.0;
    std::vector<double> values(side.size);
    for (std::int64_t i = 0; i < side.size; ++i) {
      const double share = found[i] / side.mass[i];
      double regularized = side.hard ? potential[i] : side.kappa * (1.0 - share);
      if (product) regularized -= p.epsilon * ((side.hard ? side.log_mass[i] : 0.0) + share - other.total);
      values[i] = s * (product ? k : 1.0) * share * (potential[i] + p.epsilon * multiplier[i]) + w * regularized;
      mean += side.mass[i] / side.total * values[i];
    }
    const bool both = p.rows.hard && p.columns.hard;  // only changes that keep the total mean anything
    for (std::int64_t i = 0; i < side.size; ++i) out[positive.places[cloud.order[i]]] = values[i] - (both ? mean : 0.0);
  };
  masses(p.rows, p.columns, k1, f, state.sums.rows, row.data(), state.positive_x, p.x, state.input.n, d_a);
  masses(p.columns, p.rows, k2, g, state.sums.columns, column.data(), state.positive_y, p.y, state.input.m, d_b);
  if (!d_x && !d_y) return reached;

  // sum_j W'_ij (x_i - y_j) of the rows, sum_i W'_ij (y_j - x_i) of the columns
  const std::int64_t d = p.x.dimension, padded = p.y.padded, chunks = LeafChunks(p.x).count(), width = (d + 1) * padded;
  std::vector<double> partial(chunks * width, 0.0), of_columns(p.y.padded, 0.0);
  for (std::int64_t j = 0; j < m; ++j) of_columns[j] = s * column[j];
  if (d_x) std::fill_n(d_x, state.input.n * d, 0.0);
  each_plan_row(p, f, g, state.cut(state.tolerance()), team,
                [&](std::int64_t chunk, std::int64_t i, const CloudRow& at, const CloudRange* ranges, std::int64_t count) {
                  thread_local std::vector<double> own;
                  own.resize(d + 1);
                  cloud_kernels().moments(at, ranges, count, {s + w, s, s * row[i], of_columns.data()}, own.data(),
                                          &partial[chunk * width]);
                  if (!d_x) return;
                  double* out = d_x + state.positive_x.places[p.x.order[i]] * d;
                  for (std::int64_t c = 0; c < d; ++c) out[c] = own[0] * p.x.point(i)[c] - own[c + 1];
                });
  if (d_y) {
    std::fill_n(d_y, state.input.m * d, 0.0);
    for (std::int64_t chunk = 1; chunk < chunks; ++chunk)
      for (std::int64_t k = 0; k < width; ++k) partial[k] += partial[chunk * width + k];
    for (std::int64_t j = 0; j < m; ++j) {
      double* out = d_y + state.positive_y.places[p.y.order[j]] * d;
      for (std::int64_t c = 0; c < d; ++c) out[c] = partial[j] * p.y.point(j)[c] - partial[(c + 1) * padded + j];
    }
  }
  return reached;
}

void CloudSolution::product(const double* v, bool transposed, double* out, int threads) const {
  const State& s = *state_;
  Team team(threads);
  const CloudProblem straight = s.problem(s.x, s.y, s.input.epsilon, nullptr);
  const CloudProblem p{transposed ? s.y : s.x, transposed ? s.x : s.y, transposed ? straight.columns : straight.rows,
                       transposed ? straight.rows : straight.columns, s.input.epsilon, s.cost, nullptr};
  const Positive &rows = transposed ? s.positive_y : s.positive_x, &columns = transposed ? s.positive_x : s.positive_y;
  std::vector<double> in(p.y.padded, 0.0);
  for (std::int64_t j = 0; j < p.y.n; ++j) in[j] = v[columns.places[p.y.order[j]]];
  std::fill_n(out, transposed ? s.input.m : s.input.n, 0.0);
  each_plan_row(p, transposed ? s.g : s.f, transposed ? s.f : s.g, s.cut(s.tolerance()), team,
                [&](std::int64_t, std::int64_t i, const CloudRow& row, const CloudRange* ranges, std::int64_t count) {
                  cloud_kernels().product(row, ranges, count, in.data(), out + rows.places[p.x.order[i]]);
                });
}

void CloudSolution::extend(const double* z, std::int64_t count, bool columns, double* out, int threads) const {
  const State& s = *state_;
  Team team(threads);
  const std::vector<double> ones(count, 1.0);  // no mass of their own
  const Cloud cloud(z, ones.data(), count, s.input.dimension), &other = columns ? s.x : s.y;
  const std::vector<double>& potential = columns ? s.f : s.g;
  std::vector<double> padded(other.padded, -kInf), found(count);
  std::copy(potential.begin(), potential.end(), padded.begin());
  const Side side = side_of(cloud, 1.0, s.input.kappa[columns ? 1 : 0], s.input.epsilon, s.input.reference);
  softmin_update(cloud, side, other, padded.data(), s.input.epsilon, s.cost, team, found.data());
  for (std::int64_t i = 0; i < count; ++i) out[cloud.order[i]] = found[i];
}

double mean_cloud_cost(const CloudInput& input) {
  const Positive x(input.x, input.a, input.n, input.dimension), y(input.y, input.b, input.m, input.dimension);
  return mean_cost(x.cloud(input.dimension), y.cloud(input.dimension), {input.euclidean});
}

}  // namespace wbm::cpu
