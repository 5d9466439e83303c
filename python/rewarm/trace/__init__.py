"""The Huawei Public Cloud Trace 2025: read, aggregate, report (Joosen et al., "Serverless Cold Starts and Where to Find Them",
EuroSys 2025).
"""

from rewarm.errors import TraceError
from rewarm.trace.rejects import Reject, Rejects
from rewarm.trace.report import report
from rewarm.trace.schema import Field, Schema
from rewarm.trace.table import Batch, Batches, Files, Table, batches, read

__all__ = [
    "Batch",
    "Batches",
    "Field",
    "Files",
    "Reject",
    "Rejects",
    "Schema",
    "Table",
    "TraceError",
    "batches",
    "read",
    "report",
]
