"""Files in the release's spelling for the benchmarks of `rewarm.trace`: right in every shape that costs time, no more.

Column order, id length, decimals, pool names, runs of requests without a front-end half, one file a region and day are those
of the release; the distributions only have the right size. `rewarm.trace.generate` makes calibrated data, but lets the number
of rows of one file follow from the load of a day: here it follows from the bytes that are asked for.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

REQUEST_COLUMNS = (
    "time_worker,time_frontend,requestID,clusterName,funcName,podID,userID,totalCost_worker,workerCost,runtimeCost,"
    "totalCost_frontend,frontendCost,busCost,readBodyCost,writeRspCost,cpu_usage,memory_usage,requestBodySize"
)
COLD_START_COLUMNS = (
    "day,time,clusterName,funcName,userID,requestID,totalCost_cold_start,podAllocationCost,deployCodeCost,"
    "deployDependencyCost,schedulingCost,podID"
)
#: Pools and how many functions of a hundred are in them, roughly as Region 2.
_POOLS: tuple[str, ...] = (
    ("pool22-300-128",) * 80 + ("pool23-400-256",) * 5 + ("pool24-600-512",) * 6 + ("pool26-1000-1024",) * 4
)
_POOLS += ("custom-300-128",) * 3 + ("pool38-25800-32768", "custom.image.gpu-25800-32768")
_RUNTIMES = ("Python3", "Node.js", "Custom", "Java", "Python2", "Go1.x", "PHP7.3", "http", "C#", "unknown")
_SHARES = {"R1": 0.55, "R2": 0.174, "R3": 0.016, "R4": 0.19, "R5": 0.07}
_FUNCTIONS, _USERS, _BLOCK = 2418, 1144, 20_000
#: Functions by how often they are called: few take most.
_LOAD = (lambda w: w / w.sum())(1.0 / (np.arange(_FUNCTIONS) + 2.0) ** 1.1)


class Functions:
    """The functions of one region: names, owners, pools, runtimes. The same numbers mean other functions elsewhere."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng([seed, 1])
        self.name = random.permutation(_FUNCTIONS)
        self.user = random.integers(0, _USERS, _FUNCTIONS)
        self.pool = [_POOLS[i] for i in random.integers(0, len(_POOLS), _FUNCTIONS)]
        self.runtime = [_RUNTIMES[i] for i in random.integers(0, len(_RUNTIMES), _FUNCTIONS)]

    def ids(self) -> list[str]:
        """All of them as funcID."""
        return [f"{n}---{u}---{p}" for n, u, p in zip(self.name.tolist(), self.user.tolist(), self.pool, strict=True)]


def _plain(value: float) -> str:
    return f"{value:.6f}"


def java(value: float) -> str:
    """As Spark prints a double: shortest digits, and below 1e-3 as ``9.31E-4``."""
    if value == 0.0 or value >= 1e-3:
        return repr(value)
    mantissa, _, exponent = f"{value!r}".partition("e")
    if not exponent:
        mantissa, _, exponent = f"{value:.17e}".partition("e")
        mantissa = next(m for m in (f"{float(mantissa):.{d}f}" for d in range(1, 18)) if float(f"{m}e{exponent}") == value)
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}E{int(exponent)}"


