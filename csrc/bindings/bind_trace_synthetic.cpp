// Python face of trace/synthetic.h: column arrays in, the bytes of a file out, formatted without the GIL.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bindings/bind.h"
#include "common/error.h"
#include "trace/synthetic.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using trace::Spelling;
using trace::TextColumn;
using trace::TextStyle;

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorKind::kInvalidArgument, "format_rows: " + what); }

// A column and the arrays that it points into.
struct Held {
  TextColumn column;
  std::vector<py::array> arrays;
  std::vector<std::string> words;
};

template <class T>
const T* elements(const py::object& object, int64_t n, const char* type, size_t index, Held* held) {
  const std::string where = "column " + std::to_string(index);
  if (!py::isinstance<py::array_t<T, py::array::c_style>>(object))
    refuse(where + ": expected a contiguous array of " + type + ", got " + std::string(py::str(py::type::of(object))));
  const py::array_t<T, py::array::c_style> array = py::reinterpret_borrow<py::array_t<T, py::array::c_style>>(object);
  if (array.size() != n) refuse(where + ": expected " + std::to_string(n) + " elements, got " + std::to_string(array.size()));
  held->arrays.push_back(array);
  return array.data();
}

// (spelling, values[, scale, min_decimals]) or (spelling, codes, words[, serials]); then None or an array of bool: missing.
Held read_column(const py::tuple& t, int64_t rows, size_t index) {
  Held held;
  TextColumn& c = held.column;
  const std::string kind = t[0].cast<std::string>();
  if (kind == "integer") {
    c.spelling = Spelling::kInteger;
    c.values = elements<int64_t>(t[2], rows, "int64", index, &held);
  } else if (kind == "decimal" || kind == "java" || kind == "python") {
    c.spelling = kind == "decimal" ? Spelling::kDecimal : kind == "java" ? Spelling::kJava : Spelling::kPython;
    c.values = elements<int64_t>(t[2], rows, "int64", index, &held);
    c.scale = t[3].cast<int32_t>();
    c.min_decimals = t[4].cast<int32_t>();
    if (c.scale < 0 || c.scale > 18 || c.min_decimals < 0 || c.min_decimals > 18)
      refuse("column " + std::to_string(index) + ": scale and min_decimals must lie in [0, 18]");
  } else if (kind == "float64") {
    c.spelling = Spelling::kFloat64;
    c.values = elements<double>(t[2], rows, "float64", index, &held);
  } else if (kind == "hex") {
    c.spelling = Spelling::kHex;
    const py::array array = t[2].cast<py::array>();
    if (array.ndim() != 2) refuse("column " + std::to_string(index) + ": expected [rows, width] bytes");
    c.width = static_cast<int32_t>(array.shape(1));
    c.values = elements<uint8_t>(t[2], rows * c.width, "uint8", index, &held);
  } else if (kind == "word" || kind == "pod") {
    c.spelling = kind == "word" ? Spelling::kWord : Spelling::kPod;
    const int32_t* codes = elements<int32_t>(t[2], rows, "int32", index, &held);
    c.values = codes;
    held.words = t[3].cast<std::vector<std::string>>();
    for (int64_t r = 0; r < rows; ++r)
      if (codes[r] < 0 || codes[r] >= static_cast<int64_t>(held.words.size()))
        refuse("column " + std::to_string(index) + ": code " + std::to_string(codes[r]) + " has no word");
    if (kind == "pod") c.serials = elements<int64_t>(t[4], rows, "int64", index, &held);
  } else {
    refuse("column " + std::to_string(index) + ": unknown spelling \"" + kind + "\"");
  }
  if (!t[1].is_none()) c.missing = reinterpret_cast<const uint8_t*>(elements<bool>(t[1], rows, "bool", index, &held));
  return held;
}

py::bytes format_rows(const std::vector<py::tuple>& columns, int64_t rows, bool quoted, bool crlf, int64_t first_index,
                      const std::string& missing) {
  std::vector<Held> held;
  held.reserve(columns.size());
  for (size_t i = 0; i < columns.size(); ++i) held.push_back(read_column(columns[i], rows, i));
  std::vector<TextColumn> table;
  for (Held& h : held) {
    if (!h.words.empty()) h.column.words = &h.words;
    table.push_back(h.column);
  }
  std::string out;
  {
    py::gil_scoped_release release;
    trace::format_rows(table, rows, TextStyle{quoted, crlf, first_index, missing}, &out);
  }
  return py::bytes(out);
}

py::bytes format_minutes(int64_t day, int64_t first_time, int64_t functions,
                         const py::array_t<int64_t, py::array::c_style>& begins,
                         const py::array_t<int32_t, py::array::c_style>& indices,
                         const py::array_t<double, py::array::c_style>& values, bool crlf) {
  const int64_t minutes = static_cast<int64_t>(begins.size()) - 1;
  const int64_t entries = static_cast<int64_t>(indices.size());
  if (minutes < 0 || begins.data()[0] != 0 || begins.data()[minutes] != entries || values.size() != indices.size())
    throw Error(ErrorKind::kInvalidArgument, "format_minutes: begins, indices and values do not fit together");
  for (int64_t m = 0; m < minutes; ++m) {
    int64_t last = -1;
    for (int64_t i = begins.data()[m]; i < begins.data()[m + 1]; ++i) {
      if (i < 0 || i >= entries || indices.data()[i] <= last || indices.data()[i] >= functions)
        throw Error(ErrorKind::kInvalidArgument,
                    "format_minutes: the functions of minute " + std::to_string(m) + " must ascend within [0, functions)");
      last = indices.data()[i];
    }
  }
  trace::MinuteText table;
  table.day = day;
  table.first_time = first_time;
  table.functions = functions;
  table.minutes = minutes;
  table.begins = begins.data();
  table.indices = indices.data();
  table.values = values.data();
  std::string out;
  {
    py::gil_scoped_release release;
    TextStyle style;
    style.crlf = crlf;
    trace::format_minutes(table, style, &out);
  }
  return py::bytes(out);
}

}  // namespace

void bind_trace_synthetic(py::module_& m) {
  m.def("format_rows", &format_rows, py::arg("columns"), py::arg("rows"), py::arg("quoted") = false, py::arg("crlf") = false,
        py::arg("first_index") = -1, py::arg("missing") = "");
  m.def("format_minutes", &format_minutes, py::arg("day"), py::arg("first_time"), py::arg("functions"), py::arg("begins"),
        py::arg("indices"), py::arg("values"), py::arg("crlf") = false);
}

}  // namespace rewarm
