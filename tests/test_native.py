"""Why the CUDA module is missing, in words that lead on."""

import sys
import types

import pytest

import rewarm
from rewarm import _build_info, _dispatch, _native


@pytest.fixture
def imported_anew():
    _native._import_cuda.cache_clear()
    yield
    _native._import_cuda.cache_clear()


def fake_module(monkeypatch, module):
    monkeypatch.setattr(_build_info, "CUDA_BUILT", True)
    monkeypatch.setattr(_build_info, "CUDA_ARCHITECTURES", "90-real")
    monkeypatch.setitem(sys.modules, "rewarm._cuda", module)
    monkeypatch.setattr(rewarm, "_cuda", module, raising=False)


@pytest.mark.usefixtures("imported_anew")
def test_this_build_says_why_or_has_a_gpu():
    module, reason = _native.cuda(), _native.cuda_unavailable_reason()
    assert (module is None) == (reason != "")
    if not _build_info.CUDA_BUILT:
        assert reason == f"rewarm was built without CUDA: {_build_info.CUDA_REASON}"
    elif module is None:
        assert reason.startswith("rewarm._cuda was built")


@pytest.mark.usefixtures("imported_anew")
def test_not_built(monkeypatch):
    monkeypatch.setattr(_build_info, "CUDA_BUILT", False)
    monkeypatch.setattr(_build_info, "CUDA_REASON", "no nvcc was found: put it on PATH or set CUDACXX, then reinstall")
    assert _native.cuda() is None
    assert _dispatch.unavailable("cuda", "cuda") == (
        "rewarm was built without CUDA: no nvcc was found: put it on PATH or set CUDACXX, then reinstall"
    )
    assert _dispatch.unavailable("cuda", "cpu") == "it steps CUDA tensors, and these are on cpu"


@pytest.mark.usefixtures("imported_anew")
def test_built_but_no_device(monkeypatch):
    because = "CUDA driver version is insufficient (CUDA error 35; newest CUDA of the driver: none, of this build: 13.0)"
    fake_module(monkeypatch, types.SimpleNamespace(device_count=lambda: (0, because)))
    assert _native.cuda() is None
    assert _native.cuda_unavailable_reason() == f"rewarm._cuda was built (90-real) but no usable GPU was found: {because}"


@pytest.mark.usefixtures("imported_anew")
def test_built_and_usable(monkeypatch):
    module = types.SimpleNamespace(device_count=lambda: (2, ""))
    fake_module(monkeypatch, module)
    assert _native.cuda() is module
    assert _native.cuda_unavailable_reason() == ""


def test_the_real_module_imports_without_a_driver():
    """It answers instead of raising, whatever the machine has."""
    cuda = pytest.importorskip("rewarm._cuda", reason="this build has no CUDA module")
    count, reason = cuda.device_count()
    assert (count == 0) == bool(reason)
    assert cuda.runtime_version() not in ("", "none")
    if count == 0:
        from rewarm.errors import DeviceError

        with pytest.raises(DeviceError, match=r"reading the properties of a device: .*CUDA error \d+"):
            cuda.device_properties(0)
