"""The Huawei Public Cloud Trace 2025: read, aggregate, report.

The paper: Joosen et al., "Serverless Cold Starts and Where to Find Them", EuroSys 2025.
"""

from rewarm.errors import TraceError
from rewarm.trace.aggregate import Aggregate, FileRange, aggregate
from rewarm.trace.check import check
from rewarm.trace.convert import convert
from rewarm.trace.reader import batches, read
from rewarm.trace.rejects import Reject, Rejects
from rewarm.trace.report import report
from rewarm.trace.schema import Field, Schema
from rewarm.trace.synthetic import generate
from rewarm.trace.table import Batch, Batches, Files, Table

__all__ = [
    "Aggregate",
    "Batch",
    "Batches",
    "Field",
    "FileRange",
    "Files",
    "Reject",
    "Rejects",
    "Schema",
    "Table",
    "TraceError",
    "aggregate",
    "batches",
    "check",
    "convert",
    "generate",
    "read",
    "report",
]
