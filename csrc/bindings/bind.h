// The rooms that core.cpp binds, one function each.
#pragma once

#include <pybind11/pybind11.h>

#include "bindings/address.h"

namespace rewarm {

void bind_common(pybind11::module_& m);
void bind_schedule(pybind11::module_& m);
void bind_optim(pybind11::module_& m);
void bind_q_mlp(pybind11::module_& m);
void bind_rl_update(pybind11::module_& m);
void bind_q(pybind11::module_& m);
void bind_trace(pybind11::module_& m);
void bind_trace_functions(pybind11::module_& m);
void bind_trace_aggregate(pybind11::module_& m);
void bind_trace_kernels(pybind11::module_& m);
void bind_trace_minute(pybind11::module_& m);
void bind_trace_scan(pybind11::module_& m);
void bind_trace_synthetic(pybind11::module_& m);
void bind_rl_replay(pybind11::module_& m);

}  // namespace rewarm
