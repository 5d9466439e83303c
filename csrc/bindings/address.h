// Python hands over memory as integers, the address of a tensor's first element.
#pragma once

#include <cstdint>

namespace rewarm {

template <class T>
T* at(int64_t address) {
  return reinterpret_cast<T*>(address);
}

}  // namespace rewarm
