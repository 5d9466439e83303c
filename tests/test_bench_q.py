"""The q workloads of ``rewarm bench``: their FLOPs, that every variant computes the same, and what is written."""

from __future__ import annotations

import json
import time

import pytest

torch = pytest.importorskip("torch")

from click.testing import CliRunner  # noqa: E402

from rewarm import cli  # noqa: E402
from rewarm.bench import q, q_equality, q_loops, q_setting, table  # noqa: E402
from rewarm.bench.q_modules import ModuleList, Vmap  # noqa: E402
from rewarm.bench.q_ours import Composition, Rewarm  # noqa: E402
from rewarm.bench.q_setting import SETS, flops  # noqa: E402
from rewarm.bench.q_stacked import Bmm, BmmSubset, Compiled, limit  # noqa: E402
from rewarm.bench.workload import LeftOut  # noqa: E402
from rewarm.errors import RewarmError  # noqa: E402

CPU = torch.device("cpu")
FEW = {"obs": 5, "act": 3, "critics": 4, "batch": 16, "utd": 2, "sampled_actions": 3}
SMALL = {
    "state": SETS["q_64x2"].small(**FEW, hidden=(24, 17), actor_hidden=(19, 8)),
    "free": SETS["q_antmaze"].small(**FEW, hidden=(16, 16, 16), actor_hidden=(12,), backup_actions=3),
    "calql": SETS["q_calql"].small(**FEW, hidden=(16, 16), actor_hidden=(12, 12), backup_actions=2),
}


