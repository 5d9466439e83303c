// Python face of rl/replay.h. Arrays come and go as addresses; whoever passes one keeps it alive and has checked its shape.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <tuple>

#include "bindings/address.h"
#include "bindings/bind.h"
#include "common/error.h"
#include "rl/replay.h"

namespace py = pybind11;

namespace rewarm {
namespace {

using rl::Replay;
using rl::RowArrays;

RowArrays row_arrays(int64_t obs, int64_t action, int64_t reward, int64_t next_obs, int64_t terminated, int64_t mc_return,
                     int64_t truncated) {
  RowArrays rows;
  rows.obs = at<float>(obs);
  rows.action = at<float>(action);
  rows.reward = at<float>(reward);
  rows.next_obs = at<float>(next_obs);
  rows.terminated = at<uint8_t>(terminated);
  rows.truncated = at<uint8_t>(truncated);
  rows.mc_return = at<float>(mc_return);
  return rows;
}

Replay* make_replay(int64_t capacity, int64_t obs_dim, int64_t act_dim, const std::vector<uint64_t>& seeds, bool shared,
                    bool mc_returns, double gamma, const std::optional<float>& sparse_negative_reward, int64_t storage,
                    int64_t state, const py::object&) {
  return new Replay({capacity, seeds, shared, mc_returns, gamma, sparse_negative_reward}, obs_dim, act_dim,
                    at<std::byte>(storage), at<int64_t>(state));
}

void add(Replay& replay, int64_t obs, int64_t action, int64_t reward, int64_t next_obs, int64_t terminated, int64_t truncated,
         int64_t valid, int64_t n, bool environments) {
  const rl::NewRows rows = {at<const float>(obs),
                            at<const float>(action),
                            at<const float>(reward),
                            at<const float>(next_obs),
                            at<const uint8_t>(terminated),
                            at<const uint8_t>(truncated),
                            at<const uint8_t>(valid),
                            n,
                            environments};
  py::gil_scoped_release release;
  replay.add(rows);
}

// All seeds, one after another: arrays [n_seeds, n, ...].
void sample(const Replay& replay, int64_t offsets, int64_t first, int64_t n, int64_t obs, int64_t action, int64_t reward,
            int64_t next_obs, int64_t terminated, int64_t mc_return, int64_t truncated) {
  const RowArrays rows = row_arrays(obs, action, reward, next_obs, terminated, mc_return, truncated);
  py::gil_scoped_release release;
  for (int64_t seed = 0; seed < replay.config().n_seeds(); ++seed)
    replay.sample_rows(seed, static_cast<uint64_t>(at<const int64_t>(offsets)[seed]), n, rows.from(seed * n, replay.layout()),
                       first);
}

void gather(const Replay& replay, int64_t index, int64_t n, int64_t obs, int64_t action, int64_t reward, int64_t next_obs,
            int64_t terminated, int64_t mc_return, int64_t truncated) {
  const RowArrays rows = row_arrays(obs, action, reward, next_obs, terminated, mc_return, truncated);
  py::gil_scoped_release release;
  for (int64_t seed = 0; seed < replay.config().n_seeds(); ++seed)
    replay.gather_rows(seed, at<const int64_t>(index) + seed * n, n, rows.from(seed * n, replay.layout()));
}

std::vector<std::tuple<int64_t, int64_t, int64_t>> pending(const Replay& replay) {
  std::vector<std::tuple<int64_t, int64_t, int64_t>> found;
  for (const rl::PendingEpisode& e : replay.pending()) found.emplace_back(e.block, e.environment, e.rows);
  return found;
}

void restore_pending(Replay& replay, const std::vector<std::tuple<int64_t, int64_t, int64_t>>& episodes, int64_t records) {
  std::vector<rl::PendingEpisode> found;
  for (const auto& [block, environment, rows] : episodes) found.push_back({block, environment, rows});
  py::gil_scoped_release release;
  replay.restore_pending(found, at<const std::byte>(records));
}

// Offset in bytes of each field of a record, and the bytes of the whole.
py::dict record_layout(int64_t obs_dim, int64_t act_dim) {
  const rl::RecordLayout layout(obs_dim, act_dim);
  py::dict offsets;
  offsets["obs"] = 0;
  offsets["action"] = layout.action;
  offsets["reward"] = layout.reward;
  offsets["next_obs"] = layout.next_obs;
  offsets["mc_return"] = layout.mc_return;
  offsets["terminated"] = layout.terminated;
  offsets["truncated"] = layout.truncated;
  offsets["failed"] = layout.failed;
  offsets["bytes"] = layout.bytes;
  return offsets;
}

}  // namespace

void bind_rl_replay(py::module_& m) {
  m.attr("MAX_REPLAY_CAPACITY") = rl::kMaxCapacity;
  m.def("replay_record", &record_layout, py::arg("obs_dim"), py::arg("act_dim"));
  py::class_<Replay>(m, "Replay")
      .def(py::init(&make_replay), py::arg("capacity"), py::arg("obs_dim"), py::arg("act_dim"), py::arg("seeds"),
           py::arg("shared"), py::arg("mc_returns"), py::arg("gamma"), py::arg("sparse_negative_reward").none(true),
           py::arg("storage"), py::arg("state"), py::arg("owner"), py::keep_alive<1, 12>())
      .def("add", &add, py::arg("obs"), py::arg("action"), py::arg("reward"), py::arg("next_obs"), py::arg("terminated"),
           py::arg("truncated"), py::arg("valid"), py::arg("n"), py::arg("environments"))
      .def("sample", &sample, py::arg("offsets"), py::arg("first"), py::arg("n"), py::arg("obs"), py::arg("action"),
           py::arg("reward"), py::arg("next_obs"), py::arg("terminated"), py::arg("mc_return"), py::arg("truncated"))
      .def("gather", &gather, py::arg("index"), py::arg("n"), py::arg("obs"), py::arg("action"), py::arg("reward"),
           py::arg("next_obs"), py::arg("terminated"), py::arg("mc_return"), py::arg("truncated"))
      .def("set_rewards", &Replay::set_rewards, py::arg("scale"), py::arg("bias"), py::call_guard<py::gil_scoped_release>())
      .def("smallest_size", &Replay::smallest_size, py::call_guard<py::gil_scoped_release>())
      .def("pending", &pending)
      .def(
          "copy_pending", [](const Replay& r, int64_t records) { r.copy_pending(at<std::byte>(records)); }, py::arg("records"),
          py::call_guard<py::gil_scoped_release>())
      .def("restore_pending", &restore_pending, py::arg("episodes"), py::arg("records"));
}

}  // namespace rewarm
