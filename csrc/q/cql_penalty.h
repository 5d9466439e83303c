// T logsumexp(q / T) - q_data for each critic and row, and its gradient: CQL(H) (arXiv 2006.04779) with Cal-QL's lower bound
// (arXiv 2303.05479). Nothing but q itself is read and nothing is kept between the two.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace rewarm::q {

// Whether the bound replaces q. At a tie q stays, with its gradient; NaN of either stays.
REWARM_HD bool is_bounded(float q, float mc_return) { return !(q >= mc_return || q != q); }

struct CqlPenalty {
  int64_t seeds, critics, batch, samples;  // S, M, B, N
  const float* q_sampled;                  // [S, M, B, N]
  const float* q_data;                     // [S, M, B]
  const float* log_density;                // [S, B, N]; null: append q_data and subtract T ln(N + 1)
  const float* mc_return;                  // [S, B]; null: no bound
  int64_t first_bounded;                   // columns before it are not bounded
  float temperature;
};

// diff [S, M, B].
void cql_penalty(const CqlPenalty& p, float* diff);

// For d loss / d diff = g [S, M, B]: of_sampled [S, M, B, N] and of_data [S, M, B], each null where it is not wanted.
void cql_penalty_backward(const CqlPenalty& p, const float* g, float* of_sampled, float* of_data);

}  // namespace rewarm::q
