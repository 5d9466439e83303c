// The AVX-512 kernels under emulation (REWARM_SIMDE=ON); see adam_kernels.h.
#define REWARM_SIMDE 1
#include "rl/adam_kernels_avx512.cpp"
