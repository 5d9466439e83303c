"""The request table, read by the slow and obvious way; `cold_start_reference` says how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewarm.trace import cold_start_reference, csv_reference
from rewarm.trace.cold_start_reference import INT16, INT32, INT64

#: The published columns in their order, and what their fields hold. Half a row may be empty: the front end logged nothing.
PUBLISHED = {
    "time_worker": csv_reference.float64,
    "time_frontend": csv_reference.float64,
    "requestID": csv_reference.utf8,
    "clusterName": INT16,
    "funcName": INT32,
    "podID": csv_reference.utf8,
    "userID": INT32,
    "totalCost_worker": csv_reference.float64,
    "workerCost": csv_reference.float64,
    "runtimeCost": csv_reference.float64,
    "totalCost_frontend": csv_reference.float64,
    "frontendCost": csv_reference.float64,
    "busCost": csv_reference.float64,
    "readBodyCost": csv_reference.float64,
    "writeRspCost": csv_reference.float64,
    "cpu_usage": csv_reference.float64,
    "memory_usage": csv_reference.float64,
    "requestBodySize": INT64,
}


def read(data: bytes, columns: Sequence[str] | None = None, **options: Any) -> dict[str, list[Any]]:
    """As `cold_start_reference.read`; the time of a row is ``time_worker``."""
    return cold_start_reference.read(data, columns, published=PUBLISHED, time_column="time_worker", **options)
