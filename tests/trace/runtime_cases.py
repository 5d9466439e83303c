"""What the tests of the runtime and trigger table share: the published counts, and a table written and read."""

from __future__ import annotations

from rewarm.trace import runtime_trigger as rt
from rewarm.trace.source import discover

HEADER = "funcID,cpu_request,runtime,triggerType-invocationType\n"


# The published number of functions by triggerType-invocationType (2,418 in all).
PUBLISHED_TRIGGERS = {
    "TIMER-A": 1018,
    "APIG-S": 551,
    "APIG-S TIMER-A": 312,
    "unknown-S": 123,
    "unknown": 74,
    "unknown-unknown": 68,
    "unknown-A unknown-S": 60,
    "OBS-A": 60,
    "workflow-S": 54,
    "unknown-A": 19,
    "APIG-S TIMER-A workflow-S": 16,
    "LTS-A": 14,
    "CTS-A": 10,
    "APIG-A": 9,
    "SMN-A": 8,
    "KAFKA-S": 3,
    "DIS-A": 3,
    "SMN-A TIMER-A": 3,
    "APIG-A APIG-S": 2,
    "DIS-A OBS-A SMN-A TIMER-A": 2,
    "TIMER-A workflow-S": 2,
    "APIG-A OBS-A": 1,
    "APIG-S OBS-A": 1,
    "APIG-S workflow-S": 1,
    "DIS-A SMN-A": 1,
    "DIS-A SMN-A TIMER-A": 1,
    "DIS-A workflow-S": 1,
    "OBS-A TIMER-A": 1,
}


PUBLISHED_RUNTIMES = {
    "Python3": 1493,
    "Java": 450,
    "Node.js": 159,
    "Python2": 93,
    "http": 72,
    "Custom": 57,
    "PHP7.3": 38,
    "unknown": 31,
    "Go1.x": 21,
    "C#": 4,
}


def write(folder, text, name="df_funcID_runtime_triggerType.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path, region=None, **options):
    return rt.read_functions(discover(path, table="runtime", region=region).sources, **options)
