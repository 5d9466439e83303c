// Doors for the tests of the trace's kernels and of the number law; the readers do not pass here.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/bind.h"
#include "common/error.h"
#include "trace/bytes.h"
#include "trace/kernels.h"
#include "trace/number.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using namespace trace;

constexpr const char* kLevels[] = {"portable", "avx2", "avx512", "avx512_emulated"};

const Kernels& level(const std::string& name) {
  const Kernels* found = find_kernels(name.c_str());
  if (found == nullptr)
    throw Error(ErrorKind::kInvalidArgument, "trace kernels \"" + name + "\": not in this build or not for this processor");
  return *found;
}

// A text as the kernels want it: with slack around it, filled with a byte that must not matter, `shift` bytes past an aligned
// address.
class SlackText {
 public:
  SlackText(std::string_view text, int shift, const std::string& around) {
    const size_t front = kSlack + static_cast<size_t>(shift);
    memory_.reserve(front + text.size() + kSlack);
    std::memset(memory_.data(), around.empty() ? 0 : around[0], front + text.size() + kSlack);
    begin_ = reinterpret_cast<char*>(memory_.data()) + front;
    std::memcpy(begin_, text.data(), text.size());
  }
  const char* begin() const { return begin_; }

 private:
  Buffer memory_;
  char* begin_;
};

py::tuple find(const std::string& name, const py::bytes& text, int shift, const std::string& around) {
  const std::string_view view = text;
  if (view.size() > kSubBlock)
    throw Error(ErrorKind::kInvalidArgument, "text: expected at most 32768 bytes, got " + std::to_string(view.size()));
  const SlackText slack(view, shift, around);
  std::vector<uint16_t> ends(view.size() + 64);
  const Found found = level(name).find(slack.begin(), static_cast<uint32_t>(view.size()), ends.data());
  return py::make_tuple(py::array_t<uint16_t>(found.delimiters, ends.data()), found.lines, found.quote, found.carriage);
}

bool is_grid(const std::string& name, const py::bytes& text, int64_t rows, int32_t columns) {
  const SlackText slack(text, 0, "");
  std::vector<uint16_t> ends(std::string_view(text).size() + 64);
  const Found found = level(name).find(slack.begin(), static_cast<uint32_t>(std::string_view(text).size()), ends.data());
  if (found.delimiters != rows * columns || found.lines != rows) return false;
  return level(name).is_grid(slack.begin(), ends.data(), rows, columns);
}

// One kind of column: how it is called, the law for one field, and the bytes of a value.
struct Kind {
  const char* name;
  size_t bytes;
  void (*run)(const Kernels&, const FieldColumn&, Hint*, void*, uint64_t*);
  Parsed (*law)(const char*, const char*, void*);
};

const Kind kKinds[] = {
    {"float64", 8,
     [](const Kernels& k, const FieldColumn& f, Hint* hint, void* out, uint64_t* odd) {
       k.float64(f, hint, static_cast<double*>(out), odd);
     },
     [](const char* b, const char* e, void* out) { return parse_float64(b, e, static_cast<double*>(out)); }},
    {"int64", 8,
     [](const Kernels& k, const FieldColumn& f, Hint*, void* out, uint64_t* odd) {
       k.int64(f, static_cast<int64_t*>(out), odd);
     },
     [](const char* b, const char* e, void* out) { return parse_int64(b, e, static_cast<int64_t*>(out)); }},
    {"int32", 4,
     [](const Kernels& k, const FieldColumn& f, Hint*, void* out, uint64_t* odd) {
       k.int32(f, static_cast<int32_t*>(out), odd);
     },
     [](const char* b, const char* e, void* out) { return parse_int32(b, e, static_cast<int32_t*>(out)); }},
    {"int16", 2,
     [](const Kernels& k, const FieldColumn& f, Hint*, void* out, uint64_t* odd) {
       k.int16(f, static_cast<int16_t*>(out), odd);
     },
     [](const char* b, const char* e, void* out) { return parse_int16(b, e, static_cast<int16_t*>(out)); }},
    {"hex32", 32,
     [](const Kernels& k, const FieldColumn& f, Hint*, void* out, uint64_t* odd) {
       k.hex(f, 32, static_cast<uint8_t*>(out), odd);
     },
     [](const char* b, const char* e, void* out) { return parse_hex(b, e, 32, static_cast<uint8_t*>(out)); }},
    {"hex16", 16,
     [](const Kernels& k, const FieldColumn& f, Hint*, void* out, uint64_t* odd) {
       k.hex(f, 16, static_cast<uint8_t*>(out), odd);
     },
     [](const char* b, const char* e, void* out) { return parse_hex(b, e, 16, static_cast<uint8_t*>(out)); }},
    {"pod_serial", 8,
     [](const Kernels& k, const FieldColumn& f, Hint*, void* out, uint64_t* odd) {
       k.pod_serial(f, static_cast<int64_t*>(out), odd);
     },
     [](const char* b, const char* e, void* out) { return parse_pod_serial(b, e, static_cast<int64_t*>(out)); }},
};

