// _cuda: the GPU module, built where nvcc works; imports without a driver. A table of contents.
#include "bindings/bind_cuda.h"

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "CUDA kernels of rewarm and the host code that launches them.";
  rewarm::bind_cuda_common(m);
  rewarm::bind_cuda_optim(m);
}
