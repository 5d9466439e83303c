// Python face of the minute tables, and a table made of Python lists for the small runtime table.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <optional>

#include "bindings/bind.h"
#include "bindings/minute_read.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using trace::Batch;
using trace::Dictionary;

// ---- a table of Python lists ---------------------------------------------------------------------------------------------

std::shared_ptr<trace::Buffer> sized(size_t bytes) {
  auto buffer = std::make_shared<trace::Buffer>(bytes);
  buffer->resize(bytes);
  return buffer;
}

trace::Column text_column(const std::vector<std::optional<std::string>>& values) {
  trace::Column column;
  column.type = trace::Type::kUtf8;
  size_t chars = 0;
  for (const auto& value : values) chars += value ? value->size() : 0;
  column.values = sized(chars);
  column.offsets = sized(4 * (values.size() + 1));
  int32_t* offsets = reinterpret_cast<int32_t*>(column.offsets->data());
  char* to = reinterpret_cast<char*>(column.values->data());
  char* const first = to;
  for (size_t r = 0; r < values.size(); ++r) {
    offsets[r] = static_cast<int32_t>(to - first);
    if (values[r]) to = std::copy(values[r]->begin(), values[r]->end(), to);
  }
  offsets[values.size()] = static_cast<int32_t>(to - first);
  return column;
}

trace::Column column_of(trace::Type type, const py::list& values) {
  const size_t rows = values.size();
  trace::Column column;
  if (type == trace::Type::kUtf8) {
    column = text_column(values.cast<std::vector<std::optional<std::string>>>());
  } else if (type == trace::Type::kUtf8List) {
    std::vector<std::optional<std::string>> items;
    column.offsets = sized(4 * (rows + 1));
    int32_t* offsets = reinterpret_cast<int32_t*>(column.offsets->data());
    offsets[0] = 0;
    for (size_t r = 0; r < rows; ++r) {
      if (!values[r].is_none())
        for (auto& item : values[r].cast<std::vector<std::string>>()) items.emplace_back(std::move(item));
      offsets[r + 1] = static_cast<int32_t>(items.size());
    }
    column.child = std::make_shared<trace::Column>(text_column(items));
    column.child_rows = static_cast<int64_t>(items.size());
  } else {
    auto words = std::make_shared<Dictionary>();
    column.width = 4;
    column.values = sized(4 * rows);
    int32_t* to = reinterpret_cast<int32_t*>(column.values->data());
    for (size_t r = 0; r < rows; ++r) {
      const py::object value = values[r];
      if (type == trace::Type::kDictionary) {
        to[r] = std::max(code_of(value, words.get()), 0);
      } else {
        to[r] = value.is_none() ? 0 : value.cast<int32_t>();
      }
    }
    if (type == trace::Type::kDictionary) column.dictionary = words;
  }
  column.type = type;
  for (size_t r = 0; r < rows; ++r) {
    if (!values[r].is_none()) continue;
    if (column.validity == nullptr) {
      column.validity = sized((rows + 7) / 8);
      std::fill_n(column.validity->data(), column.validity->size(), uint8_t{0xff});
    }
    column.validity->data()[r >> 3] &= static_cast<uint8_t>(~(1u << (r & 7)));
    ++column.null_count;
  }
  return column;
}

using ListColumn = std::tuple<std::string, std::string, std::string, py::list>;

std::unique_ptr<TraceTable> table_of_lists(const std::string& table, const std::vector<ListColumn>& columns,
                                           const std::string& version, const std::string& assumed_region) {
  auto made = std::make_unique<TraceTable>();
  made->fields.table = table;
  made->fields.version = version;
  made->fields.assumed_region = assumed_region;
  auto batch = std::make_shared<Batch>();
  for (const auto& [name, type, unit, values] : columns) {
    const trace::Type kind = type == "int32"        ? trace::Type::kInt32
                             : type == "utf8"       ? trace::Type::kUtf8
                             : type == "list<utf8>" ? trace::Type::kUtf8List
                                                    : trace::Type::kDictionary;
    made->fields.fields.push_back({name, kind, 4, unit});
    batch->rows = static_cast<int64_t>(values.size());
    batch->columns.push_back(column_of(kind, values));
  }
  made->batches.push_back(std::move(batch));
  return made;
}

}  // namespace

void bind_trace_minute(py::module_& m) {
  py::class_<MinuteTables, std::shared_ptr<MinuteTables>> reader(m, "TraceMinuteReader");
  reader
      .def(py::init<const py::sequence&, const std::vector<std::string>&, const std::vector<std::string>&,
                    const std::vector<std::string>&, std::optional<double>, std::optional<double>, const std::string&, bool,
                    int, int64_t, const std::string&>(),
           py::kw_only(), py::arg("sources"), py::arg("columns"), py::arg("regions"), py::arg("functions"),
           py::arg("time_begin"), py::arg("time_end"), py::arg("on_error"), py::arg("ignore_unknown"), py::arg("threads"),
           py::arg("block_bytes"), py::arg("version"))
      .def_property_readonly("columns", [](const MinuteTables& r) { return r.options().columns; })
      .def_property_readonly("functions", [](const MinuteTables& r) { return r.options().functions->words; });
  bind_reader(reader);

  m.def("trace_minute_isa", [] { return trace::scan_cells() == trace::scan_cells_portable ? "portable" : "avx2"; });
  m.def("trace_table_of_lists", &table_of_lists, py::arg("table"), py::arg("columns"), py::arg("version"),
        py::arg("assumed_region"));
}

}  // namespace rewarm
