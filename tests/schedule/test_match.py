"""`presets.match` against every framework's formula at all updates in [0, 1.2 T], and against the libraries themselves."""

import json
import math
import sys

import numpy as np
import pytest
from match_formulas import FORMULAS

from rewarm.errors import InvalidArgument
from rewarm.schedule import Schedule, join, linear, presets, warmup_cosine
from rewarm.schedule.match import WITHOUT_MINIMUM, edges

P, M = 3e-4, 3e-5
ALL = [(framework, kind) for framework, kinds in presets.FRAMEWORKS.items() for kind in kinds]
NEEDS_WARMUP = {("olmo-core", "inverse_sqrt"), ("lingua", "inverse_sqrt"), ("nanotron", "one_minus_sqrt")}
# W and T: B.9's small case, no warm-up, a warm-up of one, numbers that divide nothing, and a common ratio.
LENGTHS = [(3, 10), (0, 10), (1, 7), (17, 101), (40, 1000)]


def tolerance(warmup, total):
    """Both sides round about ten times at the size of P; a cosine that nobody stops takes an argument of pi times its turns.

    16 roundings, and 4 for every turn up to 1.2 T, times the unit roundoff of float64 times P.
    """
    turns = (1.2 * total - warmup) / max(1, total - warmup)
    return (16 + 4 * math.ceil(turns)) * sys.float_info.epsilon * P


