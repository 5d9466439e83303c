// The AVX-512 kernels under emulation (REWARM_SIMDE=ON); see mlp_kernels.h.
#define REWARM_SIMDE 1
#include "q/mlp_kernels_avx512.cpp"
