"""DDP, FSDP2, GradScaler, accelerate and distributed checkpoints on two processes, against the same training in one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from sharded_worker import CLIP, SAVED, SCHEDULE, STEPS, counters, fresh, make, net, save_or_load, snapshot, train

from tolerance import ROUNDOFF

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this torch was built without torch.distributed")

WORKER = Path(__file__).with_name("sharded_worker.py")


def torchrun(out, part):
    """Two processes over the loopback; the launcher itself finds a free port."""
    launch = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, *launch, "--local-addr=127.0.0.1", str(WORKER), str(out), part],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return json.loads((out / f"{part}.json").read_text())


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def two(out):
    """What two processes reported."""
    return torchrun(out, "first")


@pytest.fixture(scope="module")
def one():
    """The same training in this process: told, counters and tensors by max_grad_norm."""
    found = {}
    for clip in (None, CLIP):
        torch.manual_seed(0)
        torch.set_num_threads(1)
        model = net()
        opt = make(model, max_grad_norm=clip)
        found[clip] = (train(model, opt), counters(opt), snapshot(model, opt))
    return found


def check_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), (name, (ours[name] - theirs[name]).abs().max())


def norms(told):
    return [step["norm"] for step in told]


def rates(told):
    return [step["lr"] for step in told]


def test_the_shards_are_uneven_and_one_is_empty(two):
    first, second = two["local sizes"]
    assert first == [4 * 8, 4, 7, 1]
    assert second == [3 * 8, 3, 0, 0]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_fsdp_steps_as_one_process_bit_for_bit(two, one, out, backend):
    told, counted, tensors = one[None]
    for rank in two[f"free {backend}"]:
        assert rates(rank["told"]) == rates(told)
        assert rank["counters"] == counted == [STEPS, 0, 0]
    assert two[f"free {backend} placed"] == [True, True]
    if backend == "cpu":
        check_same(torch.load(out / "free cpu.pt"), tensors)


def test_the_two_backends_agree_on_shards(two, out):
    ours, theirs = torch.load(out / "clipped cpu.pt"), torch.load(out / "clipped reference.pt")
    for name, value in ours.items():
        # STEPS updates, each with at most 16 roundings of float32 in values below 1.
        assert (value - theirs[name]).abs().max() <= 16 * STEPS * ROUNDOFF[torch.float32] * max(1.0, value.abs().max()), name


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_the_norm_is_that_of_all_shards_and_the_same_on_all_ranks(two, one, out, backend):
    told, counted, tensors = one[CLIP]
    first, second = two[f"clipped {backend}"]
    assert first["told"] == second["told"]
    assert first["counters"] == second["counters"] == counted
    assert rates(first["told"]) == rates(told)
    # All terms are positive and 72 in number: each order of adding them is within that many roundings.
    bound = 72 * ROUNDOFF[torch.float64]
    # With the reference backend later gradients are those of slightly different parameters.
    span = STEPS if backend == "cpu" else 1
    for ours, theirs in zip(norms(first["told"])[:span], norms(told)[:span], strict=True):
        assert abs(ours - theirs) <= bound * theirs
    if backend == "cpu":
        assert min(norms(told)) > CLIP, "every update is clipped"
        # The coefficient is folded to float32, so that the last bit of a float64 norm reaches no element here.
        check_same(torch.load(out / "clipped cpu.pt"), tensors)


def test_the_norm_agrees_with_torchs(two):
    ours, theirs = two["norms"]
    assert abs(ours - theirs) <= 72 * ROUNDOFF[torch.float32] * theirs  # torch adds in float32


def test_a_gradient_that_is_not_finite_on_one_rank_skips_the_update_on_all(two):
    assert two["skipped"] == [{"counters": [STEPS, 0, 1], "same": True}] * 2


def test_rounding_that_would_depend_on_the_sharding_is_refused(two):
    assert "takes plain tensors only" in two["rounding"]


def test_ddp_steps_as_one_process_bit_for_bit(two, one, out):
    told, counted, tensors = one[CLIP]
    for rank in two["ddp"]:
        assert rank["told"] == told
        assert rank["counters"] == counted
    check_same(torch.load(out / "ddp.pt"), tensors)


def test_grad_scaler_with_shards(two, one, out):
    told, _, tensors = one[None]
    first, second = two["scaler"]
    assert first == second
    assert rates(first["told"]) == rates(told)
    assert first["counters"] == [STEPS, 0, 1]
    assert first["scale"] == 512.0, "an overflow on one rank halves the scale on all"
    # A scale of 2**10 moves exponents only.
    check_same(torch.load(out / "scaler.pt"), tensors)


def test_accelerate_does_not_step_the_schedule_once_a_process(two):
    first, second = two["accelerate"]
    assert first == second
    assert first["processes"] == 2
    assert first["ours"] == [SCHEDULE(k) for k in range(4)]
    assert first["lambda"] == [SCHEDULE(2 * k) for k in range(4)], "what happens to a scheduler of torch"


def test_accelerates_own_clip_is_an_alternative(two):
    # clip_grad_norm_ rounds the clipped gradients once more, and torch's norm is float32.
    assert two["accelerate"][0]["clip difference"] <= 64 * STEPS * 3e-2 * ROUNDOFF[torch.float32] / CLIP


def test_checkpoints_survive_a_change_of_world_size_and_back(two, out):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        torch.set_num_threads(1)
        model, opt = fresh(out / "two")
        assert opt.schedules[0]["lr"] == SAVED
        assert counters(opt) == [3, 0, 0]
        assert rates(train(model, opt, range(3, 6))) == rates(two["uninterrupted"])[:3]
        save_or_load(out / "one", model, opt, load=False)
    finally:
        dist.destroy_process_group()
    resumed = torchrun(out, "second")
    assert resumed["counters"] == [[8, 0, 0]] * 2
    for rank in resumed["told"]:
        assert rank == two["uninterrupted"][3:]
    check_same(torch.load(out / "resumed.pt"), torch.load(out / "uninterrupted.pt"))


def test_state_is_created_for_a_schedule_in_tokens_too(two):
    assert two["tokens"] == [[0, 0, 0], 1e-2]