def asked(framework, kind, warmup, total):
    """The arguments of `match` and of the formula for one case."""
    low = 0.0 if (framework, kind) in WITHOUT_MINIMUM else M
    ours, theirs = {}, {}
    if kind == "wsd" and framework == "lingua":
        ours = theirs = {"decay_frac": 0.15}
    elif kind == "wsd":
        steps = max(1, (total - warmup) // 3)
        ours, theirs = {"decay_steps": steps}, {"D": steps}
    elif kind == "cosine_with_restarts":
        n = next(n for n in (3, 7, 5, 2) if (total - warmup) % n == 0)
        ours = theirs = {"num_cycles": n}
    elif kind == "polynomial":
        ours = theirs = {"power": 1.7}
    elif kind == "exponential" and framework == "optax":
        ours = theirs = {"transition_steps": 7, "decay_rate": 0.9}
    return low, ours, theirs


def compare(schedule, theirs, warmup, total):
    """All updates in [0, 1.2 T]; a rate below 0 is 0 here."""
    ours = schedule.values(range(int(1.2 * total) + 1))
    expected = np.maximum(np.asarray(theirs, dtype=np.float64), 0.0)
    assert expected.shape == ours.shape
    worst = int(np.abs(ours - expected).argmax())
    assert abs(ours[worst] - expected[worst]) <= tolerance(warmup, total), f"update {worst}"


@pytest.mark.parametrize(("framework", "kind"), ALL)
def test_every_kind_is_its_frameworks_formula(framework, kind):
    for warmup, total in LENGTHS:
        if warmup == 0 and (framework, kind) in NEEDS_WARMUP:
            with pytest.raises(InvalidArgument, match="warmup_steps: expected a whole number >= 1"):
                presets.match(framework, kind=kind, max_lr=P, total_steps=total)
            continue
        if (framework, kind) == ("lingua", "wsd") and total < 10:
            continue  # int(7 * 0.15) is 1, and its second cycle decays over 2: covered by the others
        low, ours, theirs = asked(framework, kind, warmup, total)
        schedule = presets.match(framework, kind=kind, max_lr=P, min_lr=low, warmup_steps=warmup, total_steps=total, **ours)
        updates = range(int(1.2 * total) + 1)
        compare(schedule, [FORMULAS[framework](kind, k, P, low, warmup, total, **theirs) for k in updates], warmup, total)
        assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule


@pytest.mark.parametrize(
    ("framework", "shapes"),
    [
        ("hf", ["linear", "cosine", "1-sqrt"]),
        ("megatron", ["linear", "cosine", "exponential", "minus_sqrt"]),
        ("torchtitan", ["linear", "cosine", "sqrt"]),
        ("nanotron", ["linear", "cosine", "1-sqrt"]),
    ],
)
@pytest.mark.parametrize("low", [0.0, M, P])
def test_every_shape_of_wsd_under_the_frameworks_own_name(framework, shapes, low):
    ours = {"1-sqrt": "one_minus_sqrt", "sqrt": "one_minus_sqrt", "minus_sqrt": "one_minus_sqrt", "exponential": "halving"}
    for shape in shapes:
        schedule = presets.match(
            framework, kind="wsd", max_lr=P, min_lr=low, warmup_steps=17, total_steps=101, decay_steps=23, shape=shape
        )
        name = ours.get(shape, shape)
        compare(schedule, [FORMULAS[framework]("wsd", k, P, low, 17, 101, 23, name) for k in range(122)], 17, 101)


# P = 1, m = 0.1, W = 3, T = 10: the first eleven updates as they were found in the frameworks' sources.
FALL = [0.955, 0.831, 0.650, 0.450, 0.269, 0.145, 0.100]
ROWS = {
    ("hf", "cosine_with_min_lr"): [0.0, 0.333, 0.667, 1.0, *FALL, 0.145, 0.269],
    ("hf", "cosine_warmup_with_min_lr"): [0.333, 0.667, 1.0, *FALL, 0.145, 0.269, 0.450],
    ("neox", "cosine"): [0.333, 0.333, 0.667, 1.0, *FALL, 0.145, 0.269],
    ("megatron", "cosine"): [0.0, 0.333, 0.667, 1.0, *FALL, 0.1, 0.1],
    ("torchtitan", "cosine"): [0.333, 0.667, 1.0, 1.0, *FALL, 0.145, 0.269],
    ("litgpt", "cosine"): [0.0, 0.333, 0.667, 1.0, *FALL, 0.1, 0.1],
    ("nanotron", "cosine"): [0.0, 0.333, 0.667, 1.0, *FALL, 0.1, 0.1],
    ("optax", "cosine"): [0.0, 0.333, 0.667, 1.0, *FALL, 0.1, 0.1],
    ("olmo-core", "cosine"): [0.333, 0.667, 1.0, *FALL, 0.1, 0.1, 0.1],
    ("timm", "cosine"): [0.0, 0.333, 0.667, 0.815, 0.689, 0.550, 0.411, 0.285, 0.186, 0.122, 0.1, 0.1, 0.1],
}


@pytest.mark.parametrize(("framework", "kind"), ROWS)
def test_the_rows_of_the_off_by_one_table(framework, kind):
    schedule = presets.match(framework, kind=kind, max_lr=1.0, min_lr=0.1, warmup_steps=3, total_steps=10)
    assert schedule.values(range(13)).round(3).tolist() == ROWS[framework, kind]


def test_lingua_looks_at_the_next_cycle_at_the_total():
    schedule = presets.match("lingua", kind="cosine", max_lr=1.0, min_lr=0.1, warmup_steps=3, total_steps=10)
    assert schedule.values(range(9, 13)).round(3).tolist() == [0.145, 1.0, 0.1, 0.1]


HF = [kind for framework, kind in ALL if framework == "hf"]


@pytest.mark.parametrize("kind", HF)
def test_transformers_itself(kind):
    torch = pytest.importorskip("torch")
    optimization = pytest.importorskip("transformers.optimization")
    names = {"wsd": "warmup_stable_decay"}
    for warmup, total in LENGTHS:
        low, ours, theirs = asked("hf", kind, warmup, total)
        special = {"num_cycles": theirs["num_cycles"]} if kind == "cosine_with_restarts" else {}
        if kind == "wsd":
            special = {"num_decay_steps": theirs["D"], "min_lr_ratio": low / P}
        elif kind == "polynomial":
            special = {"lr_end": low, "power": theirs["power"]}
        elif "min_lr" in kind:
            special = {"min_lr": low}
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=P)
        scheduler = optimization.get_scheduler(names.get(kind, kind), optimizer, warmup, total, special)
        rates = [P * scheduler.lr_lambdas[0](k) for k in range(int(1.2 * total) + 1)]
        schedule = presets.match(
            "hf", kind=names.get(kind, kind), max_lr=P, min_lr=low, warmup_steps=warmup, total_steps=total, **ours
        )
        compare(schedule, rates, warmup, total)


