#include "trace/plan.h"

#include <algorithm>

#include "trace/number.h"
#include "trace/rows.h"
#include "trace/text.h"
#include "trace/trace_error.h"

namespace rewarm::trace {
namespace {

struct Derived {
  const char* name;
  OutputKind kind;
  Type type;
  int32_t width;
  const char* unit;
};

// What can be asked for by name beside the published columns.
constexpr Derived kDerived[] = {
    {"poolName", OutputKind::kPoolName, Type::kDictionary, 4, ""},
    {"pod_serial", OutputKind::kPodSerial, Type::kInt64, 8, ""},
    {"cpu_limit", OutputKind::kCpuLimit, Type::kInt32, 4, "millicores"},
    {"memory_limit", OutputKind::kMemoryLimit, Type::kInt32, 4, "MB"},
    {"size", OutputKind::kSize, Type::kDictionary, 4, ""},
    {"pool_class", OutputKind::kPoolClass, Type::kDictionary, 4, ""},
    {"funcID", OutputKind::kFuncId, Type::kDictionary, 4, ""},
    {"day", OutputKind::kDay, Type::kInt16, 2, ""},
    {"hour", OutputKind::kHour, Type::kInt32, 4, ""},
    {"minute", OutputKind::kMinute, Type::kInt32, 4, ""},
    {"hour_of_day", OutputKind::kHourOfDay, Type::kInt8, 1, ""},
    {"runtime", OutputKind::kRuntime, Type::kDictionary, 4, ""},
    {"trigger_group", OutputKind::kTriggerGroup, Type::kDictionary, 4, ""},
    {"region", OutputKind::kRegion, Type::kDictionary, 4, ""},
};

int32_t find_published(const TableSpec& table, const std::string& name) {
  for (size_t i = 0; i < table.columns.size(); ++i)
    if (name == table.columns[i].name) return static_cast<int32_t>(i);
  return -1;
}

template <class Names>
std::string list_of(const Names& names) {
  std::string list;
  for (const auto& name : names) list += (list.empty() ? "" : ", ") + std::string(name);
  return list;
}

std::vector<const char*> published_names(const TableSpec& table) {
  std::vector<const char*> names;
  for (const PublishedColumn& column : table.columns) names.push_back(column.name);
  return names;
}

// The published columns that any file has: a file that lacks one of them is refused by name.
std::vector<std::string> default_columns(const std::vector<SourceFile>& files, const TableSpec& table, bool text_ids) {
  std::vector<std::string> names;
  for (const PublishedColumn& column : table.columns) {
    const bool present = std::any_of(files.begin(), files.end(), [&](const SourceFile& file) {
      return std::find(file.header.begin(), file.header.end(), column.name) != file.header.end();
    });
    if (!present && !files.empty()) continue;
    if (column.kind == FieldKind::kPodId && !text_ids) {
      names.insert(names.end(), {"poolName", "pod_serial"});
    } else {
      names.emplace_back(column.name);
    }
  }
  names.emplace_back("region");
  return names;
}

Output published_output(const TableSpec& table, int32_t index, bool text_ids, int32_t id_bytes) {
  const PublishedColumn& column = table.columns[static_cast<size_t>(index)];
  OutputField field = {column.name, Type::kFloat64, 8, column.unit};
  switch (column.kind) {
    case FieldKind::kFloat64: break;
    case FieldKind::kInt16: field.type = Type::kInt16, field.width = 2; break;
    case FieldKind::kInt32: field.type = Type::kInt32, field.width = 4; break;
    case FieldKind::kInt64: field.type = Type::kInt64; break;
    case FieldKind::kPodId: field.type = Type::kUtf8, field.width = 0; return {field, OutputKind::kPodText, index};
    case FieldKind::kRequestId:
      if (text_ids) {
        field.type = Type::kUtf8, field.width = 0;
        return {field, OutputKind::kRequestText, index};
      }
      field.type = Type::kFixedBinary, field.width = id_bytes;
  }
  return {field, OutputKind::kField, index};
}

void need(Plan* plan, std::initializer_list<int32_t> published) {
  for (int32_t p : published) plan->needed[static_cast<size_t>(p)] = true;
}

}  // namespace

const TableSpec& table_spec(const std::string& name) {
  for (const TableSpec* table : {&cold_start_table(), &request_table()})
    if (name == table->name) return *table;
  throw Error(ErrorKind::kInvalidArgument, "table: expected cold_start or request here, got \"" + name + "\"");
}

int32_t Plan::output_of(OutputKind kind) const {
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].kind == kind) return static_cast<int32_t>(i);
  return -1;
}

