// Python face of trace/function_table: what the reader and the aggregate join with.
#include <pybind11/functional.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings/bind.h"
#include "trace/function_table.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using trace::FunctionTable;
using trace::OptionalText;

using Row = std::tuple<OptionalText, std::string, OptionalText, OptionalText>;  // region, funcID, runtime, trigger group

std::shared_ptr<FunctionTable> of_rows(const std::vector<Row>& rows) {
  auto table = std::make_shared<FunctionTable>();
  for (const auto& [region, function, runtime, trigger_group] : rows) table->add(region, function, runtime, trigger_group);
  return table;
}

std::vector<Row> rows_of(const FunctionTable& table) {
  const auto word = [](const trace::Dictionary& dictionary, int32_t code) {
    return code < 0 ? OptionalText() : OptionalText(dictionary.words[static_cast<size_t>(code)]);
  };
  std::vector<Row> rows;
  for (const auto& region : table.regions())
    for (const auto& row : region->functions.rows())
      rows.emplace_back(region->name, region->functions.name(row), word(*table.runtimes(), row.joined.runtime),
                        word(*table.trigger_groups(), row.joined.trigger_group));
  return rows;
}

// word_of(column, text) -> (accepted, word or None), for each different text once.
bool add_plain(FunctionTable& table, const OptionalText& region, const py::bytes& text, size_t begin,
               const std::vector<std::string>& header, const py::function& word_of) {
  const std::string_view all = text;
  return table.add_plain(region, all.substr(std::min(begin, all.size())), header, [&](int32_t column, std::string_view word) {
    const auto [accepted, said] = word_of(trace::kPlainColumns[column], word).cast<std::pair<bool, OptionalText>>();
    return FunctionTable::Word{accepted, said};
  });
}

}  // namespace

void bind_trace_functions(py::module_& m) {
  py::class_<FunctionTable, std::shared_ptr<FunctionTable>>(m, "TraceFunctions")
      .def(py::init(&of_rows), py::arg("rows"))
      .def("add_plain", &add_plain, py::arg("region"), py::arg("text"), py::arg("begin"), py::arg("header"), py::arg("word_of"))
      .def("rows", &rows_of)
      .def("fingerprint", &FunctionTable::fingerprint)
      .def(py::pickle(&rows_of, &of_rows));
}

}  // namespace rewarm