@pytest.mark.parametrize("kind", list(presets.FRAMEWORKS["optax"]))
def test_optax_itself(kind):
    """optax brings jaxlib (350 MB) and is no requirement of the suite: pip install optax."""
    optax = pytest.importorskip("optax", reason="optax is not a requirement of the suite (jaxlib is 350 MB)")
    jax = pytest.importorskip("jax")
    for warmup, total in LENGTHS:
        low, ours, _ = asked("optax", kind, warmup, total)
        with jax.enable_x64(True):
            up = optax.linear_schedule(0.0, P, warmup)
            theirs = {
                "constant": lambda: optax.constant_schedule(P),
                "constant_with_warmup": lambda: optax.warmup_constant_schedule(0.0, P, warmup),  # noqa: B023
                "linear": lambda: optax.join_schedules([up, optax.linear_schedule(P, low, total - warmup)], [warmup]),  # noqa: B023
                "cosine": lambda: optax.warmup_cosine_decay_schedule(0.0, P, warmup, total, low),  # noqa: B023
                "polynomial": lambda: optax.join_schedules(
                    [up, optax.polynomial_schedule(P, low, 1.7, total - warmup)],  # noqa: B023
                    [warmup],  # noqa: B023
                ),
                "exponential": lambda: optax.warmup_exponential_decay_schedule(
                    0.0,
                    P,
                    warmup,  # noqa: B023
                    7,
                    0.9,
                    end_value=low,  # noqa: B023
                ),
            }[kind]()
            updates = jax.numpy.arange(int(1.2 * total) + 1)
            rates = np.broadcast_to(np.asarray(theirs(updates)), updates.shape)
        if kind == "constant_with_warmup" and warmup == 0:
            # A polynomial of no length is its initial value for ever: optax stays at 0 here, and no run wants that.
            assert rates.max() == 0.0
            continue
        compare(
            presets.match("optax", kind=kind, max_lr=P, min_lr=low, warmup_steps=warmup, total_steps=total, **ours),
            rates,
            warmup,
            total,
        )


@pytest.mark.parametrize("kind", list(presets.FRAMEWORKS["timm"]))
def test_timm_itself(kind):
    """timm brings a torchvision that fits one torch only and is no requirement of the suite: pip install timm."""
    scheduler = pytest.importorskip("timm.scheduler", reason="timm is not a requirement of the suite (it brings torchvision)")
    torch = pytest.importorskip("torch")
    for warmup, total in LENGTHS:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=P)
        made = {"cosine": scheduler.CosineLRScheduler, "polynomial": scheduler.PolyLRScheduler}[kind]
        theirs = made(optimizer, t_initial=total, lr_min=M, warmup_t=warmup, t_in_epochs=False)
        rates = []
        for k in range(int(1.2 * total) + 1):
            theirs.step_update(k)
            rates.append(optimizer.param_groups[0]["lr"])
        compare(
            presets.match("timm", kind=kind, max_lr=P, min_lr=M, warmup_steps=warmup, total_steps=total), rates, warmup, total
        )


def test_litgpt_itself():
    """litgpt brings lightning and is no requirement of the suite: pip install litgpt."""
    pretrain = pytest.importorskip("litgpt.pretrain", reason="litgpt is not a requirement of the suite")
    for warmup, total in LENGTHS:
        rates = [pretrain.get_lr(P, k, warmup, total, M) for k in range(int(1.2 * total) + 1)]
        compare(
            presets.match("litgpt", kind="cosine", max_lr=P, min_lr=M, warmup_steps=warmup, total_steps=total),
            rates,
            warmup,
            total,
        )


@pytest.mark.parametrize("kind", list(presets.FRAMEWORKS["torchtitan"]))
def test_torchtitan_itself(kind):
    """torchtitan brings wandb, datasets and more and is no requirement of the suite: pip install torchtitan."""
    titan = pytest.importorskip(
        "torchtitan.components.optimizer.lr_scheduler", reason="torchtitan is not a requirement of the suite"
    )
    torch = pytest.importorskip("torch")
    for warmup, total in LENGTHS:
        low, ours, theirs = asked("torchtitan", kind, warmup, total)
        ratio = theirs["D"] / total if kind == "wsd" else None
        shape = {"wsd": "linear", "one_minus_sqrt": "sqrt"}.get(kind, kind)
        config = titan.LRSchedulersContainer.Config(
            warmup_steps=warmup, decay_ratio=ratio, decay_type=shape, min_lr_factor=low / P
        )
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=P)
        container = config.build(optimizers=[optimizer], training_steps=total)
        rates = [P * container.schedulers[0].lr_lambdas[0](k) for k in range(int(1.2 * total) + 1)]
        schedule = presets.match("torchtitan", kind=kind, max_lr=P, min_lr=low, warmup_steps=warmup, total_steps=total, **ours)
        compare(schedule, rates, warmup, total)


