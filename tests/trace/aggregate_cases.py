"""Rows for the aggregation tests and their way into the sink of a scan."""

from __future__ import annotations

import numpy as np

from rewarm._native import core


class Feeder:
    """A sink over rows (key tuple, value tuple); a dictionary of words is kept for each key of text, as one stream does."""

    def __init__(self, keys, n_values, *, histograms=True, workers=1, text="{}", max_groups=10_000_000, rows_a_partial=1 << 31):
        self.keys, self.n_values, self.workers = keys, n_values, workers
        self.words = [[] for _ in keys]
        self.sink = core.TraceColumnSink(
            keys=keys,
            values=[f"v{i}" for i in range(n_values)],
            histograms=histograms,
            max_groups=max_groups,
            text=text,
            workers=workers,
            rows_a_partial=rows_a_partial,
        )

    def feed(self, rows, worker=0):
        columns = []
        for k, (_, kind) in enumerate(self.keys):
            parts = [key[k] for key, _ in rows]
            nulls = np.array([part is None for part in parts], dtype=bool)
            if kind == "dictionary":
                for part in parts:
                    if part is not None and part not in self.words[k]:
                        self.words[k].append(part)
                codes = np.array([-7 if part is None else self.words[k].index(part) for part in parts], dtype=np.int32)
                columns.append((codes, nulls, list(self.words[k])))
            else:
                numbers = np.array([-7 if part is None else part for part in parts], dtype=kind)
                columns.append((numbers, nulls if nulls.any() else None))
        for v in range(self.n_values):
            parts = [values[v] for _, values in rows]
            nulls = np.array([part is None for part in parts], dtype=bool)
            numbers = np.array([np.inf if part is None else part for part in parts], dtype=np.float64)
            columns.append((numbers, nulls if nulls.any() else None))
        self.sink.feed(worker, len(rows), columns)

    def finish(self, threads=1):
        assert self.sink.too_large() is None
        return self.sink.finish(threads)


def scan(rows, keys, n_values, *, batch=1000, workers=1, **options):
    """All rows through one sink, batches dealt out to the workers in turn."""
    feeder = Feeder(keys, n_values, workers=workers, **options)
    for i, begin in enumerate(range(0, len(rows), batch)):
        feeder.feed(rows[begin : begin + batch], i % workers)
    return feeder.finish(workers)


def columns(aggregate, quantiles=()):
    """{name: list with None for null} of an aggregate's table."""
    found = {}
    for name, values, nulls, words in aggregate.columns(quantiles=list(quantiles), threads=1):
        plain = values.tolist()
        if nulls is not None:
            plain = [None if null else x for x, null in zip(plain, nulls.tolist(), strict=True)]
        if words is not None:
            plain = [None if x is None else words[x] for x in plain]
        found[name] = plain
    return found


KEYS = [("region", "dictionary"), ("hour_of_day", "int8"), ("clusterName", "int16"), ("funcName", "int32")]


def random_rows(n, seed, *, spread=6, holes=0.1):
    """Rows over all kinds of keys and values of all sizes, with nulls, zeros of both signs, negative numbers and whole ones."""
    r = np.random.default_rng(seed)

    def hole(x):
        return None if r.random() < holes else x

    def number():
        kind = r.integers(6)
        if kind == 0:
            return float(r.choice([0.0, -0.0]))
        if kind == 1:
            return float(r.integers(-1000, 1000))
        return float(np.ldexp(r.uniform(-1, 2), int(r.integers(-70, 61))))

    return [
        (
            (
                hole(str(r.choice(["R1", "R2", "R10", "Ré"]))),
                hole(int(r.integers(-spread, spread))),
                hole(int(r.choice([-32768, 0, 32767]))),
                hole(int(r.choice([-(2**31), 7, 2**31 - 1]))),
            ),
            (hole(number()), hole(number())),
        )
        for _ in range(n)
    ]
