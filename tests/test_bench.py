"""``rewarm bench``: what it writes, what it refuses to time, and what an interruption leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch")

from click.testing import CliRunner  # noqa: E402

from rewarm import cli  # noqa: E402
from rewarm.bench import adamw, adamw_loops, busy, equality, hardware, json_file, table, timing  # noqa: E402
from rewarm.errors import RewarmError  # noqa: E402

TINY = ["bench", "--device", "cpu", "--sets", "sac", "--dtypes", "fp32", "--rounds", "5", "--buffer-gib", "0.01"]
PROMISED = {
    "workload", "variant", "device", "threads", "median_s", "min_s", "max_s", "runs", "bytes", "floor_s", "ratio_to_ours",
    "arm", "dtype",
}  # fmt: skip


def affinity():
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A report of a real, small run."""
    path = tmp_path_factory.mktemp("bench") / "tiny.json"
    before = affinity()
    result = CliRunner().invoke(cli.rewarm, [*TINY, "--threads", "1", "--json", str(path)])
    assert result.exit_code == 0, result.output
    assert affinity() == before
    assert [p.name for p in path.parent.iterdir()] == ["tiny.json"]
    return path, json.loads(path.read_text()), result.output


def test_json_holds_what_is_promised(tiny):
    _, report, _ = tiny
    header, results = report["header"], report["results"]
    assert {"versions", "hardware", "isa", "commit", "command", "bandwidth", "load_average", "pinned_cpus"} <= set(header)
    assert header["bandwidth"]["1"]["bar"] > 0
    assert {(r["variant"], r["arm"]) for r in results} >= {
        ("rewarm cpu", "stable"), ("rewarm cpu", "fresh"), ("torch fused", "stable"), ("torch fused", "fresh"),
        ("torch foreach", "stable"),
    }  # fmt: skip
    for r in results:
        assert set(r) >= PROMISED
        assert (r["workload"], r["dtype"], r["device"], r["threads"], r["runs"]) == ("adamw/sac", "fp32", "cpu", 1, 5)
        assert 0 < r["min_s"] <= r["median_s"] <= r["max_s"]
        ours = next(o for o in results if (o["variant"], o["arm"]) == (r["ours"], r["arm"]))
        assert r["ratio_to_ours"] == r["median_s"] / ours["median_s"]
        assert r["bytes"] == 32 * r["parameters"]
        assert r["warm"] == r["in_cache"]
        assert r["floor_s"] == r["bytes"] / header["bandwidth"]["1"]["bar"]


def test_tables_for_people_and_for_a_readme(tiny, capsys):
    path, report, printed = tiny
    for text in ("adamw/sac fp32: 18 tensors", "rewarm cpu", "torch fused", "fresh", "in place"):
        assert text in printed
    assert table.main([str(path)]) == 0
    markdown = capsys.readouterr().out
    assert "| sac | fp32 |" in markdown
    assert "× torch fused |" in markdown
    assert f"`{' '.join(report['header']['command'])}`" in markdown
    assert table.main(["--compact", str(path), str(path)]) == 0
    title, _, *lines = capsys.readouterr().out.splitlines()
    assert title.endswith(", ms | floor | × torch fused |")
    assert [line.split(" | ")[:3] for line in lines] == [["| sac", "fp32", "1"]]
    assert table.main([]) == 2
    assert table.main([str(path.parent / "missing.json")]) == 1


def test_the_contended_arm(tmp_path, capsys):
    path = tmp_path / "busy.json"
    result = CliRunner().invoke(cli.rewarm, [*TINY, "--threads", "1", "--busy", "--json", str(path)])
    assert result.exit_code == 0, result.output
    results = json.loads(path.read_text())["results"]
    assert [(r["variant"], r["arm"]) for r in results] == [
        ("rewarm cpu", "quiet"), ("torch fused", "quiet"), ("rewarm cpu", "busy"), ("torch fused", "busy")
    ]  # fmt: skip
    for quiet, during in zip(results[:2], results[2:], strict=True):
        assert during["busy_over_quiet"] == during["median_s"] / quiet["median_s"]
    assert table.main([str(path)]) == 0
    assert "busy / quiet" in capsys.readouterr().out


def test_busy_loops_end_with_their_block():
    with busy.busy_loops([0, 0]) as pids:
        for pid in pids:
            os.kill(pid, 0)
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# ---- interruptions -----------------------------------------------------------------------------------------------------