@pytest.mark.parametrize(
    ("setting", "least", "every"),
    [
        (SETS["q_2x256"].small(log_std="free"), 7.187, 9.807),
        (SETS["q_antmaze"], 26.34, 63.95),
        (SETS["q_3x512"].small(log_std="free"), 54.3, 73.8),
        (SETS["q_64x2"].small(log_std="free"), 0.59, 0.82),
        (SETS["q_calql"], 25.3, 109.6),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_flops_are_those_that_were_published(setting, least, every):
    """docs: 7.2 and 9.8, 26.4 and 64.0, 54 and 74 GFLOP; Cal-QL: 25.3 where all ten critics take 110."""
    assert flops(setting) / 1e9 == pytest.approx(least, rel=5e-3)
    assert flops(setting, least=False) / 1e9 == pytest.approx(every, rel=5e-3)
    assert flops(setting.small(seeds=3)) == 3 * flops(setting)


def test_flops_count_every_product(monkeypatch):
    """The formula is what `torch.utils.flop_counter` sees of a peer that does nothing else: all critics, all of them back."""
    from torch.utils.flop_counter import FlopCounterMode

    setting = SMALL["free"]
    loop = Bmm(setting, CPU)
    loop.start(q_setting.start(setting, CPU, checked=False))
    with FlopCounterMode(display=False) as counter:
        loop.update(q_setting.rows(setting, CPU), q_setting.draw(setting, CPU))
    head = setting.batch * setting.minibatches * setting.critics * setting.hidden[0] * 2
    assert counter.get_total_flops() == pytest.approx(flops(setting, least=False), abs=2 * head * len(setting.hidden))


# ---- the same update -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case_of():
    made = {}

    def case(name, seeds):
        if (name, seeds) not in made:
            made[name, seeds] = q_equality.Case(SMALL[name].small(seeds=seeds), CPU)
        return made[name, seeds]

    return case


#: vmap is of one seed, and the compiled peer of the online update.
PEERS = [
    pytest.param(peer, name, seeds, id=f"{peer.__name__}-{name}-{seeds}")
    for peer in (Bmm, BmmSubset, Vmap, Compiled, Composition)
    for name in SMALL
    for seeds in (1, 3)
    if not (peer is Vmap and seeds > 1) and not (peer is Compiled and name == "calql")
]


@pytest.mark.parametrize(("peer", "name", "seeds"), PEERS)
def test_peers_move_as_modules_do_in_float64(case_of, peer, name, seeds, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    case = case_of(name, seeds)
    loop = peer(case.setting, CPU, torch.float64)
    case.check(loop, "fp64")
    case.check(loop, "fp64")  # started anew


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("name", list(SMALL))
def test_ours_and_a_peer_move_as_modules_do_in_float64(case_of, name, seeds):
    case = case_of(name, seeds)
    for loop in (Rewarm(case.setting, CPU, "cpu"), ModuleList(case.setting, CPU), BmmSubset(case.setting, CPU)):
        case.check(loop, "fp32")
    assert Rewarm(case.setting, CPU, "cpu").name == "rewarm cpu"


@pytest.mark.parametrize("wrong", ["lr", "gamma", "tau", "subset", "penalty", "entropy"])
def test_what_computes_something_else_is_not_timed(case_of, wrong, monkeypatch):
    case = case_of("calql" if wrong == "penalty" else "state", 1)
    # In float32 the median critic tells; a penalty moves only those that were drawn, and is told in float64.
    dtype, precision = (torch.float64, "fp64") if wrong == "penalty" else (torch.float32, "fp32")
    loop = BmmSubset(case.setting, CPU, dtype)
    if wrong == "lr":
        start = loop.start
        monkeypatch.setattr(loop, "start", lambda at: start(q_setting.replace(at, lr=(1.003 * at.lr[0], *at.lr[1:]))))
    elif wrong in ("gamma", "tau"):
        loop.setting = loop.setting.small(**{wrong: 1.01 * getattr(loop.setting, wrong)})
    elif wrong == "subset":
        monkeypatch.setattr(loop, "drawn", lambda x, index, target: loop.q(x, target=target, index=index[:, :1]))
    elif wrong == "penalty":
        loop.setting = loop.setting.small(cql_weight=5.0 + 1e-8)
    else:
        squashed = q_loops.squashed
        monkeypatch.setattr(q_loops, "squashed", lambda *a: (squashed(*a)[0], squashed(*a)[1] + 0.01))
    with pytest.raises(RewarmError, match=rf"torch bmm, subset, {precision}, against float64: expected it to move"):
        case.check(loop, precision)


def test_nan_is_not_timed(case_of):
    case = case_of("state", 1)
    loop = BmmSubset(case.setting, CPU)
    update = loop.update
    loop.update = lambda rows, draws: update(q_setting.replace(rows, reward=rows.reward * float("nan")), draws)
    with pytest.raises(RewarmError, match="not finite"):
        case.check(loop, "fp32")


@pytest.mark.parametrize("precision", ["fp64", "fp32", "tf32"])
def test_bounds_of_the_sets_still_tell_mistakes_from_rounding(precision):
    """Another loss is past every bound, and a thousandth too much past the median critic's, but in TF32."""
    for setting in SETS.values():
        assert q_equality.rounding_bound(setting, precision) < (0.5 if precision == "tf32" else 1e-3)
        for network in ("critic", "actor"):
            assert q_equality.kink_bound(setting, network, precision) < {"fp64": 1e-300, "fp32": 0.1, "tf32": 0.5}[precision]


def test_draws_fit_rewarm_s(case_of):
    setting = SMALL["calql"].small(seeds=2)
    draws = q_setting.draw(setting, CPU)
    assert float(draws.uniform.min()) >= -1 and float(draws.uniform.max()) < 1
    for subset in (draws.target_subset, draws.cql_subset):
        assert all(len(set(one)) == setting.subset for one in subset.flatten(0, -2).tolist())


def test_compiling_is_given_up(monkeypatch):
    with pytest.raises(TimeoutError, match="not done within"), limit(0.05):
        time.sleep(5)
    with limit(60):
        pass
    time.sleep(0.1)

    def slow(function, **options):
        def never(*arguments):
            raise RuntimeError("no compiler\nand a long story")

        return never

    monkeypatch.setattr(torch, "compile", slow)
    setting = SMALL["state"]
    with pytest.raises(LeftOut, match=r"torch\.compile: RuntimeError: no compiler$"):
        q_equality.Case(setting, CPU).finish(Compiled(setting, CPU))
    said = []
    work = q.QWorkload(setting, "fp32", CPU)
    kept = work.check([Compiled(setting, CPU), BmmSubset(setting, CPU)], said.append)
    assert [loop.name for loop in kept] == ["torch bmm, subset"]
    assert said == ["q_64x2 fp32: torch compile, subset: left out: torch.compile: RuntimeError: no compiler"]


# ---- the command line -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A report of a real, small run: 1 and 2 seeds, quiet and busy."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SETS, "q_64x2", SMALL["state"])
        patch.setitem(SETS, "q_2x256", SMALL["state"].small(name="q_2x256"))
        for kind, options in {"quiet": ["--sets", "q_64x2", "--seeds", "1,2"], "busy": ["--only", "q", "--busy"]}.items():
            path = tmp_path_factory.mktemp("bench") / f"{kind}.json"
            command = ["bench", *options, "--device", "cpu", "--rounds", "5", "--json", str(path)]
            result = CliRunner().invoke(cli.rewarm, command)
            assert result.exit_code == 0, result.output
            found[kind] = (path, json.loads(path.read_text()), result.output)
    return found


def test_json_holds_what_is_promised(tiny):
    _, report, printed = tiny["quiet"]
    results = report["results"]
    assert report["header"]["command"][2:6] == ["--sets", "q_64x2", "--seeds", "1,2"]
    assert len(report["header"]["pinned_cpus"] or [0]) == 1
    peers = ["torch bmm, subset", "torch bmm"]
    assert [(r["seeds"], r["variant"]) for r in results] == [
        *((1, name) for name in ["rewarm cpu", *peers, "torch list"]),
        (2, "rewarm cpu"), (1, "rewarm cpu, 1 seed"), *((2, name) for name in peers),
    ]  # fmt: skip
    for r in results:
        assert {"workload", "variant", "device", "threads", "median_s", "min_s", "max_s", "runs", "bytes"} <= set(r)
        assert (r["workload"], r["dtype"], r["device"], r["threads"], r["runs"]) == ("q_64x2", "fp32", "cpu", 1, 5)
        assert r["floor_s"] == pytest.approx(r["flops"] / r["matmul_flops_per_s"]["256x256x256"])
        assert r["of_matmul"] == pytest.approx(r["floor_s"] / r["median_s"])
        assert r["flops"] == flops(SMALL["state"].small(seeds=r["seeds"]))
    ours = results[4]
    assert ours["over_one_seed"] == ours["median_s"] / results[5]["median_s"]
    assert all(r["chain"] == "fused" for r in results if r["variant"].startswith("rewarm"))
    for text in ("q_64x2 fp32, 2 seeds:", "GFLOP at least", "of one seed", "quickest peer over rewarm"):
        assert text in printed


def test_tables_for_a_readme(tiny, capsys):
    path, report, _ = tiny["quiet"]
    assert table.main([str(path)]) == 0
    place, _, title, _, one, two, *_ = capsys.readouterr().out.splitlines()
    assert "1 threads" in place and "in-place" not in place
    assert title == (
        "| workload | dtype | seeds | rewarm, ms | of torch.mm | × best torch, eager | × bmm, subset | × bmm, all critics "
        "| ÷ one seed |"
    )
    r = report["results"]
    best = min(peer["ratio_to_ours"] for peer in r[1:4])
    assert one.startswith("| q_64x2 | fp32 | 1 | ")
    assert one.endswith(f" | {best:.2f} | {r[1]['ratio_to_ours']:.2f} | {r[2]['ratio_to_ours']:.2f} |  |")
    assert two.endswith(f" | {r[4]['over_one_seed']:.2f} |")


def test_the_contended_arm(tiny, capsys):
    path, report, printed = tiny["busy"]
    assert [(r["variant"], r["arm"]) for r in report["results"]] == [
        ("rewarm cpu", "quiet"), ("torch bmm, subset", "quiet"), ("rewarm cpu", "busy"), ("torch bmm, subset", "busy")
    ]  # fmt: skip
    assert "busy / quiet" in printed
    assert table.main([str(path)]) == 0
    assert "| q_2x256 | fp32 | rewarm cpu |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "q", "--dtypes", "tf32"], "tf32 is a GPU's"),
        (["--sets", "q_2x257"], "expected some of q_64x2, q_2x256, q_antmaze, q_calql, q_3x512, got 'q_2x257'"),
        (["--only", "adamw", "--sets", "q_2x256"], "none of q_2x256 is of adamw"),
        (["--only", "adamw", "--seeds", "2"], "--seeds: they are of q"),
        (["--only", "q", "--sets", "sac"], "none of sac is of q"),
        (["--only", "q", "--dtypes", "bf16"], "expected some of fp32, tf32, got 'bf16'"),
    ],
)
def test_refusals(options, message):
    result = CliRunner().invoke(cli.rewarm, ["bench", "--device", "cpu", *options])
    assert result.exit_code != 0
    assert message in (result.output + str(result.exception))


def test_workloads_are_chosen():
    def names(**options):
        return [(w.name, w.dtype) for w in q.workloads(CPU, **options)]

    assert len(names()) == 10
    assert names(quick=True) == [("q_64x2", "fp32"), ("q_2x256", "fp32")]
    assert names(sets=["q_antmaze"], seeds=[8]) == [("q_antmaze, 8 seeds", "fp32")]
    wide = q.QWorkload(SETS["q_2x256"], "fp32", CPU).variants(quick=False)
    assert list(wide) == [
        "rewarm cpu", "torch bmm, subset", "torch bmm", "torch list", "torch vmap", "torch compile, subset"
    ]  # fmt: skip
    assert "torch bmm" not in q.QWorkload(SETS["q_antmaze"].small(seeds=8), "fp32", CPU).variants(quick=False)
