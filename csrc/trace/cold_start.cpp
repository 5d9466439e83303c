// The cold-start table: one row for every start of a pod, one file a region and day (README_data_release_2025).
#include "trace/schema.h"

namespace rewarm::trace {

const TableSpec& cold_start_table() {
  static const TableSpec table = {"cold_start",
                                  {
                                      {"day", FieldKind::kInt16, ""},
                                      {"time", FieldKind::kFloat64, "s"},
                                      {"clusterName", FieldKind::kInt16, ""},
                                      {"funcName", FieldKind::kInt32, ""},
                                      {"userID", FieldKind::kInt32, ""},
                                      {"requestID", FieldKind::kRequestId, ""},
                                      {"totalCost_cold_start", FieldKind::kFloat64, "s"},
                                      {"podAllocationCost", FieldKind::kFloat64, "s"},
                                      {"deployCodeCost", FieldKind::kFloat64, "s"},
                                      {"deployDependencyCost", FieldKind::kFloat64, "s"},
                                      {"schedulingCost", FieldKind::kFloat64, "s"},
                                      {"podID", FieldKind::kPodId, ""},
                                  },
                                  1};
  return table;
}

}  // namespace rewarm::trace
