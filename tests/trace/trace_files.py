"""Small files of the four tables, spelled as the release spells them, for the tests of everything that reads files."""

from __future__ import annotations

from pathlib import Path

from rewarm.trace import cold_start_reference, request_reference

COLD_HEADER = ",".join(cold_start_reference.PUBLISHED)
REQUEST_HEADER = ",".join(request_reference.PUBLISHED)
RUNTIME_HEADER = "funcID,cpu_request,runtime,triggerType-invocationType"
POOLS = ("pool22-300-128", "pool23-400-256", "custom-300-128", "custom.image.gpu-25800-32768")


def request_id(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15 % 2**256:064x}"


def cold_row(i: int, day: int, /, **changes: str) -> str:
    allocation, code, dependency, scheduling = 590 + i, 1 + i % 40, 7 * (i % 3), 909500 + 13 * i  # us, ms, ms, us
    total = allocation + 1000 * (code + dependency) + scheduling
    fields = {
        "day": f"{day}", "time": f"{86400 * day + 0.104 + 30 * i:.3f}", "clusterName": f"{1 + i % 4}",
        "funcName": f"{300 + i % 7}", "userID": f"{40 + i % 3}", "requestID": request_id(1000 * day + i),
        "totalCost_cold_start": f"{total / 1e6:.6f}",
        "podAllocationCost": f"{allocation / 1e6:.6f}", "deployCodeCost": f"{code / 1e3:.3f}",
        "deployDependencyCost": f"{dependency / 1e3:.3f}", "schedulingCost": f"{scheduling / 1e6:.6f}",
        "podID": f"{POOLS[i % 4]}-{10_000 * day + i:010d}",
    }  # fmt: skip
    return ",".join((fields | changes).values())


def request_row(i: int, /, **changes: str) -> str:
    worker, runtime, front, bus, body, reply = 103 + i, 829 + 17 * i, 531 + i, 585 + i, 25, 9  # us
    total = worker + runtime
    time = 2_592_000.02 + 40 * i
    fields = {
        "time_worker": f"{time:.3f}", "time_frontend": f"{time + 0.001:.3f}", "requestID": request_id(30_000 + i),
        "clusterName": f"{1 + i % 4}", "funcName": f"{300 + i % 7}", "podID": f"{POOLS[i % 4]}-{i % 50:010d}",
        "userID": f"{40 + i % 3}", "totalCost_worker": f"{total / 1e6:.6f}", "workerCost": f"{worker / 1e6:.6f}",
        "runtimeCost": f"{runtime / 1e6:.6f}", "totalCost_frontend": f"{(total + front + bus + body + reply + 300) / 1e6:.6f}",
        "frontendCost": f"{front / 1e6:.6f}", "busCost": f"{bus / 1e6:.6f}", "readBodyCost": f"{body / 1e6:.6f}",
        "writeRspCost": f"{reply / 1e6:.6f}", "cpu_usage": f"{i % 5 / 7:.6f}", "memory_usage": "34.238280",
        "requestBodySize": f"{i * 11}.0",
    }  # fmt: skip
    if i % 9 == 4:
        fields |= dict.fromkeys(
            (
                "time_frontend",
                "totalCost_frontend",
                "frontendCost",
                "busCost",
                "readBodyCost",
                "writeRspCost",
                "requestBodySize",
            ),
            "",
        )
    return ",".join((fields | changes).values())


def write(path: Path, header: str, rows: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def write_cold_start(folder: Path, region: str = "R1", days: int = 31, rows: int = 60) -> Path:
    for day in range(days):
        write(folder / "cold_start" / region / f"day_{day:02d}.csv", COLD_HEADER, [cold_row(i, day) for i in range(rows)])
    return folder / "cold_start"


def write_requests(folder: Path, region: str = "R1", rows: int = 500) -> Path:
    return write(folder / "per_request" / region / "part-00000.csv", REQUEST_HEADER, [request_row(i) for i in range(rows)])


def write_runtime(folder: Path) -> Path:
    kinds = (("Python3", "TIMER-A"), ("Java", "APIG-S TIMER-A"), ("http", "unknown"))
    rows = [
        f"{300 + f}---{40 + u}---{pool},100,{kinds[(f + u) % 3][0]},{kinds[(f + u) % 3][1]}"
        for f in range(7)
        for u in range(3)
        for pool in POOLS
    ]
    return write(folder / "runtime_triggerType" / "df_funcID_runtime_triggerType.csv", RUNTIME_HEADER, rows)


def write_minute(folder: Path, region: str = "R1", metric: str = "requests", days: int = 31) -> Path:
    header = "day,time," + ",".join(f"{300 + i}---40---{POOLS[i % 4]}" for i in range(5))
    for day in range(days):
        rows = [f"{day},{86400 * day + 60 * m},1.0,,{m % 3 or ''},," for m in range(0, 1440, 60)]
        write(folder / "quantiles" / region / metric / f"day_{day:02d}.csv", header, rows)
    return folder / "quantiles"
