// Addresses cross the Python border as integers; whoever sends them keeps the memory alive.
#pragma once

#include <cstdint>

namespace rewarm {

template <class T>
T* at(int64_t address) {
  return reinterpret_cast<T*>(address);
}

}  // namespace rewarm
