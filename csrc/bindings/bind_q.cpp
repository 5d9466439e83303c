// Python face of the Q room's draws and elementwise ops: addresses and sizes in, nothing checked here (rewarm.q has checked).
#include <pybind11/pybind11.h>

#include "bindings/bind.h"
#include "q/awr_weight.h"
#include "q/cql_penalty.h"
#include "q/draw.h"
#include "q/expectile_loss.h"
#include "q/tanh_gaussian.h"
#include "q/td_target.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using q::DrawAt;

enum DrawKind { kWords, kUniform, kNormal };

// The seeds' draws one after another: seeds [s], offsets [s], out [s, n] of 4-byte elements.
void philox(int64_t seeds, int64_t offsets, int64_t s, uint32_t stream, int kind, int64_t n, int64_t out) {
  const uint64_t* seed = at<const uint64_t>(seeds);
  const uint64_t* offset = at<const uint64_t>(offsets);
  const py::gil_scoped_release release;
  for (int64_t i = 0; i < s; ++i) {
    const DrawAt where = {seed[i], offset[i], stream};
    if (kind == kWords) q::draw_words(where, 0, n, at<uint32_t>(out) + i * n);
    if (kind == kUniform) q::draw_uniform(where, 0, n, at<float>(out) + i * n);
    if (kind == kNormal) q::draw_normal(where, 0, n, at<float>(out) + i * n);
  }
}

// seeds [s], offsets [s], out [s, subset].
void draw_subset(int64_t seeds, int64_t offsets, int64_t s, uint32_t stream, int64_t critics, int64_t subset, bool replacement,
                 int64_t out) {
  const uint64_t* seed = at<const uint64_t>(seeds);
  const uint64_t* offset = at<const uint64_t>(offsets);
  const py::gil_scoped_release release;
  for (int64_t i = 0; i < s; ++i)
    q::draw_subset({seed[i], offset[i], stream}, critics, subset, replacement, at<int64_t>(out) + i * subset);
}

void td_target(int64_t seeds, int64_t critics, int64_t batch, int64_t samples, int64_t reward, int64_t terminated,
               int64_t q_next, int64_t log_prob, int64_t alpha, int64_t alpha_stride, float gamma, int64_t y) {
  const py::gil_scoped_release release;
  q::td_target({seeds, critics, batch, samples, at<const float>(reward), at<const uint8_t>(terminated), at<const float>(q_next),
                at<const float>(log_prob), at<const float>(alpha), alpha_stride, gamma, at<float>(y)});
}

void cql_penalty(int64_t seeds, int64_t critics, int64_t batch, int64_t samples, int64_t q_sampled, int64_t q_data,
                 int64_t log_density, int64_t mc_return, int64_t first_bounded, float temperature, int64_t diff) {
  const py::gil_scoped_release release;
  q::cql_penalty({seeds, critics, batch, samples, at<const float>(q_sampled), at<const float>(q_data),
                  at<const float>(log_density), at<const float>(mc_return), first_bounded, temperature},
                 at<float>(diff));
}

void cql_penalty_backward(int64_t seeds, int64_t critics, int64_t batch, int64_t samples, int64_t q_sampled, int64_t q_data,
                          int64_t log_density, int64_t mc_return, int64_t first_bounded, float temperature, int64_t g,
                          int64_t of_sampled, int64_t of_data) {
  const py::gil_scoped_release release;
  q::cql_penalty_backward({seeds, critics, batch, samples, at<const float>(q_sampled), at<const float>(q_data),
                           at<const float>(log_density), at<const float>(mc_return), first_bounded, temperature},
                          at<const float>(g), at<float>(of_sampled), at<float>(of_data));
}