def request_blocks(rows: int, seed: int, number: Callable[[float], str] = _plain, suffix: str = "") -> Iterator[str]:
    """Lines of the request table, about 220 bytes each, all within day 30."""
    functions = Functions(seed)
    for block in range(-(-rows // _BLOCK)):
        n = min(_BLOCK, rows - block * _BLOCK)
        random = np.random.default_rng([seed, 2, block])
        f = random.choice(_FUNCTIONS, n, p=_LOAD)
        start, length = 2_592_000 + 86_400 * block * _BLOCK / rows, 86_400 * n / rows
        time = np.sort(random.random(n)) * length + start
        runtime, worker, bus, front = (np.exp(random.normal(mu, s, n)).round() / 1e6 for mu, s in _REQUEST_COSTS)
        cpu, memory = random.gamma(0.5, 0.3, n).round(6), (26 + random.gamma(2.0, 30.0, n)).round(6)
        lost = random.random(n) < 0.01
        for at in random.integers(0, n, max(1, n // 4000)):
            lost[at : at + int(random.integers(1, 260))] = True
        ids = random.bytes(32 * n).hex()
        cluster, serial = random.integers(1, 5, n).tolist(), (f * 977 + random.integers(0, 400, n)).tolist()
        read, write, size = (np.exp(random.normal(m, 0.4, n)).round().astype(int).tolist() for m in (2.9, 2.2, 6.0))
        whole = (runtime + worker).round(6)
        lines = []
        numbers = (time, f, runtime, worker, bus, front, whole)
        rows_of_block = zip(cluster, *(array.tolist() for array in numbers), strict=True)
        for i, (c, t, k, r, w, b, fr, total) in enumerate(rows_of_block):
            head = f"{t:.3f},{'' if lost[i] else f'{t + 0.001 * c:.3f}'},{ids[64 * i : 64 * i + 64]},{c},{functions.name[k]},"
            head += f"{functions.pool[k]}-{serial[i]:010d},{functions.user[k]},{number(total)},{number(w)},{number(r)},"
            if lost[i]:
                lines.append(f"{head},,,,,{number(cpu[i].item())},{number(memory[i].item())},\n")
                continue
            body, reply = read[i] / 1e6, write[i] / 1e6
            front_total = round(total + b + fr + body + reply + 0.0003, 6)
            lines.append(
                f"{head}{number(front_total)},{number(fr)},{number(b)},{number(body)},{number(reply)},{number(cpu[i].item())},"
                f"{number(memory[i].item())},{size[i]}{suffix}\n"
            )
        yield "".join(lines)


#: Location and width of ln(microseconds): runtime, worker, bus, front end.
_REQUEST_COSTS = ((9.6, 1.4), (4.8, 0.35), (7.4, 0.6), (6.0, 0.4))


def cold_start_blocks(rows: int, seed: int, day: int) -> Iterator[str]:
    """Lines of one day of the cold-start table, about 160 bytes each."""
    functions = Functions(seed)
    for block in range(-(-rows // _BLOCK)):
        n = min(_BLOCK, rows - block * _BLOCK)
        random = np.random.default_rng([seed, 3, day, block])
        f = random.choice(_FUNCTIONS, n, p=_LOAD)
        time = np.sort(random.random(n)) * (86_399 * n / rows) + 86_400 * day + 86_399 * block * _BLOCK / rows
        code, dependency = (np.exp(random.normal(m, s, n)).astype(int) for m, s in ((3.6, 1.0), (5.5, 1.5)))
        dependency *= random.random(n) < 0.25
        allocation = np.exp(random.normal(13.5, 1.8, n)).clip(1e5, 5e10).astype(int)
        scheduling = np.exp(random.normal(19.0, 1.2, n)).clip(1e3, 5e10).astype(int)
        # Printed to microseconds, the total is still the sum of its parts: scheduling is what remains.
        total = (allocation + (code + dependency) * 1_000_000 + scheduling) // 1000
        scheduling = total * 1000 - allocation - (code + dependency) * 1_000_000
        ids = random.bytes(32 * n).hex()
        cluster, serial = random.integers(1, 5, n).tolist(), (f * 977 + random.integers(0, 40000, n)).tolist()
        numbers = (time, f, total, allocation, code, dependency, scheduling)
        rows_of_block = zip(cluster, *(array.tolist() for array in numbers), strict=True)
        yield "".join(
            f"{day},{t:.3f},{c},{functions.name[k]},{functions.user[k]},{ids[64 * i : 64 * i + 64]},{w / 1e6:.6f},"
            f"{a / 1e9:.9f},{o / 1e3:.3f},{d / 1e3:.3f},{s / 1e9:.9f},{functions.pool[k]}-{serial[i]:010d}\n"
            for i, (c, t, k, w, a, o, d, s) in enumerate(rows_of_block)
        )


def write_requests(path: Path, megabytes: float, seed: int = 7, spelling: str = "plain") -> None:
    """One file of the request table; "exponents" is the spelling of Spark, sizes as ``1018.0``."""
    number, suffix = (java, ".0") if spelling == "exponents" else (_plain, "")
    with open(path, "w", encoding="ascii") as out:
        out.write(REQUEST_COLUMNS + "\n")
        out.writelines(request_blocks(max(1, int(megabytes * 1e6 / 219)), seed, number, suffix))


def write_cold_starts(folder: Path, megabytes: float) -> None:
    """155 files below ``cold_start``, in the regions' proportion, and a runtime table for every region below ``runtime``."""
    for seed, (region, share) in enumerate(_SHARES.items()):
        for name in ("cold_start", "runtime"):
            (folder / name / region).mkdir(parents=True, exist_ok=True)
        functions = Functions(seed)
        with open(folder / "runtime" / region / "df_funcID_runtime_triggerType.csv", "w", encoding="ascii") as out:
            out.write("funcID,cpu_request,runtime,triggerType-invocationType\n")
            out.writelines(
                f"{i},100,{runtime},TIMER-A\n" for i, runtime in zip(functions.ids(), functions.runtime, strict=True)
            )
        for day in range(31):
            with open(folder / "cold_start" / region / f"day_{day:02d}.csv", "w", encoding="ascii") as out:
                out.write(COLD_START_COLUMNS + "\n")
                out.writelines(cold_start_blocks(max(1, int(megabytes * 1e6 * share / 31 / 160)), seed, day))


def pack(path: Path) -> Path:
    """The file again as ``.gz`` of level 6, the one of the gzip command."""
    packed = path.with_name(path.name + ".gz")
    with gzip.GzipFile(packed, "wb", compresslevel=6, mtime=0) as out:
        out.write(path.read_bytes())
    return packed
