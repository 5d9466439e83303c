"""Cold starts of the stand-in against what is published: region 2 at scale 1, the days and durations of the others."""

import collections

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pytest
import scipy.stats
from synthetic_made import columns, published, read

from rewarm.trace.synthetic import generate
from rewarm.trace.synthetic_cold_start import ColdStarts, published_day_counts
from rewarm.trace.synthetic_loads import POOLS as POOLS_OF_THE_MODEL
from rewarm.trace.synthetic_regions import REGION_TABLE

COSTS = ("podAllocationCost", "deployCodeCost", "deployDependencyCost", "schedulingCost")

# ---- region 2 at scale 1 ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def region2(tmp_path_factory):
    """Cold starts of region 2 at scale 1 with the runtime and trigger group of every row."""
    folder = tmp_path_factory.mktemp("region2")
    generate(folder, region="R2", tables=("cold_start", "runtime"))
    table = read(folder, "cold_start/R2/*.csv")
    c = {name: table[name].to_numpy() for name in table.column_names if name not in ("requestID", "podID")}
    c |= {"requestID": table["requestID"].combine_chunks(), "podID": table["podID"].combine_chunks()}  # 2 million str are slow
    runtime = columns(folder, "runtime_triggerType/*.csv")
    for path in folder.rglob("*.csv"):
        path.unlink()
    pool = pa.compute.utf8_slice_codeunits(c["podID"], 0, -11).dictionary_encode()
    c["pool"], pools = pool.indices.to_numpy(), pool.dictionary.to_pylist()
    index = {name: code for code, name in enumerate(pools)}
    keys, places = {}, runtime["funcID"].tolist()
    for place, name in enumerate(places):
        f, u, p = name.split("---")
        if p in index:
            keys[(int(f) * 10_000 + int(u)) * 100 + index[p]] = place
    key = (c["funcName"] * 10_000 + c["userID"]) * 100 + c["pool"]
    unique, inverse = np.unique(key, return_inverse=True)
    c["function"] = np.array([keys[k] for k in unique.tolist()])[inverse]  # a KeyError is an unmatched row
    c["pools"] = pools
    return c, runtime


def group_of(triggers):
    """The paper's seven groups."""
    words = triggers.split(" ")
    if "TIMER-A" in words:
        return "TIMER-A"
    if triggers in ("APIG-S", "OBS-A", "workflow-S"):
        return triggers
    if triggers in ("unknown", "unknown-unknown", "unknown-A unknown-S"):
        return "unknown"
    if {word.split("-")[0] for word in words} == {"APIG"}:
        return "other A"
    return "other A" if all(word.endswith("-A") for word in words) else "other S"


