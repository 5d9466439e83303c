"""What tests/frameworks/test_sharded.py runs under torchrun: many checks in one start, reported as JSON by rank 0.

Every rank trains on the same batch, so that the averaged gradient has the bits of a single process and results may be compared
bit for bit.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from rewarm.optim import AdamW
from rewarm.schedule import linear, warmup_cosine, wsd

STEPS = 6
SCHEDULE = warmup_cosine(3e-2, 1e-3, 2, 8)
CLIP = 0.05


class Net(nn.Module):
    """On two ranks: 7 rows divide unevenly, and the single output row leaves the second rank nothing."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 7)
        self.second = nn.Linear(7, 1)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))


def net():
    torch.manual_seed(7)
    return Net()


def loss_of(model, k):
    generator = torch.Generator().manual_seed(100 + k)
    x, y = torch.randn(16, 8, generator=generator), torch.randn(16, 1, generator=generator)
    return (model(x) - y).square().mean()


def make(model, **kwargs):
    """Two groups: one of weights with a decay of its own, one of biases."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": weights, "weight_decay": linear(0.1, 0.0, 10)}, {"params": biases, "weight_decay": 0.0}]
    return AdamW(groups, **{"lr": SCHEDULE, **kwargs})


def train(model, opt, span=range(STEPS), scaler=None):
    """The norm and the applied rates of every step."""
    told = []
    for k in span:
        loss = loss_of(model, k)
        if scaler is None:
            loss.backward()
            opt.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(opt)
            scaler.update()
        opt.zero_grad()
        norm = opt.grad_norm
        told.append({"lr": opt.last_lr.tolist(), "norm": None if norm is None else norm.item()})
    return told


def whole(tensor):
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor.detach().clone()


def snapshot(model, opt):
    """Parameters and moments, gathered, by name."""
    found = {}
    for name, p in model.named_parameters():
        found[name] = whole(p.detach())
        for key in ("exp_avg", "exp_avg_sq"):
            found[f"{name}.{key}"] = whole(opt.state[p][key])
    return found


def counters(opt):
    group = opt.state_dict()["param_groups"][0]
    return [group["updates"], group["tokens"], group["skipped_steps"]]


def everyones(value):
    gathered = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def sharded():
    from torch.distributed.fsdp import fully_shard

    model = net()
    fully_shard(model.first)
    fully_shard(model)
    return model


def check_fsdp(out, report):
    for name, clip in (("free", None), ("clipped", CLIP)):
        for backend in ("cpu", "reference"):
            model = sharded()
            opt = make(model, max_grad_norm=clip, backend=backend)
            told = train(model, opt)
            report[f"{name} {backend}"] = everyones({"told": told, "counters": counters(opt)})
            torch.save(snapshot(model, opt), out / f"{name} {backend}.pt")
            placed = all(
                opt.state[p][k].placements == p.placements for p in model.parameters() for k in ("exp_avg", "exp_avg_sq")
            )
            report[f"{name} {backend} placed"] = everyones(placed)
            report["local sizes"] = everyones([p.to_local().numel() for p in model.parameters()])
    # One more step, in which a single rank has a gradient that is not finite: nobody may step.
    before = snapshot(model, opt)
    loss_of(model, STEPS).backward()
    if dist.get_rank() == 1:
        model.first.weight.grad.to_local()[0, 0] = float("inf")
    opt.step()
    after = snapshot(model, opt)
    report["skipped"] = everyones({"counters": counters(opt), "same": all(torch.equal(before[k], after[k]) for k in before)})
    opt.zero_grad()
    loss_of(model, STEPS).backward()
    theirs = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]).full_tensor().item()
    opt.step()
    report["norms"] = [opt.grad_norm.item(), theirs]


def check_refusals(report):
    model = sharded()
    loss_of(model, 0).backward()
    for name, kwargs in (("rounding", {"stochastic_rounding": True}),):
        try:
            make(model, **kwargs).step()
            report[name] = "stepped"
        except TypeError as error:
            report[name] = str(error)


def check_ddp(out, report):
    model = net()
    wrapped = nn.parallel.DistributedDataParallel(model)
    opt = make(model, max_grad_norm=CLIP)
    report["ddp"] = everyones({"told": train(wrapped, opt), "counters": counters(opt)})
    torch.save(snapshot(model, opt), out / "ddp.pt")


def check_scaler(out, report):
    model = sharded()
    opt = make(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1000)
    told = train(model, opt, scaler=scaler)
    torch.save(snapshot(model, opt), out / "scaler.pt")
    scaler.scale(loss_of(model, 0)).backward()
    if dist.get_rank() == 1:
        model.first.weight.grad.to_local()[0, 0] = float("inf")
    scaler.step(opt)
    scaler.update()
    report["scaler"] = everyones({"told": told, "counters": counters(opt), "scale": scaler.get_scale()})


def check_accelerate(report):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    found = {}
    for name in ("ours", "lambda"):
        model = net()
        opt = make(model, max_grad_norm=CLIP) if name == "ours" else torch.optim.AdamW(model.parameters(), lr=1.0)
        scheduler = opt.as_lr_scheduler() if name == "ours" else torch.optim.lr_scheduler.LambdaLR(opt, lambda k: SCHEDULE(k))
        model, opt, scheduler = accelerator.prepare(model, opt, scheduler)
        rates = []
        for k in range(8):
            with accelerator.accumulate(model):
                accelerator.backward(loss_of(model, k))
                applied = opt.param_groups[0]["lr"]
                opt.step()
                scheduler.step()
                opt.zero_grad()
                if accelerator.sync_gradients:
                    rates.append(scheduler.get_last_lr()[0] if name == "ours" else applied)
        found[name] = rates
    found["processes"] = accelerator.num_processes
    # accelerate's own clip in place of ours.
    ends = []
    for clip in (None, CLIP):
        model = net()
        model, opt = accelerator.prepare(model, make(model, max_grad_norm=clip))
        for k in range(STEPS):
            accelerator.backward(loss_of(model, k))
            if clip is None:
                accelerator.clip_grad_norm_(model.parameters(), CLIP)
            opt.step()
            opt.zero_grad()
        ends.append([p.detach().clone() for p in model.parameters()])
    found["clip difference"] = max((a - b).abs().max().item() for a, b in zip(*ends, strict=True))
    report["accelerate"] = everyones(found)


def save_or_load(path, model, opt, *, load):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

    weights, state = get_state_dict(model, opt)
    content = {"model": weights, "optimizer": state}
    if not load:
        dcp.save(content, checkpoint_id=path)
        return
    dcp.load(content, checkpoint_id=path)
    set_state_dict(model, opt, model_state_dict=content["model"], optim_state_dict=content["optimizer"])


#: Another number of segments than the schedule that a loading optimizer is made with.
SAVED = wsd(2e-2, 1e-3, 2, 3, 4)
TOKENS = linear(1e-2, 0.0, 100, units="tokens")


def fresh(load_from=None):
    """A sharded model and an optimizer, made with another schedule when a checkpoint brings its own."""
    model = sharded()
    if load_from is None:
        return model, make(model, lr=SAVED)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    opt = make(model, lr=linear(1.0, 0.5, 3))
    save_or_load(load_from, model, opt, load=True)
    return model, opt


def check_checkpoints(out, report):
    model, opt = fresh()
    train(model, opt, range(3))
    save_or_load(out / "two", model, opt, load=False)
    report["uninterrupted"] = train(model, opt, range(3, 8))
    torch.save(snapshot(model, opt), out / "uninterrupted.pt")
    # Creating state for a schedule in tokens: torch steps without any.
    model = sharded()
    opt = make(model, lr=TOKENS)
    save_or_load(out / "tokens", model, opt, load=False)
    report["tokens"] = [counters(opt), opt.param_groups[0]["lr"]]


def first(out):
    report = {}
    check_accelerate(report)  # makes the process group
    check_fsdp(out, report)
    check_refusals(report)
    check_ddp(out, report)
    check_scaler(out, report)
    check_checkpoints(out, report)
    return report


def second(out):
    dist.init_process_group("gloo")
    model, opt = fresh(out / "one")
    told = train(model, opt, range(6, 8))
    torch.save(snapshot(model, opt), out / "resumed.pt")
    return {"told": everyones(told), "counters": everyones(counters(opt))}


def main():
    out, part = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    report = {"first": first, "second": second}[part](out)
    if dist.get_rank() == 0:
        (out / f"{part}.json").write_text(json.dumps(report))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ.setdefault("TRITON_INTERPRET", "1")
    main()