const Kind& kind_of(const std::string& name) {
  for (const Kind& kind : kKinds)
    if (name == kind.name) return kind;
  throw Error(ErrorKind::kInvalidArgument,
              "kind: expected float64, int64, int32, int16, hex32, hex16 or pod_serial, got \"" + name + "\"");
}

constexpr uint8_t kPoison = 0xa5;

// Reads one column of a rectangular text in sub-blocks, as a reader would: values as bytes [rows, width], odd as bool [rows].
py::tuple column(const std::string& name, const std::string& kind_name, const py::bytes& text, int32_t columns, int32_t which,
                 int32_t trim, int shift, const std::string& around, uint32_t sub_block) {
  const Kernels& k = level(name);
  const Kind& kind = kind_of(kind_name);
  std::string_view rest = text;
  std::vector<uint8_t> values, odd_rows;
  Hint hint;
  while (!rest.empty()) {
    const size_t last = rest.substr(0, std::min<size_t>(sub_block, kSubBlock)).rfind('\n');
    if (last == std::string_view::npos)
      throw Error(ErrorKind::kInvalidArgument, "text: expected lines that end, none longer than a sub-block");
    const uint32_t n = static_cast<uint32_t>(last + 1);
    const SlackText slack(rest.substr(0, n), shift, around);
    rest.remove_prefix(n);
    std::vector<uint16_t> ends(1 + n + 64);
    ends[0] = 0xffff;
    const Found found = k.find(slack.begin(), n, ends.data() + 1);
    if (found.delimiters != found.lines * static_cast<uint32_t>(columns) ||
        !k.is_grid(slack.begin(), ends.data() + 1, found.lines, columns))
      throw Error(ErrorKind::kInvalidArgument, "text: expected " + std::to_string(columns) + " fields in every line");
    Buffer out(found.lines * kind.bytes);
    std::memset(out.data(), kPoison, found.lines * kind.bytes);
    std::vector<uint64_t> odd((found.lines + 63) / 64, ~uint64_t{0});
    kind.run(k, {slack.begin(), ends.data() + 1, found.lines, columns, which, trim}, &hint, out.data(), odd.data());
    values.insert(values.end(), out.data(), out.data() + found.lines * kind.bytes);
    for (uint32_t r = 0; r < found.lines; ++r) odd_rows.push_back(odd[r / 64] >> (r % 64) & 1);
  }
  const py::ssize_t rows = static_cast<py::ssize_t>(odd_rows.size());
  py::array_t<uint8_t> value_array({rows, static_cast<py::ssize_t>(kind.bytes)});
  py::array_t<bool> odd_array(rows);
  std::copy(values.begin(), values.end(), value_array.mutable_data());
  std::copy(odd_rows.begin(), odd_rows.end(), odd_array.mutable_data());
  return py::make_tuple(value_array, odd_array);
}

// The law for every line of a text: values as bytes [rows, width] and Parsed as uint8 [rows].
py::tuple law(const std::string& kind_name, const py::bytes& text) {
  const Kind& kind = kind_of(kind_name);
  std::vector<uint8_t> values, parsed;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t n = std::min(rest.find('\n'), rest.size());
    alignas(8) uint8_t value[32];
    std::memset(value, kPoison, sizeof(value));
    parsed.push_back(static_cast<uint8_t>(kind.law(rest.data(), rest.data() + n, value)));
    values.insert(values.end(), value, value + kind.bytes);
    rest.remove_prefix(std::min(n + 1, rest.size()));
  }
  const py::ssize_t rows = static_cast<py::ssize_t>(parsed.size());
  py::array_t<uint8_t> value_array({rows, static_cast<py::ssize_t>(kind.bytes)});
  py::array_t<uint8_t> parsed_array(rows);
  std::copy(values.begin(), values.end(), value_array.mutable_data());
  std::copy(parsed.begin(), parsed.end(), parsed_array.mutable_data());
  return py::make_tuple(value_array, parsed_array);
}

}  // namespace

void bind_trace_kernels(py::module_& m) {
  m.def("trace_kernel_level", &level_name);
  m.def("trace_kernel_levels", [] {
    std::vector<std::string> names;
    for (const char* name : kLevels)
      if (find_kernels(name) != nullptr) names.emplace_back(name);
    return names;
  });
  m.def("trace_kernel_find", &find, py::arg("level"), py::arg("text"), py::arg("shift") = 0, py::arg("around") = "");
  m.def("trace_kernel_is_grid", &is_grid, py::arg("level"), py::arg("text"), py::arg("rows"), py::arg("columns"));
  m.def("trace_kernel_column", &column, py::arg("level"), py::arg("kind"), py::arg("text"), py::arg("columns") = 1,
        py::arg("column") = 0, py::arg("trim") = 0, py::arg("shift") = 0, py::arg("around") = "",
        py::arg("sub_block") = kSubBlock);
  m.def("trace_kernel_law", &law, py::arg("kind"), py::arg("text"));
  m.def("trace_kernel_is_null", [](const py::bytes& field) {
    const std::string_view view = field;
    return is_null_field(view.data(), view.data() + view.size());
  });
}

}  // namespace rewarm
