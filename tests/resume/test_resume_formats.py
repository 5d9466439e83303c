"""Checkpoints of others. Fixtures are made by hand after the documented layouts, the moments in them by torch's own AdamW."""

from __future__ import annotations

import json

import pytest
import torch

import rewarm
from rewarm.errors import InvalidArgument, StateDictMismatch
from rewarm.optim import AdamW
from rewarm.schedule import warmup_cosine

SCHEDULE = warmup_cosine(1e-2, 1e-3, 4, 30)


def model_of(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.Linear(7, 3))


def groups_of(model):
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    return [{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}]


def step(model, opt, k):
    opt.zero_grad()
    model(torch.randn(8, 5, generator=torch.Generator().manual_seed(k))).square().mean().backward()
    opt.step()


@pytest.fixture
def run():
    """A model after six updates of torch.optim.AdamW, and that optimizer."""
    model = model_of(0)
    opt = torch.optim.AdamW(groups_of(model), lr=3e-3)
    for k in range(6):
        step(model, opt, k)
    return model, opt


def target(seed=5):
    model = model_of(seed)
    return model, AdamW(groups_of(model), lr=SCHEDULE)


def check(model, opt, run, updates=6):
    """Weights, moments and t arrived, and the configured schedule goes on where the run stood."""
    for p, q in zip(model.parameters(), run[0].parameters(), strict=True):
        assert torch.equal(p, q)
        for key in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(opt.state[p][key], run[1].state[q][key]), key
    step(model, opt, 6)
    assert opt.last_lr.tolist() == [SCHEDULE(updates)] * 2


def names(model):
    return {id(p): name for name, p in model.named_parameters()}


def by_name(run, prefix=""):
    model, opt = run
    known = names(model)
    return {
        "state": {prefix + known[id(p)]: dict(s) for p, s in opt.state.items()},
        "param_groups": [
            {**{k: v for k, v in g.items() if k != "params"}, "params": [prefix + known[id(p)] for p in g["params"]]}
            for g in opt.param_groups
        ],
    }


@pytest.mark.parametrize("key", ["optimizer", "optimizer_state_dict"])
def test_torch(run, key, tmp_path):
    torch.save({"model_state_dict": run[0].state_dict(), key: run[1].state_dict(), "epoch": 1}, tmp_path / "x.pt")
    model, opt = target()
    report = rewarm.load(tmp_path / "x.pt", model, opt, policy="resume")
    assert report.format == "torch AdamW"
    check(model, opt, run)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_full_state_dict_by_name_as_fsdp_gathers_it(run, prefix, tmp_path):
    """The order of names and groups of a gathered state dict is not ours."""
    data = by_name(run, prefix)
    data["param_groups"].reverse()
    data["state"] = dict(reversed(data["state"].items()))
    weights = {prefix + k: v for k, v in run[0].state_dict().items()}
    model, opt = target()
    report = rewarm.load({"model": weights, "optim": data}, model, opt, policy="resume")
    assert report.format == "torch AdamW, by parameter name"
    check(model, opt, run)


def test_flattened_state_dict_of_distributed_checkpoint(run):
    data = by_name(run)
    flat = {f"state.{name}.{key}": value for name, s in data["state"].items() for key, value in s.items()}
    for group in data["param_groups"]:
        flat |= {f"param_groups.{name}.{k}": v for name in group["params"] for k, v in group.items() if k != "params"}
    model, opt = target()
    report = rewarm.load({"model": run[0].state_dict(), "optimizer": flat}, model, opt, policy="resume")
    assert report.format.endswith("flattened")
    check(model, opt, run)


def test_names_that_only_one_side_has(run):
    data = by_name(run)
    data["state"]["2.weight"] = data["state"].pop("1.weight")
    data["param_groups"][0]["params"][1] = "2.weight"
    with pytest.raises(StateDictMismatch, match=r"missing in it: '1.weight'; not in this model: '2.weight'"):
        rewarm.load(data, *target(), policy="resume")
    with pytest.raises(StateDictMismatch, match="4 parameters of the optimizer have none: pass the model"):
        rewarm.load(by_name(run), None, target()[1], policy="resume")


