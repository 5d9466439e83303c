// The request table: one row for every request of day 30. Half a row, the front end's, may be empty; its names and units are
// those of README_data_release_2025, which the released files follow and the paper's Table 1 (microseconds) does not.
#include "trace/schema.h"

namespace rewarm::trace {

const TableSpec& request_table() {
  static const TableSpec table = {"request",
                                  {
                                      {"time_worker", FieldKind::kFloat64, "s"},
                                      {"time_frontend", FieldKind::kFloat64, "s"},
                                      {"requestID", FieldKind::kRequestId, ""},
                                      {"clusterName", FieldKind::kInt16, ""},
                                      {"funcName", FieldKind::kInt32, ""},
                                      {"podID", FieldKind::kPodId, ""},
                                      {"userID", FieldKind::kInt32, ""},
                                      {"totalCost_worker", FieldKind::kFloat64, "s"},
                                      {"workerCost", FieldKind::kFloat64, "s"},
                                      {"runtimeCost", FieldKind::kFloat64, "s"},
                                      {"totalCost_frontend", FieldKind::kFloat64, "s"},
                                      {"frontendCost", FieldKind::kFloat64, "s"},
                                      {"busCost", FieldKind::kFloat64, "s"},
                                      {"readBodyCost", FieldKind::kFloat64, "s"},
                                      {"writeRspCost", FieldKind::kFloat64, "s"},
                                      {"cpu_usage", FieldKind::kFloat64, "cores"},
                                      {"memory_usage", FieldKind::kFloat64, "MB"},
                                      {"requestBodySize", FieldKind::kInt64, "bytes"},
                                  },
                                  0};
  return table;
}

}  // namespace rewarm::trace
