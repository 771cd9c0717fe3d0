// A call of the solver that Ctrl-C stops.
#pragma once

#include <pybind11/pybind11.h>

#include "cpu/runtime/interrupt.h"

namespace wbm {

// Whether Python has a signal to deliver; its handler runs here, and what it raises is kept for later.
inline bool signal_pending() {
  const pybind11::gil_scoped_acquire lock;
  return PyErr_CheckSignals() != 0 || PyErr_Occurred();
}

// call(interrupt) without the interpreter's lock. What a signal's handler has raised meanwhile is raised here.
template <typename Call>
void interruptibly(const Call& call) {
  Interrupt interrupt(signal_pending);
  try {
    const pybind11::gil_scoped_release release;
    call(&interrupt);
  } catch (const Interrupted&) {
  }
  if (PyErr_Occurred()) throw pybind11::error_already_set();
}

}  // namespace wbm
