// _core: the CPU module, always built. A table of contents.
#include "bindings/bind.h"

PYBIND11_MODULE(_core, m) {
  m.doc() = "C++ core of rewarm: schedules, the CPU optimizer step, Q-value ops, and the reader of the trace.";
  rewarm::bind_common(m);
  rewarm::bind_schedule(m);
  rewarm::bind_optim(m);
  rewarm::bind_q_mlp(m);
  rewarm::bind_rl_update(m);
  rewarm::bind_q(m);
  rewarm::bind_trace_functions(m);
  rewarm::bind_trace(m);
  rewarm::bind_trace_aggregate(m);
  rewarm::bind_trace_kernels(m);
  rewarm::bind_trace_minute(m);
  rewarm::bind_trace_scan(m);
  rewarm::bind_trace_synthetic(m);
  rewarm::bind_rl_replay(m);
}
