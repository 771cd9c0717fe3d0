#include "cpu/linear/sparse_factor.h"

#include <algorithm>
#include <utility>

namespace wbm {

Graph graph_of(const ThinPlan& plan) {
  const std::int64_t n = plan.rows, size = n + plan.columns, entries = plan.start[n];
  Graph out;
  out.start.assign(size + 1, 0);
  out.adjacent.resize(2 * entries);
  for (std::int64_t i = 0; i < n; ++i) out.start[i + 1] = plan.start[i + 1];
  for (std::int64_t k = 0; k < entries; ++k) ++out.start[n + plan.index[k] + 1];
  for (std::int64_t v = n; v < size; ++v) out.start[v + 1] += out.start[v];
  std::vector<std::int64_t> next(out.start.begin() + n, out.start.end() - 1);
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t k = plan.start[i]; k < plan.start[i + 1]; ++k) {
      out.adjacent[k] = static_cast<std::int32_t>(n + plan.index[k]);
      out.adjacent[next[plan.index[k]]++] = static_cast<std::int32_t>(i);
    }
  return out;
}

SparseFactor::SparseFactor(const ThinPlan& plan, EliminationOrder order, const std::vector<double>& row_excess,
                           const std::vector<double>& column_excess, double scale, Team& team,
                           Interrupt* interrupt)
    : order_(std::move(order)), rows_(plan.rows), columns_(plan.columns), scale_(scale), l_(order_.index.size()),
      inverse_(order_.sparse) {
  const std::int64_t size = rows_ + columns_, sparse = order_.sparse, front = size - sparse;
  const std::vector<std::int32_t>& position = order_.position;
  const std::vector<std::int64_t>& start = order_.start;
  const std::int32_t* index = order_.index.data();

  // The entries of each row of the matrix that lie above its diagonal, in the order of elimination.
  std::vector<std::int64_t> first(size + 1, 0);
  const auto each = [&](const auto& visit) {
    for (std::int64_t i = 0; i < rows_; ++i)
      for (std::int64_t k = plan.start[i]; k < plan.start[i + 1]; ++k) {
        const std::int32_t p = position[i], q = position[rows_ + plan.index[k]];
        visit(std::min(p, q), std::max(p, q), plan.value[k]);
      }
  };
  each([&](std::int32_t p, std::int32_t, float) { ++first[p + 1]; });
  for (std::int64_t s = 0; s < size; ++s) first[s + 1] += first[s];
  std::vector<std::pair<std::int32_t, float>> entries(plan.value.size());
  std::vector<std::int64_t> slot(first.begin(), first.end() - 1);
  each([&](std::int32_t p, std::int32_t q, float x) { entries[slot[p]++] = {q, x}; });

  std::vector<double> excess(size), pivot(sparse), work(size, 0.0);
  for (std::int64_t i = 0; i < rows_; ++i) excess[position[i]] = row_excess[i];
  for (std::int64_t j = 0; j < columns_; ++j) excess[position[rows_ + j]] = column_excess[j];

  // Column s: its own entries, and what each eliminated column t with an entry in row s adds,
  //     M_sq += M_ts M_tq / pivot_t,   excess_s += excess_t M_ts / pivot_t.
  // Columns wait in the list of the next row in which they have an entry.
  std::vector<std::int32_t> waiting(sparse, -1), next(sparse, -1);
  std::vector<std::int64_t> at(start.begin(), start.end() - 1);
  for (std::int32_t s = 0; s < sparse; ++s) {
    if (s % 64 == 0 && raised(interrupt)) return;
    for (std::int64_t k = first[s]; k < first[s + 1]; ++k) work[entries[k].first] += entries[k].second;
    double extra = excess[s];
    for (std::int32_t t = waiting[s]; t >= 0;) {
      const std::int64_t end = start[t + 1];
      std::int64_t q = at[t];
      extra += excess[t] * l_[q];
      const double factor = pivot[t] * l_[q];
      for (std::int64_t k = q + 1; k < end; ++k) work[index[k]] += factor * l_[k];
      at[t] = ++q;
      const std::int32_t after = next[t];
      if (q < end && index[q] < sparse) next[t] = std::exchange(waiting[index[q]], t);
      t = after;
    }
    excess[s] = extra;
    double sum = extra;
    for (std::int64_t k = start[s]; k < start[s + 1]; ++k) sum += work[index[k]];
    pivot[s] = sum;
    inverse_[s] = sum > 1e-280 ? 1.0 / sum : 0.0;  // nothing left to eliminate it by: its answer is 0
    for (std::int64_t k = start[s]; k < start[s + 1]; ++k) {
      l_[k] = static_cast<float>(work[index[k]] * inverse_[s]);
      work[index[k]] = 0.0;
    }
    if (start[s] < start[s + 1] && index[start[s]] < sparse) next[s] = std::exchange(waiting[index[start[s]]], s);
  }
  if (front == 0) return;

  front_.resize(front);
  const std::int64_t padded = front_.padded_size();
  for (std::int64_t r = 0; r < padded; ++r) std::fill(front_.row(r) + r / 32 * 32, front_.row(r) + padded, 0.0f);
  for (std::int64_t s = sparse; s < size; ++s)
    for (std::int64_t k = first[s]; k < first[s + 1]; ++k)
      front_.row(s - sparse)[entries[k].first - sparse] += entries[k].second;
  for (std::int64_t t = 0; t < sparse && !(t % 64 == 0 && raised(interrupt)); ++t)
    for (std::int64_t q = at[t]; q < start[t + 1]; ++q) {
      excess[index[q]] += excess[t] * l_[q];
      const float factor = static_cast<float>(pivot[t] * l_[q]);
      float* row = front_.row(index[q] - sparse) - sparse;
      for (std::int64_t k = q + 1; k < start[t + 1]; ++k) row[index[k]] += factor * l_[k];
    }
  excess.erase(excess.begin(), excess.begin() + sparse);
  front_.eliminate(excess, team, front >= 4 * kFactorPanel, interrupt);
}

void SparseFactor::solve(const std::vector<double>& x, std::vector<double>& out) const {
  std::vector<double> y(rows_ + columns_, 0.0);
  for (std::int64_t j = 0; j < columns_; ++j) y[order_.position[rows_ + j]] = x[j] * scale_;
  const std::int32_t* index = order_.index.data();
  const std::int64_t* start = order_.start.data();
  for (std::int64_t s = 0; s < order_.sparse; ++s) {
    const double value = y[s];
    if (value != 0.0)
      for (std::int64_t k = start[s]; k < start[s + 1]; ++k) y[index[k]] += l_[k] * value;
  }
  if (order_.sparse < rows_ + columns_) front_.solve(y.data() + order_.sparse);
  for (std::int64_t s = order_.sparse; s-- > 0;) {
    double value = y[s] * inverse_[s];
    for (std::int64_t k = start[s]; k < start[s + 1]; ++k) value += l_[k] * y[index[k]];
    y[s] = value;
  }
  for (std::int64_t j = 0; j < columns_; ++j) out[j] = y[order_.position[rows_ + j]];
}

}  // namespace wbm
