// Reads what one step needs from the live Python objects of an optimizer: gradient addresses and the values of param_groups.
//
// This runs before every step, so it compares object identities and addresses instead of rebuilding lists: about 0.1 us a
// parameter. It holds no reference to a gradient.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <utility>
#include <vector>

#include "bindings/dlpack.h"
#include "optim/plan.h"

namespace rewarm {

// What refresh() found; the optimizer steps only when none of the kinds from kStale on is set.
enum GatherFlag : int {
  kGradientsMoved = 1,     // the address table changed
  kGroupsChanged = 2,      // the group table changed
  kNoGradient = 4,         // no parameter has a gradient: the step does nothing
  kStale = 8,              // a parameter or its state lives elsewhere, or a group changed its members: the plan must be rebuilt
  kNewGradient = 16,       // a parameter without state received its first gradient
  kGradientLayout = 32,    // a gradient has other strides than its parameter: it must be copied
  kGradientMismatch = 64,  // a gradient of another dtype, shape or device
};

class Gather {
 public:
  struct Param {
    pybind11::object tensor;
    pybind11::object state;  // dict, or None while the parameter never had a gradient
    std::vector<std::pair<PyObject*, pybind11::object>> state_tensors;  // key and tensor of each one planned
    int64_t entry = -1;                                                 // index into the plan's tensors, -1 = not planned
    void* data = nullptr;
    dlpack::DataType dtype{};
    dlpack::Device device{};
    std::vector<int64_t> shape, strides;
    pybind11::object dtype_object, stride_tuple;  // fallback without the exchange table
  };
  struct Group {
    pybind11::dict dict;
    pybind11::object members;  // the list that was planned
    int64_t n_members = 0;
    pybind11::object values[8];               // the objects last read, compared by identity
    double written[optim::kScheduledValues];  // what we last wrote for a scheduled value
    bool any_scheduled = false;
    bool with_ema = false;  // as planned
  };

  // tensor_type: torch.Tensor, given so that this file needs no torch.
  Gather(const pybind11::list& params, const pybind11::list& states, const pybind11::list& groups,
         const pybind11::type& tensor_type);

  // Fills the tables. `gradients` replaces p.grad where it is a list (None entries: use p.grad).
  int refresh(const pybind11::object& gradients);
  // Publishes the scheduled values of the update just issued in param_groups.
  void publish();
  // How many segments drive a value; 0 = a plain number does.
  void set_schedule(int64_t group, optim::ScheduledValue which, int64_t count, bool in_tokens);
  // The object that stands in param_groups for a scheduled value because we wrote it; null where there is none.
  pybind11::object published(int64_t group, optim::ScheduledValue which) const;
  void expect(int64_t group, optim::ScheduledValue which, const pybind11::object& value);
  void zero_grad();

  std::vector<Param> params;
  std::vector<Group> groups;
  std::vector<int64_t> gradients;           // [n_tensors of the plan]
  std::vector<optim::GroupConfig> configs;  // [n_groups]
  const schedule::Segment* rows = nullptr;  // host copy of the schedule table
  const int64_t* counters = nullptr;        // host counters
  bool all_present = false;                 // every planned parameter has a gradient
  bool hold = false;                        // every scheduled lr is overridden by 0.0: counters stay

 private:
  const dlpack::ExchangeApi* api_ = nullptr;
  PyGetSetDef* grad_getter_ = nullptr;  // Tensor.grad as the C function behind it; null: ask the attribute by name
  PyTypeObject* tensor_type_;

  bool view(PyObject* tensor, dlpack::Tensor* out) const;
  pybind11::object own_gradient(const Param& p) const;
  int read_gradient(Param& p, PyObject* grad);
  bool state_moved(const Param& p) const;
  int read_group(int64_t index);
  int64_t lr_on_device(PyObject* value, int64_t* is_double) const;
  double read_number(int64_t group, PyObject* value, const char* key) const;
  double scheduled_now(int64_t group, optim::ScheduledValue which) const;
  int read_betas(int64_t index, PyObject* value);
  void check_driven(int64_t index, optim::ScheduledValue which, double x) const;
  void publish_group(int64_t index);
};

}  // namespace rewarm