def test_region2_rows_identities_and_order(region2):
    c, _ = region2
    assert len(c["time"]) == 2_072_823
    assert np.abs(c["totalCost_cold_start"] - sum(c[name] for name in COSTS)).max() < 1e-9
    assert min(c[name].min() for name in COSTS) >= 0.0
    assert (np.diff(c["time"]) >= 0).all()
    assert (c["time"] // 86_400 == c["day"]).all()
    for name in ("deployCodeCost", "deployDependencyCost"):
        assert np.abs(c[name] * 1000 - np.rint(c[name] * 1000)).max() < 1e-7  # a 1 ms grid
    assert len(c["podID"].unique()) == len(c["podID"])
    repeated = len(c["time"]) - len(c["requestID"].unique())
    assert 0 < repeated < 0.05 * len(c["time"])  # one request may cause several cold starts


def test_region2_days_and_hours(region2):
    c, _ = region2
    published = np.array(REGION_TABLE["R2"].cold_starts)
    counts = np.bincount(c["day"])
    # The curve's sum is 117 above the notebook's exact total, which is kept: five rows a day at most.
    assert np.abs(counts - published).max() <= 5
    assert counts.sum() == 2_072_823
    hours = np.bincount((c["time"] % 86_400 // 3600).astype(int)) / len(c["time"]) * 24
    # An hour of 31 days holds about 86,000 rows in bursts: 3 % is three standard deviations of its count.
    assert np.abs(hours / (np.array(REGION_TABLE["R2"].hours) / np.mean(REGION_TABLE["R2"].hours)) - 1).max() < 0.03


def test_region2_runtime_table(region2):
    _, runtime = region2
    assert len(runtime["funcID"]) == len(set(runtime["funcID"])) == 2418
    parts = [name.split("---") for name in runtime["funcID"]]
    assert [len({part[i] for part in parts}) for i in range(3)] == [2148, 1144, 27]
    assert collections.Counter(runtime["runtime"]) == {
        "Python3": 1493, "Java": 450, "Node.js": 159, "Python2": 93, "http": 72, "Custom": 57, "PHP7.3": 38, "unknown": 31,
        "Go1.x": 21, "C#": 4,
    }  # fmt: skip
    assert collections.Counter(runtime["triggerType-invocationType"]) == {
        "TIMER-A": 1018, "APIG-S": 551, "APIG-S TIMER-A": 312, "unknown-S": 123, "unknown": 74, "unknown-unknown": 68,
        "unknown-A unknown-S": 60, "OBS-A": 60, "workflow-S": 54, "unknown-A": 19, "APIG-S TIMER-A workflow-S": 16, "LTS-A": 14,
        "CTS-A": 10, "APIG-A": 9, "SMN-A": 8, "KAFKA-S": 3, "DIS-A": 3, "SMN-A TIMER-A": 3, "APIG-A APIG-S": 2,
        "DIS-A OBS-A SMN-A TIMER-A": 2, "TIMER-A workflow-S": 2, "APIG-A OBS-A": 1, "APIG-S OBS-A": 1, "APIG-S workflow-S": 1,
        "DIS-A SMN-A": 1, "DIS-A SMN-A TIMER-A": 1, "DIS-A workflow-S": 1, "OBS-A TIMER-A": 1,
    }  # fmt: skip
    groups = collections.Counter(map(group_of, runtime["triggerType-invocationType"]))
    assert groups == {
        "TIMER-A": 1355, "APIG-S": 551, "unknown": 202, "other S": 129, "other A": 67, "OBS-A": 60, "workflow-S": 54,
    }  # fmt: skip
    cpu = {300: 100, 400: 125, 600: 300, 1000: 500, 1800: 1000, 3400: 2000, 6600: 4000, 25800: 12900}
    for name, request in zip(runtime["funcID"], runtime["cpu_request"], strict=True):
        assert cpu.get(int(name.split("-")[-2]), request) == request
    assert any(name.split("---")[2].startswith("custom.image.gpu-25800-32768") for name in runtime["funcID"])


def test_region2_cold_starts_by_runtime_are_exact(region2):
    c, runtime = region2
    assert collections.Counter(runtime["runtime"][c["function"]].tolist()) == {
        "Python3": 1_190_731, "Node.js": 287_253, "Custom": 186_452, "Java": 165_695, "Python2": 165_673, "Go1.x": 30_045,
        "PHP7.3": 25_591, "http": 18_167, "C#": 3_105, "unknown": 111,
    }  # fmt: skip


def test_region2_shares_of_triggers_and_sizes(region2):
    c, runtime = region2
    groups = np.array([group_of(word) for word in runtime["triggerType-invocationType"]])[c["function"]]
    # Figure 8 is read to .001; the largest functions are drawn in bursts and capped, so the fit to all margins is not exact.
    for name, share in zip(
        ("APIG-S", "OBS-A", "TIMER-A", "other A", "other S", "unknown", "workflow-S"),
        (0.089, 0.161, 0.311, 0.068, 0.035, 0.141, 0.196),
        strict=True,
    ):
        assert (groups == name).mean() == pytest.approx(share, abs=0.005), name
    size = np.array(["-".join(pool.split("-")[-2:]) for pool in c["pools"]])[c["pool"]]
    for name, share in (("300-128", 0.669), ("400-256", 0.063), ("600-512", 0.101), ("1000-1024", 0.112)):
        assert (size == name).mean() == pytest.approx(share, abs=0.005), name


# Figure 15, read from the paper's vectors: seconds at .10 .25 .50 .75 .90 (and .95 for the total, .99 for the components).
TOTAL = {
    "C#": ".573 .627 .733 .812 .867", "Custom": "10.3 10.87 10.96 11.1 14.6", "Go1.x": ".517 .576 .625 .708 .852",
    "Java": ".206 .535 .742 1.05 1.52", "Node.js": ".172 .718 1.183 1.37 1.86", "PHP7.3": ".324 .358 .388 .456 .573",
    "Python2": ".298 .399 .502 .716 .863", "Python3": ".230 .462 .704 1.54 2.18", "http": ".271 10.6 10.73 10.8 11.3",
}  # fmt: skip
CODE = {
    "Custom": ".001 .001 .002 .002 .003", "Go1.x": ".473 .519 .567 .635 .761", "Java": ".031 .050 .122 .313 .506",
    "Node.js": ".023 .044 .091 .236 .680", "PHP7.3": ".002 .031 .049 .092 .193", "Python2": ".002 .004 .032 .058 .133",
    "Python3": ".021 .033 .050 .102 .203", "C#": ".001 .001 .005 .006 .008",
}  # fmt: skip
SCHEDULING = {
    "C#": ".569 .625 .726 .804 .859", "Custom": ".142 .699 .753 .849 3.95", "Go1.x": ".026 .039 .046 .063 .096",
    "Java": ".082 .097 .135 .193 .383", "Node.js": ".089 .132 1.00 1.17 1.28", "PHP7.3": ".287 .308 .330 .360 .415",
    "Python2": ".256 .332 .454 .628 .747", "Python3": ".088 .197 .433 .731 .967", "http": ".255 .471 .533 .584 1.03",
}  # fmt: skip
DEPENDENCY = {
    "Java": ".323 .365 .437 .566 .706", "Node.js": ".039 .073 .134 .174 .207", "Python2": ".014 .016 .021 .039 .091",
    "Python3": ".120 .328 1.10 1.22 1.41", "http": ".106 .128 .164 .708 .940",
}  # fmt: skip
# Share of pods found within 1 ms, 100 ms and 5 s.
STAGES = {
    "Custom": ".007 .007 .007", "http": ".203 .206 .206", "Go1.x": "1 1 1", "PHP7.3": "1 1 1", "C#": ".969 .984 .985",
    "Node.js": ".981 .996 .998", "Python2": ".872 .983 .986", "Java": ".242 .917 .975", "Python3": ".371 .963 .990",
}  # fmt: skip
GROUP_STAGES = {
    "APIG-S": ".452 .866 .893", "OBS-A": ".146 .408 .434", "TIMER-A": ".567 .987 .997", "other A": ".786 .960 .977",
    "other S": ".646 .989 .990", "workflow-S": ".230 .961 .998",
}  # fmt: skip
AT = np.array([0.10, 0.25, 0.50, 0.75, 0.90])


# Figure 16, by trigger.
GROUP_TOTAL = {
    "APIG-S": ".160 .315 .650 .997 8.11", "OBS-A": ".507 .864 10.36 10.98 11.2", "TIMER-A": ".296 .462 .587 1.02 1.31",
    "other A": ".337 .496 .745 .998 2.35", "other S": ".179 .270 .463 .593 1.24", "workflow-S": ".292 .989 1.704 2.07 2.33",
}  # fmt: skip
# Figure 13: quartiles of small and of large pools, region by region.
POOLS = {
    "totalCost_cold_start": {
        "R1": (".60 1.19 2.96", "1.78 2.64 4.30"), "R2": (".454 .704 1.33", ".632 1.31 10.9"),
        "R3": (".0253 .0532 .325", ".125 .143 .200"), "R4": (".270 .605 1.25", "1.10 1.55 4.18"),
        "R5": (".196 .448 .600", ".285 .427 1.63"),
    },
    "podAllocationCost": {
        "R1": ("6.5e-4 .0161 .751", ".0132 .0179 .0221"), "R2": ("1.8e-4 2.4e-4 .0129", ".0117 .0140 10.2"),
        "R3": ("1.3e-4 1.4e-4 1.7e-4", "1.3e-4 1.4e-4 1.5e-4"), "R4": ("1.2e-4 1.4e-4 .0192", "1.3e-4 .0214 1.50"),
        "R5": ("1.2e-4 1.3e-4 1.4e-4", "1.2e-4 1.3e-4 .0245"),
    },
    "schedulingCost": {
        "R1": (".460 .891 1.53", ".587 .800 1.68"), "R2": (".241 .487 .817", ".105 .227 .729"),
        "R3": (".0233 .0285 .274", ".102 .114 .138"), "R4": (".091 .401 .825", ".109 .131 .163"),
        "R5": (".117 .383 .529", ".242 .303 1.02"),
    },
}  # fmt: skip


def far(values, at, wanted, seconds, grid=0.0):
    """Quantiles that are off: by more than `seconds` (relative), where the share of values below is off by more than .02 too.

    Between two of the model's or the data's modes a curve is flat, so that a hair in the share is many seconds; on a step it
    is the other way round. Near the published curve is near in either. Half a millisecond for columns on a grid of one.
    """
    ordered = np.sort(values)
    have = np.quantile(ordered, at)
    low, high = (np.searchsorted(ordered, wanted + move * (grid + 1e-9)) / len(ordered) for move in (-1, 1))
    share = np.maximum(np.maximum(low - at, at - high), 0.0)
    off = (np.abs(have - wanted) > seconds * wanted + grid) & (share > 0.02)
    return {float(p): f"{h:.4g} for {w:.4g}" for p, h, w, bad in zip(at, have, wanted, off, strict=True) if bad}


@pytest.mark.parametrize(
    ("column", "table", "grid"),
    [("deployCodeCost", CODE, 0.0005), ("schedulingCost", SCHEDULING, 0.0), ("deployDependencyCost", DEPENDENCY, 0.0005)],
    ids=["code", "scheduling", "dependency"],
)
def test_region2_components_by_runtime(region2, column, table, grid):
    c, runtime = region2
    kinds = runtime["runtime"][c["function"]]
    found = {}
    for name, text in table.items():
        values = c[column][kinds == name]
        found[name] = far(values[values > 0] if table is DEPENDENCY else values, AT, published(text), 0.10, grid)
    assert not {name: off for name, off in found.items() if off}


# Three of 75 quantiles that the margins together do not allow: see docs/trace_synthetic.md. Measured / published at seed 0.
TOTAL_OFF = {("http", 0.10): 1.5, ("other A", 0.90): 0.85, ("workflow-S", 0.25): 0.88}


def test_region2_totals_by_runtime_and_by_trigger(region2):
    c, runtime = region2
    kinds = runtime["runtime"][c["function"]]
    groups = np.array([group_of(word) for word in runtime["triggerType-invocationType"]])[c["function"]]
    found = {}
    for label, table in ((kinds, TOTAL), (groups, GROUP_TOTAL)):
        for name, text in table.items():
            values = c["totalCost_cold_start"][label == name]
            wanted = published(text)
            for at in far(values, AT, wanted, 0.10):
                found[name, at] = float(np.quantile(values, at)) / wanted[AT.tolist().index(at)]
    assert set(found) <= set(TOTAL_OFF), found
    assert all(ratio == pytest.approx(TOTAL_OFF[key], rel=0.05) for key, ratio in found.items()), found


def test_region2_stages_of_the_pod_search(region2):
    c, runtime = region2
    kinds = runtime["runtime"][c["function"]]
    groups = np.array([group_of(word) for word in runtime["triggerType-invocationType"]])[c["function"]]
    for label, table in ((kinds, STAGES), (groups, GROUP_STAGES)):
        for name, text in table.items():
            values = c["podAllocationCost"][label == name]
            have = [(values <= limit).mean() for limit in (1e-3, 0.1, 5.0)]
            assert np.abs(have - published(text)).max() < 0.02, (name, have)


@pytest.mark.parametrize("column", POOLS)
def test_region2_small_and_large_pools(region2, column):
    c, _ = region2
    limits = np.array([[int(word) for word in name.split("-")[-2:]] for name in c["pools"]])
    small = ((limits[:, 0] <= 400) & (limits[:, 1] <= 256))[c["pool"]]
    for of, text in zip((small, ~small), POOLS[column]["R2"], strict=True):
        found = far(c[column][of], np.array([0.25, 0.5, 0.75]), published(text), 0.10)
        # Custom's rows in large pools have their own scheduling, longer than what is published there: docs/trace_synthetic.md.
        assert set(found) <= ({0.5} if column == "schedulingCost" and of is not small else set()), found


def test_region2_gaps_between_cold_starts(region2):
    c, _ = region2
    gaps = np.diff(c["time"])
    # Below 10 ms the 1 ms stamps show; above, figure 10c within 10 %: the load of the day spreads the gaps of a fitted process.
    assert (
        np.abs(np.quantile(gaps, [0.25, 0.5, 0.75, 0.9, 0.95, 0.99]) / published(".103 .699 1.83 3.40 4.81 7.86") - 1).max()
        < 0.1
    )
    assert gaps.mean() == pytest.approx(31 * 86_400 / 2_072_823, rel=1e-3)


# ---- the other regions -----------------------------------------------------------------------------------------------------

# Figures 10a and 10c: seconds at .25 .50 .75 .90.
REGION_TOTAL = {
    "R1": ".915 2.155 3.776 8.01",
    "R3": ".0268 .103 .278 .430",
    "R4": ".290 .900 1.71 2.69",
    "R5": ".218 .448 .638 1.58",
}
REGION_GAPS = {
    "R1": ".0068 .109 .487 1.06",
    "R3": "1.92 5.07 7.97 23.0",
    "R4": ".0195 .636 2.11 4.96",
    "R5": ".834 2.07 4.66 7.82",
}


@pytest.fixture(scope="module", params=REGION_TOTAL)
def region(request):
    """Six days of another region, free and working ones: (its cold starts, blocks by day)."""
    cold = ColdStarts(request.param, 0, 1.0)
    return cold, [list(cold.blocks(day)) for day in range(0, 31, 6)]


def test_durations_of_the_other_regions(region):
    """All six days against figure 10a; small and large pools against figure 13."""
    cold, days = region
    blocks = [b for day in days for b in day]
    parts = {
        "totalCost_cold_start": np.concatenate([b.total_us for b in blocks]) / 1e6,
        "podAllocationCost": np.concatenate([b.alloc_ns for b in blocks]) / 1e9,
        "schedulingCost": np.concatenate([b.scheduling_ns for b in blocks]) / 1e9,
    }
    total = parts["totalCost_cold_start"]
    assert np.abs(np.quantile(total, [0.25, 0.5, 0.75, 0.9]) / published(REGION_TOTAL[cold.region]) - 1).max() < 0.12
    limits = np.array([[int(word) for word in name.split("-")[-2:]] for name in POOLS_OF_THE_MODEL])
    small = ((limits[:, 0] <= 400) & (limits[:, 1] <= 256))[cold.functions.pool][np.concatenate([b.function for b in blocks])]
    found = {}
    for column, values in parts.items():
        for name, of, text in zip(("small", "large"), (small, ~small), POOLS[column][cold.region], strict=True):
            found[column, name] = far(values[of], np.array([0.25, 0.5, 0.75]), published(text), 0.12)
    assert not {name: off for name, off in found.items() if off}


def test_gaps_of_the_other_regions(region):
    """Figure 10c; the gaps of six days are compared at the load of the whole month."""
    cold, days = region
    gaps = np.concatenate([np.diff(np.concatenate([b.time_ms for b in day])) for day in days]) / 1e3
    rows = sum(len(b.time_ms) for day in days for b in day)
    busier = rows / len(days) / (cold.rows / 31)
    wanted = published(REGION_GAPS[cold.region])
    limit = np.where(wanted < 0.02, 0.2, 0.1)  # stamps of 1 ms against gaps of 7 and 20 ms
    assert (np.abs(np.quantile(gaps, [0.25, 0.5, 0.75, 0.9]) * busier / wanted - 1) < limit).all()


# Figure 12: total code, total dependency ... as in the report's table: pairs of total, code, dependency, scheduling, allocation
# and the number of cold starts, minute by minute.
SPEARMAN = {
    "R1": ".2 .8 .9 .4 .7  -.1 .0 .1 .2  .7 .1 .3  .2 .5  .7",
    "R2": "-.0 .1 .4 .9 .2  .0 .1 -.1 .0  .1 -.1 .2  .2 .1  .1",
    "R3": ".6 .3 .8 -.1 .3  .0 .1 -.2 .1  .3 .1 .2  .0 .5  .3",
    "R4": ".1 .6 .3 .8 .4  -.2 .1 -.1 -.1  -.1 .3 .2  .1 .2  .5",
    "R5": ".2 .8 .7 .6 -.1  .1 .0 .0 -.2  .7 .2 -.1  .4 -.1  .1",
}


@pytest.mark.parametrize("region", SPEARMAN)
def test_signs_of_the_minutes_correlations(region):
    """Ranks of minute means, six days (8,640 minutes, standard error .011).

    Printed to one digit, so a .1 may be .05 and a .0 either sign: they must not be far on the other side.
    """
    cold = ColdStarts(region, 0, 1.0)
    blocks = [b for day in (3, 7, 12, 18, 23, 28) for b in cold.blocks(day)]
    _, minute, count = np.unique(np.concatenate([b.time_ms for b in blocks]) // 60_000, return_inverse=True, return_counts=True)
    costs = ("total_us", "code_ms", "dependency_ms", "scheduling_ns", "alloc_ns")
    means = [np.bincount(minute, np.concatenate([getattr(b, name) for b in blocks])) / count for name in costs]
    rho = scipy.stats.spearmanr(np.stack([*means, count], axis=1)).statistic[np.triu_indices(6, 1)]
    for have, wanted in zip(rho.tolist(), published(SPEARMAN[region]).tolist(), strict=True):
        assert have * np.sign(wanted) > (0.0 if abs(wanted) > 0.15 else -0.15), (have, wanted, rho.round(2))


def test_region3_has_its_hole_and_its_days(tmp_path):
    generate(tmp_path, region="R3", tables="cold_start")
    c = columns(tmp_path, "cold_start/R3/*.csv")
    assert np.bincount(c["day"]).tolist() == list(REGION_TABLE["R3"].cold_starts)
    hours = np.bincount((c["time"] // 3600).astype(int), minlength=744)
    assert hours[192:201].max() <= 10
    assert np.delete(hours, range(192, 201)).min() > 100


def test_days_of_the_other_regions_are_the_published_ones():
    for name in ("R1", "R3", "R4", "R5"):
        assert published_day_counts(name).tolist() == list(REGION_TABLE[name].cold_starts)
