// What the trace's bindings share: sources and options out of Python, errors and waiting back into it.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <vector>

#include "trace/arrow.h"
#include "trace/reader.h"

namespace rewarm {

// Files of rewarm.trace.source.Source. Regions are codes in `regions`, which must name them all. headers: whether column names
// are taken too; thousands of minute files share a header of thousands of names.
std::vector<trace::SourceFile> cast_sources(const pybind11::sequence& sources, const std::vector<std::string>& regions,
                                            bool headers = true);

// "raise", "null" or "skip".
trace::OnError on_error_of(const std::string& name);

// The code of a word in the dictionary, which gets it where it is new; -1 for None.
int32_t code_of(const pybind11::object& word, trace::Dictionary* dictionary);

// A fresh text, bytes that are not UTF-8 replaced.
pybind11::str shown(const std::string& bytes);

// Lists (file index, line, byte, column or None, text, expected, action).
pybind11::list reject_list(const std::vector<trace::Reject>& rejects);

// (name, type as rewarm.trace.schema spells it, unit) of every column.
pybind11::list field_list(const trace::ArrowFields& fields);

// Raises the exception of a signal that has arrived; for a thread that holds no GIL, in a wait.
void check_signals();

// One batch as Python holds it.
struct TraceBatch {
  trace::ArrowFields fields;
  std::shared_ptr<const trace::Batch> batch;
};

// Batches that stay: a table. Its dictionaries are those of the last batch, so a stream of it has one of each.
struct TraceTable {
  trace::ArrowFields fields;
  std::vector<std::shared_ptr<const trace::Batch>> batches;
  int64_t rows() const;
};

pybind11::capsule schema_capsule(const trace::ArrowFields& fields);
pybind11::capsule stream_capsule(std::shared_ptr<trace::BatchSource> source);
pybind11::capsule array_capsule(const trace::ArrowFields& fields, const std::shared_ptr<const trace::Batch>& batch);
// A stream over batches that are there; may be taken as often as one likes.
pybind11::capsule table_stream(const TraceTable& table);

}  // namespace rewarm
