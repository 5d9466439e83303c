"""Writes a trace of two regions and three functions, small enough to work numbers out by hand, in the layout of the release."""

import hashlib

COLD = (
    "day,time,clusterName,funcName,userID,requestID,totalCost_cold_start,podAllocationCost,deployCodeCost,deployDependencyCost,"
    "schedulingCost,podID"
)
REQUEST = (
    "time_worker,time_frontend,requestID,clusterName,funcName,podID,userID,totalCost_worker,workerCost,runtimeCost,"
    "totalCost_frontend,frontendCost,busCost,readBodyCost,writeRspCost,cpu_usage,memory_usage,requestBodySize"
)
FUNCTIONS = (
    ("400", "418", "pool22-300-128"),
    ("565", "486", "pool30-1800-2048"),
    ("1060", "777", "custom.image.gpu-25800-32768"),
)
KINDS = (("100", "Python3", "TIMER-A"), ("1000", "http", "APIG-S TIMER-A"), ("12900", "Custom", "OBS-A"))
DAYS = (0, 1, 2, 10, 11, 30)
PER_DAY = 12


def ident(*parts):
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def cold_row(region, day, i):
    """The i-th cold start of a day: every two hours, the functions in turn; the total is 1, 2, … PER_DAY seconds."""
    name, user, pool = FUNCTIONS[i % 3]
    total, alloc, code = i + 1.0, (0.0002, 0.012, 10.2)[i % 3] / 20, 0.001 * (i + 1)
    dep = 0.0 if i % 2 else 0.25
    sched = round(total - alloc - code - dep, 9)
    serial = f"{day * 1000 + i:010d}"
    time = day * 86400 + i * 7200 + 0.125
    costs = f"{total:.6f},{alloc:.9f},{code:.3f},{dep:.3f},{sched:.9f}"
    return f"{day},{time:.3f},1,{name},{user},{ident(region, day, i)},{costs},{pool}-{serial}"


def request_row(region, i, k):
    """The k-th of 3 requests of the pod of day 30's i-th cold start: 10 s apart, each 0.5 s long; the last has no frontend."""
    name, user, pool = FUNCTIONS[i % 3]
    done = 30 * 86400 + i * 7200 + 1 + 10 * k + 0.5
    pod = f"{pool}-{30_000 + i:010d}"
    stamp, front, body = (f"{done + 0.002:.3f}", "0.51,0.004,0.005,2.5e-05,9.0E-6", "120.0") if k < 2 else ("", ",,,,", "")
    who = f"{ident(region, 'r', i, k)},1,{name},{pod},{user}"
    return f"{done:.3f},{stamp},{who},0.5,0.1,0.4,{front},0.25,33.5,{body}"


def write(root, *, regions=("R2", "R5"), tables=("cold_start", "request", "runtime", "minute"), days=DAYS):
    """Writes the tables below `root` and returns it as text."""
    base = root / "datasets" / "cold_start_dataset"
    for region in regions:
        if "cold_start" in tables:
            folder = base / "cold_start" / region
            folder.mkdir(parents=True)
            for day in days:
                rows = [cold_row(region, day, i) for i in range(PER_DAY)]
                (folder / f"day_{day:02d}.csv").write_text("\n".join([COLD, *rows, ""]))
        if "request" in tables:
            folder = base / "per_request" / region
            folder.mkdir(parents=True)
            rows = [request_row(region, i, k) for i in range(PER_DAY) for k in range(3)]
            (folder / "part-00000-x-c000.csv").write_text("\n".join([REQUEST, *rows, ""]))
        if "minute" in tables:
            for metric, values in (
                ("requests", "{n}.0"),
                ("num_pods", "{n}.0"),
                ("runtimeCost_avg", "0.{n}"),
                ("cpu_usage_avg", "0.{n}"),
            ):
                _minute(base / "quantiles" / region / metric, values, days)
    if "runtime" in tables:
        folder = base / "runtime_triggerType"
        folder.mkdir(parents=True)
        rows = [f"{'---'.join(f)},{','.join(k)}" for f, k in zip(FUNCTIONS, KINDS, strict=True)]
        (folder / "df_funcID_runtime_triggerType.csv").write_text(
            "\n".join(["funcID,cpu_request,runtime,triggerType-invocationType", *rows, ""])
        )
    return str(root)


def _minute(folder, values, days):
    """The first function has a value each minute, the second each hour, the third at midnight."""
    folder.mkdir(parents=True)
    header = ",".join(["day", "time", *("---".join(f) for f in FUNCTIONS)])
    for day in days:
        rows = []
        for minute in range(1440):
            n = 2 + (minute // 360) % 3
            cells = [
                values.format(n=n),
                values.format(n=1) if minute % 60 == 0 else "",
                values.format(n=5) if minute == 0 else "",
            ]
            rows.append(f"{day},{day * 86400 + minute * 60},{','.join(cells)}")
        (folder / f"day_{day:02d}.csv").write_text("\n".join([header, *rows, ""]))
