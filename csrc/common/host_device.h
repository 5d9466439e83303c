// One spelling for functions that run on the host and, when nvcc compiles them, on the device.
#pragma once

#if defined(__CUDACC__)
#define REWARM_HD __host__ __device__ __forceinline__
#else
#define REWARM_HD inline __attribute__((always_inline))
#endif