def test_an_interrupted_run_leaves_no_file(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "rewarm", *TINY[:4], "sac,redq10", "--buffer-gib", "0.01", "--json", str(tmp_path / "out.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stdout:
            if "in place" in line:
                break
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "out.json"
    json_file.write_json(path, {"results": []})
    before = path.read_text()
    with pytest.raises(TypeError):
        json_file.write_json(path, {"results": [object()]})

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        json_file.write_json(path, {"results": [1]})
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


# ---- what is timed ------------------------------------------------------------------------------------------------------


class Counted:
    repeats = 1

    def __init__(self, name, log):
        self.name, self.log = name, log

    def prepare(self):
        pass

    def run(self):
        self.log.append(self.name)


def test_variants_take_turns():
    log = []
    found = timing.interleave([Counted(name, log) for name in "abc"], budget_s=0.0, max_runs=1)
    assert "".join(log) == "abcbcacababcbca"
    assert {name: s.runs for name, s in found.items()} == {"a": 5, "b": 5, "c": 5}


def test_a_warm_run_follows_one_of_its_own():
    log = []
    timing.interleave([Counted(name, log) for name in "ab"], budget_s=0.0, max_runs=1, warm=True)
    assert "".join(log) == "aabbbbaaaabbbbaaaabb"


def test_a_deadline_before_five_runs_gives_no_number():
    with pytest.raises(timing.TooBusy):
        timing.interleave([Counted("a", [])], budget_s=9.0, deadline=time.perf_counter() - 1)


def workload(set_name="sac", dtype="fp32"):
    return adamw.AdamWWorkload(set_name, dtype, torch.device("cpu"))


@pytest.mark.parametrize("dtype", list(adamw.DTYPES))
@pytest.mark.parametrize("set_name", ["sac", "one_group_each"])
def test_all_variants_agree(set_name, dtype, monkeypatch):
    small = adamw.ParameterSet(adamw.one_group_each(30, width=64), own_groups=True)
    monkeypatch.setitem(adamw.SETS, "one_group_each", small)
    work = workload(set_name, dtype)
    loops = [make() for make in work.variants(quick=False).values()]
    work.check(loops, *work.inputs())


def test_a_loop_that_computes_something_else_is_not_timed():
    class Wrong(adamw_loops.Torch):
        def make_run(self, recipe):
            return super().make_run(
                adamw_loops.Recipe(recipe.max_lr * 1.001, recipe.warmup_steps, recipe.decay_steps, recipe.max_norm)
            )

    work = workload()
    loops = [adamw_loops.Rewarm(work.setting, "cpu"), Wrong(work.setting, "fused")]
    with pytest.raises(
        RewarmError, match=r"adamw/sac fp32: parameter \d+: torch fused, unclipped, against rewarm cpu, sampled"
    ):
        work.check(loops, *work.inputs())


def test_ours_without_clipping_is_not_timed():
    class Unclipped(adamw_loops.Rewarm):
        def make_optimizer(self, recipe):
            return super().make_optimizer(adamw_loops.Recipe(recipe.max_lr, recipe.warmup_steps, recipe.decay_steps, 1e9))

    work = workload()
    with pytest.raises(RewarmError, match="after step 1, clipped, against float64"):
        equality.check_clipped("here", Unclipped(work.setting, "cpu"), *work.inputs())


def test_the_user_s_lambda_is_our_schedule():
    from rewarm.schedule import warmup_cosine

    recipe = adamw_loops.Recipe(max_lr=2.0, warmup_steps=7, decay_steps=30)
    schedule = warmup_cosine(2.0, 2.0 * adamw_loops.MIN_RATIO, 7, 30)
    for step in range(45):
        assert 2.0 * recipe.factor(step) == pytest.approx(schedule(step), rel=1e-14, abs=1e-300)


def test_fresh_gradients_move_and_stable_ones_stay():
    work = workload()
    loop = adamw_loops.Torch(work.setting, "fused")
    initial, gradients = work.inputs()
    loop.start(initial, adamw_loops.Recipe())

    def addresses(arm):
        arm(gradients)
        seen = []
        for _ in range(3):
            loop.prepare()
            seen.append([p.grad.data_ptr() for p in loop.params])
            loop.run()
        return seen

    first, *others = addresses(loop.keep_gradients)
    assert others == [first, first]
    a, b, c = addresses(loop.renew_gradients)
    assert all(x != y != z for x, y, z in zip(a, b, c, strict=True))


def test_shapes_are_those_of_the_models():
    def count(name):
        return len(adamw.SETS[name].shapes), workload(name).setting.numel

    assert count("sac")[0] == 18
    assert count("redq10") == (60, 721_930)
    assert count("lora_r8") == (96, 1_179_648)
    assert count("pythia14m") == (76, 14_067_712)
    assert count("pythia70m") == (76, 70_426_624)
    assert count("pythia160m") == (148, 162_322_944)
    assert count("pythia410m") == (292, 405_334_016)
    assert count("pythia1.4b") == (292, 1_414_647_808)
    assert count("groups465")[0] == 465
    assert [workload(dtype=d).moved_bytes // workload().setting.numel for d in adamw.DTYPES] == [32, 16, 24]


def test_variants_share_memory_in_batches(monkeypatch):
    work = workload()
    makers = dict.fromkeys("abcde")
    said = []
    monkeypatch.setattr(adamw, "_free_bytes", lambda device: int(work.working_set * 3.5 / 0.85 + work.working_set * 5 / 4))
    assert [list(batch) for batch in work._batches(makers, said.append)] == [["a", "b", "c"], ["a", "d", "e"]]
    assert said == ["adamw/sac fp32: memory holds 3 of 5 variants at a time"]
    monkeypatch.setattr(adamw, "_free_bytes", lambda device: work.working_set)
    with pytest.raises(adamw.LeftOut, match="GiB of free memory"):
        work._batches(makers, said.append)


def test_the_header_names_no_place_of_this_machine():
    header = json.dumps(hardware.header(torch.device("cpu"), ["rewarm", "bench"]))
    assert os.getcwd() not in header
