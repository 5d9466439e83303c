// The rooms that cuda.cpp binds, one function each.
#pragma once

#include <pybind11/pybind11.h>

namespace rewarm {

void bind_cuda_common(pybind11::module_& m);
void bind_cuda_optim(pybind11::module_& m);

}  // namespace rewarm
