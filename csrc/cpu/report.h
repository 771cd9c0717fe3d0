// What a solve tells about the plan it delivers: costs, mass, residual, gauge.
#pragma once

#include "cpu/team.h"
#include "cpu/view.h"

namespace wbm {

// Fills sharp, regularized, mass and residual of problem p from the plan that (f, g) define. One read of D.
template <typename T>
void report(const View<T>& view, Team& team, const double* f, const double* g, const Solution& out, std::int64_t p);

// Both hard: f + t, g - t define the same plan for every t; t makes <a,f>/sum(a) = <b,g>/sum(b).
template <typename T>
void set_gauge(const View<T>& view, double* f, double* g);

// NaN for everything of a problem that was refused, with the reason in its status.
template <typename T>
void refuse(const View<T>& view, const Solution& out, std::int64_t p, std::int32_t status);

// Row i of the plan for j in [begin, end).
template <typename T>
void plan_row(const View<T>& view, std::int64_t i, const double* f, const double* g, double* row, std::int64_t begin,
              std::int64_t end);

}  // namespace wbm