void expectile_loss(int64_t q, int64_t v, double expectile, int64_t s, int64_t n, bool mean, int64_t loss) {
  const py::gil_scoped_release release;
  const auto w = static_cast<float>(expectile), rest = static_cast<float>(1.0 - expectile);
  if (mean)
    q::expectile_loss_mean(at<const float>(q), at<const float>(v), w, rest, s, n, at<float>(loss));
  else
    q::expectile_loss(at<const float>(q), at<const float>(v), w, rest, s, n, at<float>(loss));
}

void expectile_loss_backward(int64_t q, int64_t v, double expectile, int64_t s, int64_t n, int64_t g, bool mean, int64_t of_q) {
  const py::gil_scoped_release release;
  q::expectile_loss_backward(at<const float>(q), at<const float>(v), static_cast<float>(expectile),
                             static_cast<float>(1.0 - expectile), s, n, at<const float>(g), mean, at<float>(of_q));
}

void awr_weight(int64_t q, int64_t v, float beta, float max_weight, int64_t n, int64_t weight) {
  const py::gil_scoped_release release;
  q::awr_weight(at<const float>(q), at<const float>(v), beta, max_weight, n, at<float>(weight));
}

q::TanhGaussian policy(int64_t seeds, int64_t batch, int64_t samples, int64_t actions, int64_t mean, int64_t log_std,
                       bool shared_std, int64_t noise, double std_min, double std_max, bool squash) {
  return {seeds,
          batch,
          samples,
          actions,
          at<const float>(mean),
          at<const float>(log_std),
          shared_std,
          at<const float>(noise),
          q::sigma_bounds(std_min, std_max),
          squash};
}

void tanh_gaussian(int64_t seeds, int64_t batch, int64_t samples, int64_t actions, int64_t mean, int64_t log_std,
                   bool shared_std, int64_t noise, double std_min, double std_max, bool squash, int64_t action,
                   int64_t log_prob) {
  const py::gil_scoped_release release;
  q::tanh_gaussian(policy(seeds, batch, samples, actions, mean, log_std, shared_std, noise, std_min, std_max, squash),
                   at<float>(action), at<float>(log_prob));
}

void tanh_gaussian_backward(int64_t seeds, int64_t batch, int64_t samples, int64_t actions, int64_t mean, int64_t log_std,
                            bool shared_std, int64_t noise, double std_min, double std_max, bool squash, int64_t of_action,
                            int64_t of_log_prob, int64_t of_mean, int64_t of_log_std) {
  const py::gil_scoped_release release;
  q::tanh_gaussian_backward(policy(seeds, batch, samples, actions, mean, log_std, shared_std, noise, std_min, std_max, squash),
                            at<const float>(of_action), at<const float>(of_log_prob), at<float>(of_mean),
                            at<float>(of_log_std));
}

void gaussian_log_prob(int64_t seeds, int64_t batch, int64_t actions, int64_t action, int64_t mean, int64_t log_std,
                       bool shared_std, double std_min, double std_max, int64_t log_prob) {
  const py::gil_scoped_release release;
  q::gaussian_log_prob({seeds, batch, actions, at<const float>(action), at<const float>(mean), at<const float>(log_std),
                        shared_std, q::sigma_bounds(std_min, std_max)},
                       at<float>(log_prob));
}

void gaussian_log_prob_backward(int64_t seeds, int64_t batch, int64_t actions, int64_t action, int64_t mean, int64_t log_std,
                                bool shared_std, double std_min, double std_max, int64_t of_log_prob, int64_t of_mean,
                                int64_t of_log_std) {
  const py::gil_scoped_release release;
  q::gaussian_log_prob_backward({seeds, batch, actions, at<const float>(action), at<const float>(mean),
                                 at<const float>(log_std), shared_std, q::sigma_bounds(std_min, std_max)},
                                at<const float>(of_log_prob), at<float>(of_mean), at<float>(of_log_std));
}

}  // namespace

