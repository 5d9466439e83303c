// The part of the DLPack 1.x binary interface that we call: the exchange table that an array type publishes as
// `__dlpack_c_exchange_api__` (DLPack 1.3, Python array API), declared here in our own words because it is an exchange format.
// torch publishes it from 2.10 on; it hands out address, shape, strides and dtype of a tensor in a few nanoseconds and without
// a torch header or symbol.
#pragma once

#include <cstdint>

namespace rewarm::dlpack {

constexpr const char* kCapsuleName = "dlpack_exchange_api";
constexpr uint32_t kMajorVersion = 1;

struct Version {
  uint32_t major, minor;
};
struct Device {
  int32_t type;  // 1 = CPU, 2 = CUDA
  int32_t index;
};
struct DataType {
  uint8_t code;  // 2 = IEEE float, 4 = bfloat
  uint8_t bits;
  uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};

struct ExchangeApi {
  Version version;
  ExchangeApi* previous;
  void* allocator;
  void* owning_from_object;
  void* owning_to_object;
  int (*tensor_from_object)(void* object, Tensor* out);  // borrowed view, no synchronisation; may be null
  void* current_stream;
};

constexpr int32_t kCpu = 1;
constexpr int32_t kCuda = 2;

}  // namespace rewarm::dlpack
