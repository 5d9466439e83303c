// Python face of the Q room's draws and elementwise ops: addresses and sizes in, nothing checked here (rewarm.q has checked).
#include <pybind11/pybind11.h>

#include "bindings/bind.h"
#include "q/draw.h"

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
}

}  // namespace rewarm
