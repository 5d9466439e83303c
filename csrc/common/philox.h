// Philox4x32-10 (Salmon et al. 2011): a counter-based generator, the same numbers for any grid, chunking or thread count.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace rewarm {

constexpr uint32_t kPhiloxLeft = 0xD2511F53u, kPhiloxRight = 0xCD9E8D57u;  // multipliers of words 0 and 2
constexpr uint32_t kPhiloxKey0 = 0x9E3779B9u, kPhiloxKey1 = 0xBB67AE85u;   // added to the key after every round

struct Philox4 {
  uint32_t x[4];
};

REWARM_HD void mul_wide(uint32_t a, uint32_t b, uint32_t* hi, uint32_t* lo) {
  const uint64_t product = static_cast<uint64_t>(a) * b;
  *hi = static_cast<uint32_t>(product >> 32);
  *lo = static_cast<uint32_t>(product);
}

REWARM_HD Philox4 philox4x32_10(Philox4 counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    uint32_t hi0, lo0, hi1, lo1;
    mul_wide(kPhiloxLeft, counter.x[0], &hi0, &lo0);
    mul_wide(kPhiloxRight, counter.x[2], &hi1, &lo1);
    counter = {{hi1 ^ counter.x[1] ^ key0, lo1, hi0 ^ counter.x[3] ^ key1, lo0}};
    key0 += kPhiloxKey0;
    key1 += kPhiloxKey1;
  }
  return counter;
}

}  // namespace rewarm
