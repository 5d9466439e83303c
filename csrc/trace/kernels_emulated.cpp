// The AVX-512 kernels under emulation (REWARM_SIMDE=ON): never chosen, only compared with the other levels by the tests.
#define REWARM_SIMDE 1
#include "trace/kernels_avx512.cpp"
