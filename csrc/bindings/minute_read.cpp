#include "bindings/minute_read.h"

#include <pybind11/stl.h>

#include <map>
#include <utility>

namespace py = pybind11;

namespace rewarm {

using trace::Dictionary;
using trace::MinuteFile;
using trace::MinuteHeader;
using trace::MinuteOptions;

MinuteTables::MinuteTables(const py::sequence& sources, const std::vector<std::string>& columns,
                           const std::vector<std::string>& regions, const std::vector<std::string>& functions,
                           std::optional<double> time_begin, std::optional<double> time_end, const std::string& on_error,
                           bool ignore_unknown, int threads, int64_t block_bytes, const std::string& version)
    : fields_{trace::minute_fields(columns), "minute", version} {
  std::vector<trace::SourceFile> files = cast_sources(sources, regions, false);
  auto known_regions = std::make_shared<Dictionary>(), metrics = std::make_shared<Dictionary>(),
       stats = std::make_shared<Dictionary>(), known = std::make_shared<Dictionary>();
  known_regions->words = regions;
  // Files with equal headers share one tuple.
  std::map<PyObject*, std::shared_ptr<const MinuteHeader>> headers;
  std::vector<MinuteFile> minute_files;
  for (size_t f = 0; f < files.size(); ++f) {
    const py::object source = sources[f];
    const py::object names = source.attr("header");
    std::shared_ptr<const MinuteHeader>& header = headers[names.ptr()];
    if (header == nullptr)
      header = trace::make_minute_header(files[f].name, names.cast<std::vector<std::string>>(), functions, ignore_unknown,
                                         known.get());
    minute_files.push_back({std::move(files[f]), header, code_of(source.attr("metric"), metrics.get()),
                            code_of(source.attr("stat"), stats.get())});
  }
  MinuteOptions options;
  options.columns = columns;
  options.on_error = on_error_of(on_error);
  options.threads = threads;
  options.block_bytes = block_bytes;
  if (time_begin) options.time_begin = *time_begin;
  if (time_end) options.time_end = *time_end;
  options.regions = known_regions;
  options.metrics = metrics;
  options.stats = stats;
  options.functions = known;
  reader_ = std::make_unique<trace::MinuteReader>(std::move(minute_files), std::move(options));
}

}  // namespace rewarm
