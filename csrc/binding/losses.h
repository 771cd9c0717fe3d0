// The binding of csrc/cpu/loss.
#pragma once

#include <pybind11/pybind11.h>

namespace wbm {

void bind_losses(pybind11::module_& module);

}  // namespace wbm