void bind_q(py::module_& m) {
  m.attr("DRAW_WORDS") = static_cast<int>(kWords);
  m.attr("DRAW_UNIFORM") = static_cast<int>(kUniform);
  m.attr("DRAW_NORMAL") = static_cast<int>(kNormal);
  m.attr("NORMAL_ERROR") = q::kNormalError;
  m.def("philox", &philox, py::arg("seeds"), py::arg("offsets"), py::arg("s"), py::arg("stream"), py::arg("kind"), py::arg("n"),
        py::arg("out"));
  m.def("draw_subset", &draw_subset, py::arg("seeds"), py::arg("offsets"), py::arg("s"), py::arg("stream"), py::arg("critics"),
        py::arg("subset"), py::arg("replacement"), py::arg("out"));
  m.def("td_target", &td_target, py::arg("seeds"), py::arg("critics"), py::arg("batch"), py::arg("samples"), py::arg("reward"),
        py::arg("terminated"), py::arg("q_next"), py::arg("log_prob"), py::arg("alpha"), py::arg("alpha_stride"),
        py::arg("gamma"), py::arg("y"));
  m.def("cql_penalty", &cql_penalty, py::arg("seeds"), py::arg("critics"), py::arg("batch"), py::arg("samples"),
        py::arg("q_sampled"), py::arg("q_data"), py::arg("log_density"), py::arg("mc_return"), py::arg("first_bounded"),
        py::arg("temperature"), py::arg("diff"));
  m.def("cql_penalty_backward", &cql_penalty_backward, py::arg("seeds"), py::arg("critics"), py::arg("batch"),
        py::arg("samples"), py::arg("q_sampled"), py::arg("q_data"), py::arg("log_density"), py::arg("mc_return"),
        py::arg("first_bounded"), py::arg("temperature"), py::arg("g"), py::arg("of_sampled"), py::arg("of_data"));
  m.def("expectile_loss", &expectile_loss, py::arg("q"), py::arg("v"), py::arg("expectile"), py::arg("s"), py::arg("n"),
        py::arg("mean"), py::arg("loss"));
  m.def("expectile_loss_backward", &expectile_loss_backward, py::arg("q"), py::arg("v"), py::arg("expectile"), py::arg("s"),
        py::arg("n"), py::arg("g"), py::arg("mean"), py::arg("of_q"));
  m.def("awr_weight", &awr_weight, py::arg("q"), py::arg("v"), py::arg("beta"), py::arg("max_weight"), py::arg("n"),
        py::arg("weight"));
  m.def("tanh_gaussian", &tanh_gaussian, py::arg("seeds"), py::arg("batch"), py::arg("samples"), py::arg("actions"),
        py::arg("mean"), py::arg("log_std"), py::arg("shared_std"), py::arg("noise"), py::arg("std_min"), py::arg("std_max"),
        py::arg("squash"), py::arg("action"), py::arg("log_prob"));
  m.def("tanh_gaussian_backward", &tanh_gaussian_backward, py::arg("seeds"), py::arg("batch"), py::arg("samples"),
        py::arg("actions"), py::arg("mean"), py::arg("log_std"), py::arg("shared_std"), py::arg("noise"), py::arg("std_min"),
        py::arg("std_max"), py::arg("squash"), py::arg("of_action"), py::arg("of_log_prob"), py::arg("of_mean"),
        py::arg("of_log_std"));
  m.def("gaussian_log_prob", &gaussian_log_prob, py::arg("seeds"), py::arg("batch"), py::arg("actions"), py::arg("action"),
        py::arg("mean"), py::arg("log_std"), py::arg("shared_std"), py::arg("std_min"), py::arg("std_max"),
        py::arg("log_prob"));
  m.def("gaussian_log_prob_backward", &gaussian_log_prob_backward, py::arg("seeds"), py::arg("batch"), py::arg("actions"),
        py::arg("action"), py::arg("mean"), py::arg("log_std"), py::arg("shared_std"), py::arg("std_min"), py::arg("std_max"),
        py::arg("of_log_prob"), py::arg("of_mean"), py::arg("of_log_std"));
}

}  // namespace rewarm
