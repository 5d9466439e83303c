#include "bindings/gather.h"

#include <cmath>
#include <cstring>

namespace py = pybind11;

namespace rewarm {
namespace {

using optim::GroupConfig;
using optim::ScheduledValue;

// Keys of a param group in the order of Group::values.
enum Key { kKeyLr, kKeyWeightDecay, kKeyBetas, kKeyEps, kKeyEmaDecay, kKeyMaximize, kKeyDecoupled, kKeyLrScale, kKeys };

// The key under which a value that a Schedule may drive stands by itself, or kKeys.
Key key_of(ScheduledValue which) {
  switch (which) {
    case optim::kLr: return kKeyLr;
    case optim::kWeightDecay: return kKeyWeightDecay;
    case optim::kEps: return kKeyEps;
    case optim::kEmaDecay: return kKeyEmaDecay;
    default: return kKeys;  // the betas share a key; the limit of the norm has none
  }
}

struct Names {
  PyObject* group_keys[kKeys];
  PyObject* params;
  PyObject* grad;
  PyObject* data_ptr;
  PyObject* stride;
  PyObject* dtype;
  PyObject* state_keys[4];
  Names() {
    const char* keys[kKeys] = {"lr",       "weight_decay",           "betas",   "eps", "ema_decay",
                               "maximize", "decoupled_weight_decay", "lr_scale"};
    for (int i = 0; i < kKeys; ++i) group_keys[i] = PyUnicode_InternFromString(keys[i]);
    const char* states[4] = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq", "ema"};
    for (int i = 0; i < 4; ++i) state_keys[i] = PyUnicode_InternFromString(states[i]);
    params = PyUnicode_InternFromString("params");
    grad = PyUnicode_InternFromString("grad");
    data_ptr = PyUnicode_InternFromString("data_ptr");
    stride = PyUnicode_InternFromString("stride");
    dtype = PyUnicode_InternFromString("dtype");
  }
};

const Names& names() {
  static const Names* const instance = new Names;  // interned strings live as long as the interpreter
  return *instance;
}

const char* key_name(ScheduledValue which) {
  constexpr const char* kNames[optim::kScheduledValues] = {"lr",  "weight_decay",  "betas[0]", "betas[1]",
                                                           "eps", "max_grad_norm", "ema_decay"};
  return kNames[which];
}

bool is_there(PyObject* value) { return value != nullptr && value != Py_None; }

std::string number(double x) { return py::repr(py::float_(x)).cast<std::string>(); }

py::object call0(PyObject* self, PyObject* method) {
  PyObject* result = PyObject_CallMethodNoArgs(self, method);
  if (result == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}

}  // namespace

Gather::Gather(const py::list& param_list, const py::list& states, const py::list& group_list, const py::type& tensor_type)
    : tensor_type_(reinterpret_cast<PyTypeObject*>(tensor_type.ptr())) {
  const Names& n = names();
  const py::object capsule = py::getattr(tensor_type, "__dlpack_c_exchange_api__", py::none());
  if (PyCapsule_IsValid(capsule.ptr(), dlpack::kCapsuleName)) {
    auto* api = static_cast<dlpack::ExchangeApi*>(PyCapsule_GetPointer(capsule.ptr(), dlpack::kCapsuleName));
    while (api != nullptr && api->version.major > dlpack::kMajorVersion) api = api->previous;
    if (api != nullptr && api->tensor_from_object != nullptr) api_ = api;
  }
  // `p.grad` through the type's descriptor costs half of the lookup by name. Only where every parameter has torch's own.
  const py::object descriptor = py::getattr(tensor_type, "grad", py::none());
  if (Py_IS_TYPE(descriptor.ptr(), &PyGetSetDescr_Type)) {
    grad_getter_ = reinterpret_cast<PyGetSetDescrObject*>(descriptor.ptr())->d_getset;
    for (const py::handle p : param_list)
      if (!py::getattr(py::type::handle_of(p), "grad", py::none()).is(descriptor)) grad_getter_ = nullptr;
  }
  params.resize(param_list.size());
  for (size_t i = 0; i < params.size(); ++i) {
    Param& p = params[i];
    p.tensor = param_list[i];
    p.state = states[i];
    if (!p.state.is_none())
      for (PyObject* key : n.state_keys)
        if (PyObject* value = PyDict_GetItemWithError(p.state.ptr(), key))
          p.state_tensors.emplace_back(key, py::reinterpret_borrow<py::object>(value));
    dlpack::Tensor t;
    if (view(p.tensor.ptr(), &t)) {
      p.data = static_cast<char*>(t.data) + t.byte_offset;
      p.dtype = t.dtype;
      p.device = t.device;
      p.shape.assign(t.shape, t.shape + t.ndim);
      p.strides.assign(t.strides, t.strides + t.ndim);
    } else {
      p.data = reinterpret_cast<void*>(p.tensor.attr("data_ptr")().cast<uintptr_t>());
      p.dtype_object = p.tensor.attr("dtype");
      p.stride_tuple = p.tensor.attr("stride")();
    }
  }
  groups.resize(group_list.size());
  // What an absent key means.
  GroupConfig absent{};
  absent.lr_scale = 1.0;
  absent.decoupled = 1;
  configs.assign(group_list.size(), absent);
  for (size_t i = 0; i < groups.size(); ++i) {
    groups[i].dict = group_list[i].cast<py::dict>();
    groups[i].members = groups[i].dict["params"];
    groups[i].n_members = static_cast<int64_t>(py::len(groups[i].members));
    for (double& w : groups[i].written) w = std::nan("");
    groups[i].with_ema = is_there(PyDict_GetItemWithError(groups[i].dict.ptr(), n.group_keys[kKeyEmaDecay]));
  }
}

bool Gather::view(PyObject* tensor, dlpack::Tensor* out) const {
  if (api_ == nullptr) return false;
  if (api_->tensor_from_object(tensor, out) != 0) throw py::error_already_set();
  return true;
}

py::object Gather::own_gradient(const Param& p) const {
  PyObject* grad = grad_getter_ != nullptr ? grad_getter_->get(p.tensor.ptr(), grad_getter_->closure)
                                           : PyObject_GetAttr(p.tensor.ptr(), names().grad);
  if (grad == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(grad);
}

bool Gather::state_moved(const Param& p) const {
  for (const auto& [key, tensor] : p.state_tensors)
    if (PyDict_GetItemWithError(p.state.ptr(), key) != tensor.ptr()) return true;
  return false;
}

// Returns flags; the address goes into the table.
int Gather::read_gradient(Param& p, PyObject* grad) {
  void* address = nullptr;
  int flags = 0;
  dlpack::Tensor t;
  if (view(p.tensor.ptr(), &t)) {
    if (static_cast<char*>(t.data) + t.byte_offset != p.data) flags |= kStale;
    if (grad != Py_None) {
      view(grad, &t);
      address = static_cast<char*>(t.data) + t.byte_offset;
      if (t.dtype.code != p.dtype.code || t.dtype.bits != p.dtype.bits || t.device.type != p.device.type ||
          t.device.index != p.device.index || t.ndim != static_cast<int32_t>(p.shape.size())) {
        flags |= kGradientMismatch;
      } else {
        for (int32_t d = 0; d < t.ndim; ++d) {
          const size_t k = static_cast<size_t>(d);
          if (t.shape[d] != p.shape[k]) flags |= kGradientMismatch;
          if (t.strides[d] != p.strides[k] && p.shape[k] > 1) flags |= kGradientLayout;
        }
      }
    }
  } else {
    if (reinterpret_cast<void*>(call0(p.tensor.ptr(), names().data_ptr).cast<uintptr_t>()) != p.data) flags |= kStale;
    if (grad != Py_None) {
      address = reinterpret_cast<void*>(call0(grad, names().data_ptr).cast<uintptr_t>());
      const py::object dtype = py::reinterpret_steal<py::object>(PyObject_GetAttr(grad, names().dtype));
      if (!dtype.is(p.dtype_object)) flags |= kGradientMismatch;
      if (!call0(grad, names().stride).equal(p.stride_tuple)) flags |= kGradientLayout;
    }
  }
  if (p.entry < 0) return grad == Py_None ? 0 : kNewGradient;
  int64_t& slot = gradients[static_cast<size_t>(p.entry)];
  // An empty gradient lives at address 0 but is there: its parameter counts this update.
  constexpr int64_t kEmpty = 16;
  const int64_t value = address == nullptr && grad != Py_None ? kEmpty : reinterpret_cast<int64_t>(address);
  if (slot != value) {
    slot = value;
    flags |= kGradientsMoved;
  }
  if (state_moved(p)) flags |= kStale;
  return flags;
}

double Gather::read_number(int64_t group, PyObject* value, const char* key) const {
  PyObject* as_float = value == nullptr ? nullptr : PyNumber_Float(value);
  if (as_float == nullptr) {
    PyErr_Clear();
    throw Error(ErrorKind::kInvalidArgument,
                "param group " + std::to_string(group) + ", '" + key + "': expected a number, got " +
                    (value == nullptr ? std::string("nothing (the key is missing)") : py::repr(value).cast<std::string>()));
  }
  const double x = PyFloat_AS_DOUBLE(as_float);
  Py_DECREF(as_float);
  return x;
}

double Gather::scheduled_now(int64_t group, ScheduledValue which) const {
  return optim::scheduled(configs[static_cast<size_t>(group)], rows, counters, group, which);
}

// The address of a learning rate that the kernels read themselves, 0 for any other: a float32 or float64 CUDA tensor.
int64_t Gather::lr_on_device(PyObject* value, int64_t* is_double) const {
  if (value == nullptr || !PyObject_TypeCheck(value, tensor_type_)) return 0;
  dlpack::Tensor t;
  if (view(value, &t)) {
    if (t.device.type != dlpack::kCuda || t.dtype.bits < 32) return 0;
    *is_double = t.dtype.bits == 64;
    return reinterpret_cast<int64_t>(static_cast<char*>(t.data) + t.byte_offset);
  }
  const py::handle tensor(value);
  const int64_t size = tensor.attr("element_size")().cast<int64_t>();
  if (!tensor.attr("is_cuda").cast<bool>() || size < 4) return 0;
  *is_double = size == 8;
  return tensor.attr("data_ptr")().cast<int64_t>();
}

void Gather::check_driven(int64_t index, ScheduledValue which, double x) const {
  const double written = groups[static_cast<size_t>(index)].written[which];
  if (x == written || std::isnan(written)) return;
  const std::string k = key_name(which), group = std::to_string(index);
  std::string remedy = "Put that back; to set it by hand, give a number in place of the Schedule";
  if (which == optim::kLr)
    remedy = "To change the schedule call opt.rewarm(new_schedule); to scale it, opt.lr_scale[" + group +
             "] = factor; exactly 0.0 is applied as it stands";
  throw Error(ErrorKind::kScheduleConflict, "param group " + group + ": '" + k + "' was set to " + number(x) +
                                                ", but a Schedule drives it (it wrote " + number(written) + "). " + remedy);
}

int Gather::read_betas(int64_t index, PyObject* value) {
  GroupConfig& config = configs[static_cast<size_t>(index)];
  const py::object pair = py::reinterpret_borrow<py::object>(value);
  if (value == nullptr || !PySequence_Check(value) || py::len(pair) != 2)
    throw Error(ErrorKind::kInvalidArgument, "param group " + std::to_string(index) + ", 'betas': expected a pair of numbers");
  int flags = 0;
  for (const ScheduledValue which : {optim::kBeta1, optim::kBeta2}) {
    const double x = read_number(index, py::object(pair[py::int_(which - optim::kBeta1)]).ptr(), key_name(which));
    if (config.segments[which] > 0) {
      check_driven(index, which, x);
    } else {
      config.value[which] = x;
      flags |= kGroupsChanged;
    }
  }
  return flags;
}

int Gather::read_group(int64_t index) {
  Group& group = groups[static_cast<size_t>(index)];
  GroupConfig& config = configs[static_cast<size_t>(index)];
  int flags = 0;
  PyObject* members = PyDict_GetItemWithError(group.dict.ptr(), names().params);
  if (members != group.members.ptr() || PyObject_Length(members) != group.n_members) flags |= kStale;
  if (config.override_lr) {
    config.override_lr = 0;
    flags |= kGroupsChanged;
  }
  for (int key = 0; key < kKeys; ++key) {
    PyObject* value = PyDict_GetItemWithError(group.dict.ptr(), names().group_keys[key]);
    py::object& seen = group.values[key];
    // The same immutable object as last time needs no second look; a tensor may have changed in place.
    if (value == seen.ptr() && (value == nullptr || !PyObject_TypeCheck(value, tensor_type_))) continue;
    const auto read = [&](ScheduledValue which) {
      const double x = read_number(index, value, key_name(which));
      if (config.segments[which] == 0) {
        config.value[which] = x;
      } else {
        check_driven(index, which, x);
      }
    };
    switch (key) {
      case kKeyLr: {
        if (config.segments[optim::kLr] > 0) {
          if (read_number(index, value, "lr") != 0.0) {
            read(optim::kLr);
          } else {
            config.override_lr = 1;
            flags |= kGroupsChanged;
          }
          continue;  // not remembered: until it is restored the override holds
        }
        const GroupConfig before = config;
        config.lr_address = lr_on_device(value, &config.lr_is_double);
        if (config.lr_address == 0) config.value[optim::kLr] = read_number(index, value, "lr");
        if (seen && config.value[optim::kLr] == before.value[optim::kLr] && config.lr_address == before.lr_address &&
            config.lr_is_double == before.lr_is_double) {
          seen = py::reinterpret_borrow<py::object>(value);
          continue;
        }
        break;
      }
      case kKeyWeightDecay: read(optim::kWeightDecay); break;
      case kKeyBetas: flags |= read_betas(index, value); break;
      case kKeyEps: read(optim::kEps); break;
      case kKeyEmaDecay:
        if (is_there(value) != group.with_ema) flags |= kStale;
        if (is_there(value)) read(optim::kEmaDecay);
        break;
      case kKeyMaximize: config.maximize = value != nullptr && PyObject_IsTrue(value) == 1; break;
      case kKeyDecoupled: config.decoupled = value == nullptr || PyObject_IsTrue(value) == 1; break;
      case kKeyLrScale: config.lr_scale = value == nullptr ? 1.0 : read_number(index, value, "lr_scale"); break;
      default: break;
    }
    seen = py::reinterpret_borrow<py::object>(value);
    flags |= kGroupsChanged;
  }
  return flags;
}

void Gather::set_schedule(int64_t group, ScheduledValue which, int64_t count, bool in_tokens) {
  GroupConfig& config = configs.at(static_cast<size_t>(group));
  Group& g = groups.at(static_cast<size_t>(group));
  int64_t& segments = config.segments[which];
  const bool plain_again = segments > 0 && count == 0;
  segments = count;
  config.in_tokens[which] = in_tokens;
  if (which == optim::kLr) config.override_lr = 0;  // belonged to the schedule before
  // Looked at anew even if it is the same object.
  if (plain_again)
    for (py::object& seen : g.values) seen = py::object();
  g.any_scheduled = false;
  for (const int64_t n : config.segments) g.any_scheduled = g.any_scheduled || n > 0;
}

int Gather::refresh(const py::object& replacement) {
  int flags = 0;
  bool any_scheduled = false, all_held = true;
  for (size_t i = 0; i < groups.size(); ++i) {
    flags |= read_group(static_cast<int64_t>(i));
    if (configs[i].segments[optim::kLr] > 0) {
      any_scheduled = true;
      all_held = all_held && configs[i].override_lr != 0;
    }
  }
  hold = any_scheduled && all_held;
  bool any = false;
  all_present = true;
  for (size_t i = 0; i < params.size(); ++i) {
    Param& p = params[i];
    py::object grad;
    if (!replacement.is_none()) grad = replacement.cast<py::list>()[i];
    if (!grad || grad.is_none()) grad = own_gradient(p);
    any = any || !grad.is_none();
    all_present = all_present && (p.entry < 0 || !grad.is_none());
    flags |= read_gradient(p, grad.ptr());
  }
  return any ? flags : flags | kNoGradient;
}

void Gather::publish() {
  for (size_t i = 0; i < groups.size(); ++i)
    if (groups[i].any_scheduled) publish_group(static_cast<int64_t>(i));
}

void Gather::publish_group(int64_t index) {
  Group& group = groups[static_cast<size_t>(index)];
  const GroupConfig& config = configs[static_cast<size_t>(index)];
  bool betas = false;
  for (int64_t k = 0; k < optim::kScheduledValues; ++k) {
    const auto which = static_cast<ScheduledValue>(k);
    if (config.segments[which] == 0 || (which == optim::kLr && config.override_lr) || which == optim::kMaxGradNorm) continue;
    const double x = scheduled_now(index, which);
    if (x == group.written[which]) continue;
    group.written[which] = x;
    const Key key = key_of(which);
    if (key == kKeys) {
      betas = true;
      continue;
    }
    const py::float_ value(x);
    if (PyDict_SetItem(group.dict.ptr(), names().group_keys[key], value.ptr()) != 0) throw py::error_already_set();
    group.values[key] = value;
  }
  if (!betas) return;
  const auto shown = [&](ScheduledValue which) {
    return py::float_(config.segments[which] > 0 ? group.written[which] : config.value[which]);
  };
  const py::tuple pair = py::make_tuple(shown(optim::kBeta1), shown(optim::kBeta2));
  if (PyDict_SetItem(group.dict.ptr(), names().group_keys[kKeyBetas], pair.ptr()) != 0) throw py::error_already_set();
  group.values[kKeyBetas] = pair;
}

py::object Gather::published(int64_t group, ScheduledValue which) const {
  const Group& g = groups.at(static_cast<size_t>(group));
  const Key key = key_of(which);
  if (key != kKeys) return g.values[key];
  return std::isnan(g.written[which]) ? py::object() : py::float_(g.written[which]);
}

void Gather::expect(int64_t group, ScheduledValue which, const py::object& value) {
  Group& g = groups[static_cast<size_t>(group)];
  g.written[which] = value.cast<double>();
  const Key key = key_of(which);
  if (key != kKeys) g.values[key] = value;
}

void Gather::zero_grad() {
  for (const Param& p : params)
    if (PyObject_SetAttr(p.tensor.ptr(), names().grad, Py_None) != 0) throw py::error_already_set();
}

}  // namespace rewarm