def hf_folder(run, path, weights="model.safetensors"):
    """Layout after the transformers documentation: Trainer, checkpoints."""
    path.mkdir()
    torch.save(run[1].state_dict(), path / "optimizer.pt")
    torch.save({"base_lrs": [3e-3, 3e-3], "last_epoch": 6, "_step_count": 7, "lr_lambdas": [None, None]}, path / "scheduler.pt")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": 6, "epoch": 0.5, "train_batch_size": 8}))
    if weights == "model.safetensors":
        from safetensors.torch import save_file

        save_file(run[0].state_dict(), path / weights)
    else:
        torch.save(run[0].state_dict(), path / weights)
    return path


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_hf_trainer_folder(run, weights, tmp_path):
    folder = hf_folder(run, tmp_path / "checkpoint-6", weights)
    with pytest.raises(InvalidArgument, match="carries no schedule as data"):
        rewarm.load(folder, *target())
    model, opt = target()
    report = rewarm.load(folder, model, opt, policy="resume")
    assert report.format == "HF Trainer (torch AdamW)"
    check(model, opt, run)


def test_hf_trainer_optimizer_file_alone_leaves_the_weights(run, tmp_path):
    folder = hf_folder(run, tmp_path / "checkpoint-6")
    model, opt = target()
    before = [p.detach().clone() for p in model.parameters()]
    assert rewarm.load(folder / "optimizer.pt", model, opt, policy="rewarm").updates == 6
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    step(model, opt, 6)
    assert opt.last_lr.tolist() == [SCHEDULE(0)] * 2


def test_truncated_safetensors_and_broken_trainer_state(run, tmp_path):
    folder = hf_folder(run, tmp_path / "checkpoint-6")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-10])
    with pytest.raises(StateDictMismatch, match=r"model.safetensors: truncated or not safetensors"):
        rewarm.load(folder, *target(), policy="resume")
    (folder / "trainer_state.json").write_text("{}")
    with pytest.raises(StateDictMismatch, match=r"trainer_state.json: expected JSON with 'global_step'"):
        rewarm.load(folder, *target(), policy="resume")


def test_folders_of_other_kinds(tmp_path):
    with pytest.raises(InvalidArgument, match=r"expected an HF Trainer folder with optimizer\.pt, got an empty folder"):
        rewarm.load(tmp_path, *target())
    (tmp_path / ".metadata").write_bytes(b"")
    with pytest.raises(InvalidArgument, match="its index is a pickle"):
        rewarm.load(tmp_path, *target())


def test_lightning(run, tmp_path):
    """Layout after the Lightning documentation, "Contents of a checkpoint"; the module holds the network as `model`."""
    data = {
        "epoch": 0,
        "global_step": 6,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{k}": v for k, v in run[0].state_dict().items()},
        "loops": {"fit_loop": {"epoch_loop.state_dict": {"_batches_that_stepped": 6}}},
        "callbacks": {},
        "optimizer_states": [run[1].state_dict()],
        "lr_schedulers": [{"last_epoch": 6}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 3e-3},
    }
    torch.save(data, tmp_path / "last.ckpt")
    model, opt = target()
    report = rewarm.load(tmp_path / "last.ckpt", model, opt, policy="resume")
    assert report.format == "Lightning 2.5.0"
    check(model, opt, run)
    data["optimizer_states"] = []
    with pytest.raises(StateDictMismatch, match="no optimizer state"):
        rewarm.load(data, *target(), policy="resume")
    model, opt = target()
    assert rewarm.load(data, model, opt, policy="weights").notes == ["saved with save_weights_only: no optimizer state"]
    data["optimizer_states"] = [run[1].state_dict()] * 2
    with pytest.raises(StateDictMismatch, match="of 2 optimizers"):
        rewarm.load(data, *target(), policy="resume")


