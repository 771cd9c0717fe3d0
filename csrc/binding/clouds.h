// pybind11 names of the point-cloud solver (cpu/cloud/solver.h).
#pragma once

#include <pybind11/pybind11.h>

namespace wbm {

void bind_clouds(pybind11::module_& module);

}  // namespace wbm
