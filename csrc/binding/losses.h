// The binding of csrc/cpu/loss.
#pragma once

#include <pybind11/pybind11.h>

namespace wbm {

// `pending`: whether Python has a signal to deliver, asked during a solve.
void bind_losses(pybind11::module_& module, bool (*pending)());

}  // namespace wbm