Plan make_plan(const std::vector<SourceFile>& files, const ReadOptions& options) {
  Plan plan;
  plan.table = &table_spec(options.table);
  const TableSpec& table = *plan.table;
  plan.needed.assign(table.columns.size(), false);
  plan.target.assign(table.columns.size(), -1);
  plan.cluster = find_published(table, "clusterName");
  plan.function = find_published(table, "funcName");
  plan.user = find_published(table, "userID");
  plan.pod = find_published(table, "podID");
  plan.request = find_published(table, "requestID");

  const std::vector<std::string> names =
      options.columns.empty() ? default_columns(files, table, options.text_ids) : options.columns;
  const bool ids = !options.text_ids && std::find(names.begin(), names.end(), "requestID") != names.end();
  plan.id_bytes = options.id_bytes > 0 || !ids ? (options.id_bytes > 0 ? options.id_bytes : 32) : first_id_bytes(files);
  if (plan.id_bytes != 32 && plan.id_bytes != 16)
    throw Error(ErrorKind::kInvalidArgument, "id_bytes: expected 16 or 32, got " + std::to_string(plan.id_bytes));

  for (const std::string& name : names) {
    for (const Output& before : plan.outputs)
      if (before.field.name == name) throw Error(ErrorKind::kInvalidArgument, "columns: \"" + name + "\" is asked for twice");
    const int32_t index = find_published(table, name);
    if (index >= 0) {
      plan.outputs.push_back(published_output(table, index, options.text_ids, plan.id_bytes));
      if (plan.outputs.back().kind == OutputKind::kField)
        plan.target[static_cast<size_t>(index)] = static_cast<int32_t>(plan.outputs.size()) - 1;
      need(&plan, {index});
      continue;
    }
    const auto derived =
        std::find_if(std::begin(kDerived), std::end(kDerived), [&](const Derived& d) { return name == d.name; });
    if (derived == std::end(kDerived)) {
      std::vector<const char*> known = published_names(table);
      for (const Derived& d : kDerived)
        if (find_published(table, d.name) < 0) known.push_back(d.name);
      throw Error(ErrorKind::kInvalidArgument, std::string("columns: the ") + table.name + " table has no column \"" + name +
                                                   "\"; accepted: " + list_of(known));
    }
    Output output = {{derived->name, derived->type, derived->width, derived->unit}, derived->kind, -1};
    switch (derived->kind) {
      case OutputKind::kDay:
      case OutputKind::kHour:
      case OutputKind::kMinute:
      case OutputKind::kHourOfDay:
        output.published = table.time;
        need(&plan, {table.time});
        break;
      case OutputKind::kRuntime:
      case OutputKind::kTriggerGroup:
        if (options.runtime == nullptr)
          throw Error(ErrorKind::kInvalidArgument,
                      "columns: \"" + name + "\" joins the runtime table, which is given by runtime=");
        [[fallthrough]];
      case OutputKind::kFuncId:
        plan.joins_functions = true;
        plan.pod_grammar = true;
        need(&plan, {plan.function, plan.user, plan.pod});
        break;
      case OutputKind::kRegion: break;
      default:
        plan.pod_grammar = true;
        output.published = plan.pod;
        need(&plan, {plan.pod});
    }
    plan.outputs.push_back(output);
  }
  if (!options.text_ids) plan.pod_grammar = true;

  if (options.time_begin == options.time_begin || options.time_end == options.time_end) plan.filters.push_back(table.time);
  if (!options.clusters.empty()) plan.filters.push_back(plan.cluster);
  if (!options.functions.empty()) {
    plan.filters_functions = true;
    plan.pod_grammar = true;
    plan.filters.insert(plan.filters.end(), {plan.function, plan.user, plan.pod});
  }
  return plan;
}

std::vector<int32_t> map_columns(const SourceFile& file, const Plan& plan, bool ignore_unknown) {
  const TableSpec& table = *plan.table;
  const auto fail = [&](const std::string& what, const std::string& text) {
    std::string header;
    for (const std::string& name : file.header) header += (header.empty() ? "" : ",") + name;
    throw TraceFailure(file.name + ":1: " + what, {file.name, 1, 0, text, header.substr(0, kShownBytes), what});
  };
  std::vector<int32_t> published(file.header.size(), -1);
  std::vector<bool> seen(table.columns.size(), false);
  for (size_t c = 0; c < file.header.size(); ++c) {
    const int32_t index = find_published(table, file.header[c]);
    if (index < 0) {
      if (!ignore_unknown)
        fail("the " + std::string(table.name) + " table has no column \"" + file.header[c] +
                 "\" (unknown_columns=\"ignore\" leaves it out); known: " + list_of(published_names(table)),
             file.header[c]);
      continue;
    }
    if (seen[static_cast<size_t>(index)]) fail("column \"" + file.header[c] + "\" stands twice in the header", file.header[c]);
    seen[static_cast<size_t>(index)] = true;
    published[c] = index;
  }
  for (size_t p = 0; p < table.columns.size(); ++p) {
    const bool filtered = std::find(plan.filters.begin(), plan.filters.end(), static_cast<int32_t>(p)) != plan.filters.end();
    if ((plan.needed[p] || filtered) && !seen[p]) {
      const std::string name = table.columns[p].name;
      fail("the file has no column \"" + name + "\", which was asked for; it has " + list_of(file.header), name);
    }
  }
  return published;
}

int32_t first_id_bytes(const std::vector<SourceFile>& files) {
  for (const SourceFile& file : files) {
    const auto found = std::find(file.header.begin(), file.header.end(), std::string("requestID"));
    TextWindow window;
    window.open(file, file.header_bytes);
    while (true) {
      const size_t n = window.size() < kSubBlock ? window.size() : kSubBlock;
      const void* feed = std::memchr(window.data(), '\n', n);
      if (feed == nullptr) {
        if (window.ended() || n == kSubBlock) break;
        window.fill();
        continue;
      }
      const size_t line = static_cast<size_t>(static_cast<const char*>(feed) - window.data()) + 1;
      std::vector<uint16_t> ends;
      std::vector<BadRow> bad;
      const int32_t columns = static_cast<int32_t>(file.header.size());
      split_rows(window.data(), static_cast<uint32_t>(line), columns, &ends, &bad);
      if (ends.empty() && bad.empty()) {  // a blank line
        window.consume(line);
        continue;
      }
      if (ends.empty() || found == file.header.end()) return 32;
      const size_t c = static_cast<size_t>(found - file.header.begin());
      std::string scratch;
      const FieldText text =
          unquoted(window.data() + static_cast<uint16_t>(ends[c] + 1), window.data() + ends[c + 1], &scratch);
      uint8_t id[16];
      return parse_hex(text.begin, text.end, 16, id) == Parsed::kOk ? 16 : 32;
    }
  }
  return 32;
}

}  // namespace rewarm::trace
