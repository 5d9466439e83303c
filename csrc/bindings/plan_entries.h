// The `entries` array by which Python describes the planned tensors, and the plan made from it; the same for every backend.
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <string>

#include "bindings/address.h"
#include "common/error.h"
#include "optim/plan.h"

namespace rewarm {

using Int64Array = pybind11::array_t<int64_t, pybind11::array::c_style>;

enum EntryColumn { kParam, kP, kM, kV, kVmax, kStep, kNumel, kGroup, kDtype, kStateDtype, kEma, kEntryColumns };

inline optim::Plan make_plan(const Int64Array& entries, int64_t n_groups) {
  if (entries.ndim() != 2 || entries.shape(1) != kEntryColumns)
    throw Error(ErrorKind::kInvalidArgument,
                "entries: expected an int64 array of shape [n, " + std::to_string(kEntryColumns) + "]");
  optim::Plan plan;
  plan.n_groups = n_groups;
  const auto e = entries.unchecked<2>();
  for (pybind11::ssize_t i = 0; i < e.shape(0); ++i)
    plan.tensors.push_back({at<void>(e(i, kP)), at<void>(e(i, kM)), at<void>(e(i, kV)), at<void>(e(i, kVmax)),
                            at<float>(e(i, kEma)), at<float>(e(i, kStep)), e(i, kNumel), static_cast<int32_t>(e(i, kGroup)),
                            static_cast<int32_t>(e(i, kParam)), static_cast<Dtype>(e(i, kDtype)),
                            static_cast<Dtype>(e(i, kStateDtype))});
  plan.build_chunks();
  return plan;
}

}  // namespace rewarm