def test_some_are_schedules_that_have_names_here():
    ours = {"max_lr": P, "min_lr": M, "warmup_steps": 3, "total_steps": 10}
    assert presets.match("megatron", kind="cosine", **ours) == warmup_cosine(P, M, 3, 7)
    assert presets.match("neox-2023", kind="cosine", **ours | {"min_lr": 0.1 * P}) == presets.gupta2023(
        P, 10, 0.3, units="steps"
    )
    assert presets.match("hf", kind="linear", max_lr=P, warmup_steps=3, total_steps=10) == join(
        linear(0, P, 3), linear(P, 0, 7)
    )
    tokens = presets.match("litgpt", kind="cosine", max_lr=P, min_lr=M, warmup_steps=15e10, total_steps=15e12, units="tokens")
    assert (tokens.units, tokens.length, tokens(15 * 10**10)) == ("tokens", 15 * 10**12, P)


def test_a_cosine_that_rises_says_where_it_turns():
    lines = str(repr(presets.match("hf", kind="cosine", max_lr=1.0, warmup_steps=10, total_steps=100))).splitlines()
    assert lines[2:4] == ["  [10, 100)  cosine  1 -> 0", "  [100, 190)  cosine  0 -> 1"]


def test_edges_cover_every_kind():
    rows = edges()
    assert [(row.framework, row.kind) for row in rows] == ALL
    titan = next(row for row in rows if (row.framework, row.kind) == ("torchtitan", "cosine"))
    assert (titan.first, titan.peak_at) == (0.1, (9, 10))
    assert titan.after > titan.total


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"framework": "keras"}, "match: framework: expected one of hf, megatron, neox, .*, timm, got 'keras'"),
        (
            {"kind": "spline"},
            "match: megatron: kind: expected one of constant, linear, cosine, inverse_sqrt, wsd, got 'spline'",
        ),
        ({"total_steps": None}, "match: megatron cosine: total_steps: expected a whole number, got None"),
        ({"total_steps": 9}, r"total_steps: expected at least max\(1, warmup_steps = 10\), got 9"),
        ({"total_steps": -5}, "total_steps: expected a whole number"),
        ({"warmup_steps": -1}, "warmup_steps: expected a whole number"),
        ({"max_lr": math.nan}, "max_lr: expected a finite number >= 0, got nan"),
        ({"min_lr": 2.0}, r"min_lr: expected a number in \[0, max_lr=1\], got 2"),
        ({"units": "samples"}, "expected units 'steps' or 'tokens', got 'samples'"),
        ({"power": 2.0}, "match: megatron cosine: takes no power; its options: none"),
        ({"kind": "wsd", "power": 2.0}, "takes no power; its options: decay_steps, decay_frac, shape"),
        ({"kind": "wsd", "decay_steps": 91}, r"decay_steps: expected a whole number in \[1, 90\]"),
        ({"kind": "wsd", "shape": "spline"}, "shape: expected one of halving, linear, cosine, one_minus_sqrt, got 'spline'"),
        ({"framework": "hf", "min_lr": 0.1}, "match: hf cosine: min_lr: expected 0, this kind has none here, got 0.1"),
        (
            {"framework": "hf", "warmup_steps": 999, "total_steps": 1000},
            "this cosine goes on after its end .* would turn .* 64 segments",
        ),
        (
            {"framework": "hf", "kind": "cosine_with_restarts", "num_cycles": 7},
            "num_cycles: expected a divisor of .* = 90, got 7",
        ),
        ({"framework": "hf", "kind": "inverse_sqrt", "timescale": 0}, "timescale: expected a whole number >= 1"),
        ({"framework": "hf", "kind": "polynomial", "min_lr": 1.0}, "min_lr: expected less than max_lr = 1, got 1"),
        ({"framework": "neox-2023", "warmup_steps": 50}, "warmup_steps: expected less than half of total_steps = 100, got 50"),
        ({"framework": "optax", "kind": "exponential"}, "expected transition_steps and decay_rate, got None and None"),
        ({"framework": "lingua", "kind": "wsd"}, r"min_lr: expected a number > 0 \(lingua divides by it\), got 0"),
        ({"framework": "lingua", "kind": "wsd", "min_lr": 0.1, "decay_frac": 0.5}, "decay_frac: expected less than 0.5"),
    ],
)
def test_arguments_are_checked(change, message):
    arguments = {"framework": "megatron", "kind": "cosine", "max_lr": 1.0, "warmup_steps": 10, "total_steps": 100} | change
    with pytest.raises(InvalidArgument, match=message):
        presets.match(arguments.pop("framework"), **arguments)
