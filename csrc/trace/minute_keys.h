// Keys of the minute tables that are made of their time, function and region: whole days, hours and minutes since the trace
// began, the parts of a funcID, its pool's limits, and what a runtime table says of it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trace/batch.h"
#include "trace/reader.h"
#include "trace/schema.h"

namespace rewarm::trace {

class MinuteKeys {
 public:
  // fields: what the batches have. by: keys; those that are not among the fields are made, of the columns time, funcID and
  // region. regions, functions: the words behind the batches' codes. runtime: for the keys runtime and trigger_group, null: no
  // function is known.
  MinuteKeys(std::vector<OutputField> fields, const std::vector<std::string>& by, const Dictionary& regions,
             const Dictionary& functions, const FunctionTable* runtime);

  // The batches' fields, then those that are made.
  const std::vector<OutputField>& fields() const { return fields_; }
  // The batch with the columns of fields(); shares what it had.
  Batch widened(const Batch& batch) const;

 private:
  struct Made {
    // Of time: whole units, counted within a cycle where that is not 0.
    int32_t seconds = 0;
    int32_t cycle = 0;
    // Of the function, and of the region where `regions` is not 1: the last of them stands for none.
    int64_t regions = 1;
    int64_t functions = 0;
    std::vector<int32_t> values;                   // [regions, functions] numbers or codes, kNone
    std::shared_ptr<const Dictionary> dictionary;  // of codes
  };
  static constexpr int32_t kNone = INT32_MIN;

  void add(const std::string& name, const Dictionary& regions, const Dictionary& functions, const FunctionTable* runtime);
  Column time_column(const OutputField& field, const Made& key, const Batch& batch) const;
  Column function_column(const OutputField& field, const Made& key, const Batch& batch) const;
  size_t column(const std::string& name) const;

  std::vector<OutputField> fields_;
  size_t given_;  // fields that the batches have
  size_t time_ = 0, function_ = 0, region_ = 0;
  std::vector<Made> made_;  // behind the given fields
};

}  // namespace rewarm::trace
