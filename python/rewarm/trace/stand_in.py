"""TEMPORARY: pyarrow.csv in the place of rewarm.trace.read and batches, until they are merged."""

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from rewarm.trace.source import discover


@contextlib.contextmanager
def batches(path, columns, *, table, region=None, metric=None, stat=None, time=None):
    found = discover(path, table=table, region=region, metric=metric, stat=stat)
    yield _rows(found, columns, table, time)


def _rows(found, columns, table, time):
    for source in found.sources:
        if table == "minute":
            t = pa.csv.read_csv(source.path)
            v = np.stack([t.column(i).to_numpy().astype(float) for i in range(2, t.num_columns)], 1)
            at, col = np.nonzero(~np.isnan(v))
            n = pa.DictionaryArray.from_arrays(pa.array(col.astype(np.int32)), pa.array(t.column_names[2:]))
            yield pa.record_batch({"funcID": n, "time": pa.array(t["time"].to_numpy()[at].astype(np.int32)), "value": pa.array(v[at, col])})
            continue
        t = pa.csv.read_csv(source.path)
        pod = np.array(t["podID"].to_pylist(), object)
        t = t.append_column("poolName", pa.array([p[:-11] for p in pod]).dictionary_encode())
        t = t.append_column("pod_serial", pa.array([int(p[-10:]) for p in pod]))
        if "day" in columns and "day" not in t.column_names:
            t = t.append_column("day", pc.cast(pc.floor(pc.divide(t["time_worker"], 86400)), pa.int16()))
        yield from t.select(columns).to_batches(max_chunksize=35000)


def read(path, columns, *, table):
    rows = []
    for s in discover(path, table=table).sources:
        t = pa.csv.read_csv(s.path)
        for a, b, c in zip(t["funcID"].to_pylist(), t["runtime"].to_pylist(), t["triggerType-invocationType"].to_pylist()):
            k = set(c.split(" "))
            g = "TIMER-A" if "TIMER-A" in k else c if c in ("APIG-S", "OBS-A", "workflow-S") else "unknown" if "unknown" in c else "other S"
            rows.append((s.region or "R2", a, b, g))
    return pa.table({n: [r[i] for r in rows] for i, n in enumerate(columns)})