def flat_state(run):
    """What DeepSpeed's FP16_Optimizer keeps: one flat float32 parameter a group, padded to an even length."""
    _, opt = run
    state, masters, groups = {}, [], []
    for g, group in enumerate(opt.param_groups):

        def flat(tensors):
            joined = torch.cat([t.detach().reshape(-1) for t in tensors])
            return torch.nn.functional.pad(joined, (0, joined.numel() % 2))

        params = group["params"]
        masters.append(flat(params))
        entry = {key: flat([opt.state[p][key] for p in params]) for key in ("exp_avg", "exp_avg_sq")}
        state[g] = {"step": 6, **entry}
        groups.append({**{k: v for k, v in group.items() if k != "params"}, "params": [g]})
    return {"state": state, "param_groups": groups}, masters


def test_deepspeed_with_flat_float32_groups(run, tmp_path):
    """Layout after deepspeed.runtime: engine checkpoints without ZeRO, FP16_Optimizer.state_dict()."""
    state, masters = flat_state(run)
    data = {
        "module": {k: v.half() for k, v in run[0].state_dict().items()},
        "optimizer": {
            "dynamic_loss_scale": True,
            "cur_scale": 1024.0,
            "cur_iter": 8,
            "optimizer_state_dict": state,
            "fp32_groups_flat": masters,
            "clip_grad": 1.0,
        },
        "lr_scheduler": {"last_batch_iteration": 7},
        "global_steps": 8,
        "global_samples": 64,
        "skipped_steps": 2,
        "dp_world_size": 1,
    }
    torch.save(data, tmp_path / "mp_rank_00_model_states.pt")
    model, opt = target()
    report = rewarm.load(tmp_path / "mp_rank_00_model_states.pt", model, opt, policy="resume")
    assert report.format == "DeepSpeed"
    check(model, opt, run)  # bit for bit: the float32 masters, not the half weights
    data["optimizer"]["fp32_groups_flat"] = [m[:-3] for m in masters]
    with pytest.raises(StateDictMismatch, match=r"group 0: float32 weights: expected at least 56 elements"):
        rewarm.load(data, *target(), policy="resume")


def test_a_zero_shard_is_refused_by_name():
    shard = {"optimizer_state_dict": {"zero_stage": 2, "base_optimizer_state": {}, "partition_count": 4}}
    with pytest.raises(StateDictMismatch, match="one rank's part of a DeepSpeed ZeRO optimizer"):
        rewarm.load(shard, *target(), policy="resume")


def test_apex_masters(run):
    """Layout after apex.fp16_utils.FP16_Optimizer.state_dict(): float32 copies, one a parameter."""
    inner = run[1].state_dict()
    data = {
        "loss_scaler": None,
        "dynamic_loss_scale": True,
        "overflow": False,
        "first_closure_call_made": False,
        "optimizer_state_dict": inner,
        "fp32_from_fp16": [[p.detach().clone() for p in g["params"]] for g in run[1].param_groups],
    }
    model, opt = target()
    weights = {k: v.bfloat16() for k, v in run[0].state_dict().items()}
    assert rewarm.load({"model": weights, "optimizer": data}, model, opt, policy="resume").format == "apex FP16_Optimizer"
    check(model, opt, run)


def test_tied_weights_that_were_saved_once(run):
    torch.manual_seed(3)
    model = torch.nn.ModuleDict({"embed": torch.nn.Embedding(4, 6), "head": torch.nn.Linear(6, 4, bias=False)})
    model["head"].weight = model["embed"].weight
    opt = AdamW(model.parameters(), lr=SCHEDULE)
    value = torch.randn(4, 6)
    rewarm.load({"model": {"embed.weight": value}, "optimizer": opt.state_dict()}, model, opt, policy="resume")
    assert torch.equal(model["head"].weight, value)
