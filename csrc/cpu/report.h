// What a solve tells about the plan it delivers: costs, mass, residual, gauge.
#pragma once

#include "cpu/view.h"

namespace wbm {

// Puts f, g into the stated gauge, then fills sharp, regularized, mass and residual of problem p from the plan that
// (f, g) define. Two reads of D.
template <typename T>
void report(const View<T>& view, int threads, double* f, double* g, const Solution& out, std::int64_t p);

// NaN for everything of a problem that was refused, with the reason in its status.
template <typename T>
void refuse(const View<T>& view, const Solution& out, std::int64_t p, std::int32_t status);

// Row i of the plan for j in [begin, end).
template <typename T>
void plan_row(const View<T>& view, std::int64_t i, const double* f, const double* g, double* row, std::int64_t begin,
              std::int64_t end);

}  // namespace wbm
