"""What AdamW refuses, and that the message names the place, what was given and what is accepted."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from test_adamw import give_gradients, some_params

from rewarm import _dispatch, _native
from rewarm.errors import BackendUnavailable, InvalidArgument, PlanChanged, UnsupportedTensor
from rewarm.optim import AdamW


def refused(error, match, *args, **kwargs):
    params = kwargs.pop("params", None) or some_params([(3,)])
    with pytest.raises(error, match=match):
        AdamW(params, *args, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"lr": -1.0}, r"group 0: lr: expected a finite number >= 0, got -1.0"),
        ({"lr": math.nan}, r"lr: expected a finite number >= 0, got nan"),
        ({"lr": "fast"}, r"lr: expected .* got 'fast'"),
        ({"lr": torch.ones(2)}, r"lr: a tensor learning rate must hold one floating-point element, got shape \(2,\)"),
        ({"eps": -1e-8}, r"eps: expected a finite number >= 0, got -1e-08"),
        ({"betas": (0.9, 1.0)}, r"betas\[1\]: expected a number in \[0, 1\), got 1.0"),
        ({"betas": (-0.1, 0.9)}, r"betas\[0\]: .* got -0.1"),
        ({"betas": 0.9}, r"betas: expected a pair"),
        ({"weight_decay": -0.1}, r"weight_decay: .* got -0.1"),
        ({"max_grad_norm": 0.0}, r"max_grad_norm: expected a number > 0, a Schedule or None"),
        ({"max_grad_norm": math.inf}, r"max_grad_norm: expected a finite number"),
        ({"seed": -1}, r"seed: expected an integer in \[0, 2\*\*64\)"),
        ({"differentiable": True}, r"differentiable=True is not supported"),
        ({"backend": "opencl"}, r"backend: expected one of reference, cpu, cuda, triton or None, got 'opencl'"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_values_out_of_range(kwargs, match):
    refused(InvalidArgument, match, **kwargs)


def test_a_group_cannot_have_its_own_clip_norm():
    refused(InvalidArgument, "group 1: max_grad_norm is one for all groups", params=[
        {"params": some_params([(3,)])}, {"params": some_params([(3,)]), "max_grad_norm": 1.0},
    ])  # fmt: skip


def test_dtypes_that_no_backend_steps():
    p = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    q = torch.nn.Parameter(torch.zeros(3, dtype=torch.complex64))
    for bad, match in ((p, "got torch.float64"), (q, "real floating-point dtype, got torch.complex64")):
        opt = AdamW([{"params": some_params([(2,)])}, {"params": [("head.weight", bad)]}] if False else [bad])
        bad.grad = torch.zeros_like(bad)
        with pytest.raises(UnsupportedTensor, match=rf"param \(group 0, index 0\): .*{match}"):
            opt.step()


def test_names_are_used_where_there_are_some():
    good, bad = torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    opt = AdamW([("body.weight", good), ("head.weight", bad)])
    good.grad = torch.zeros(3)
    with pytest.raises(UnsupportedTensor, match=r"param 'head.weight' \(group 0, index 1\): expected dtype"):
        opt.step()


def test_moment_dtypes_that_do_not_go_with_the_parameter():
    (p,) = some_params([(3,)])
    opt = AdamW([p], state_dtype=torch.bfloat16)
    give_gradients([p])
    with pytest.raises(UnsupportedTensor, match=r"state_dtype for a torch.float32 parameter: expected torch.float32, got"):
        opt.step()


def test_overlapping_strides_and_shared_storage():
    flat = torch.zeros(12)
    gaps = torch.nn.Parameter(flat[::2])
    gaps.grad = torch.zeros_like(gaps)
    with pytest.raises(UnsupportedTensor, match=r"without gaps or overlap, got shape \(6,\) with strides \(2,\)"):
        AdamW([gaps]).step()
    one, two = torch.nn.Parameter(flat[:8]), torch.nn.Parameter(flat[7:])
    one.grad, two.grad = torch.zeros(8), torch.zeros(5)
    with pytest.raises(UnsupportedTensor, match=r"\(group 0, index 0\) and param \(group 0, index 1\) share memory"):
        AdamW([one, two]).step()


def test_the_same_parameter_twice_follows_torchs_rules():
    (p,) = some_params([(3,)])
    with pytest.warns(UserWarning, match="duplicate parameters"):
        AdamW([p, p])
    with pytest.raises(ValueError, match="some parameters appear in more than one parameter group"):
        AdamW([{"params": [p]}, {"params": [p]}])


def test_gradients_that_do_not_fit():
    table = torch.nn.Embedding(5, 3, sparse=True)
    opt = AdamW(table.parameters())
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(UnsupportedTensor, match=r"\(group 0, index 0\): expected a dense \(strided\) gradient, got layout"):
        opt.step()
    (p,) = some_params([(4,)])
    opt = AdamW([p])
    give_gradients([p])
    opt.step()
    before = p.detach().clone()
    p.data = p.data.double()
    p.grad = None
    p.grad = torch.zeros(4, dtype=torch.float64)
    with pytest.raises((UnsupportedTensor, PlanChanged), match=r"\(group 0, index 0\)"):
        opt.step()
    assert torch.equal(p.detach().float(), before)


def test_a_shape_changed_under_the_plan():
    (p,) = some_params([(4,)])
    opt = AdamW([p])
    give_gradients([p])
    opt.step()
    p.data = torch.zeros(6)
    p.grad = torch.zeros(6)
    with pytest.raises(PlanChanged, match=r"state 'exp_avg': expected shape \(6,\) on cpu, got \(4,\)"):
        opt.step()
    del opt.state[p]
    opt.step()
    assert opt.state[p]["step"].item() == 1


def test_a_named_backend_is_used_or_refused(monkeypatch):
    if not torch.cuda.is_available():
        refused(BackendUnavailable, "backend 'cuda' cannot be used: it steps CUDA tensors", backend="cuda")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    refused(BackendUnavailable, "backend 'triton' cannot be used: .*TRITON_INTERPRET=1", backend="triton")
    assert AdamW(some_params([(3,)]), backend="reference").backend == "reference"


def test_a_cuda_tensor_gets_the_recorded_reason(monkeypatch):
    """No GPU is needed: the choice is made from the device's type and from what was built."""
    monkeypatch.setattr(_native, "_import_cuda", lambda: (None, "rewarm was built without CUDA: switched off"))
    monkeypatch.setattr(_dispatch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        BackendUnavailable, match=r"cuda: rewarm was built without CUDA: switched off; triton: triton is not installed"
    ):
        _dispatch.choose("AdamW", "cuda")


@pytest.mark.parametrize("backend", ["triton", "cuda"])
def test_what_gpu_backends_leave_out_is_refused_by_name(backend, monkeypatch):
    monkeypatch.setattr(_dispatch, "choose", lambda op, device, named=None: backend)
    refused(InvalidArgument, f"amsgrad=True is stepped by the cpu and reference backends, not {backend}", amsgrad=True)
    half = torch.nn.Parameter(torch.zeros(3, dtype=torch.float16))
    half.grad = torch.zeros_like(half)
    with pytest.raises(UnsupportedTensor, match="float16 moments are stepped by the cpu and reference backends only"):
        AdamW([half]).step()
    if backend == "triton":
        refused(InvalidArgument, "stochastic_rounding=True is stepped by", stochastic_rounding=True)


def test_an_overflowing_schedule_is_refused_before_it_is_stored():
    from rewarm.schedule import constant, join

    with pytest.raises(InvalidArgument, match="64"):
        join(*[constant(1e-3 * k, 5) for k in range(1, 67)])


def test_no_warning_is_raised_by_an_ordinary_run():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (p,) = some_params([(3,)])
        opt = AdamW([p], foreach=True, fused=True, capturable=True)
        give_gradients([p])
        opt.step()
        opt.state_dict()
