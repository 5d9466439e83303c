"""The grammar of the runtime and trigger table's fields: funcIDs, pools, lists of triggers and the paper's seven groups."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

from rewarm.errors import TraceError

#: Groups that one published value alone makes up.
_OWN_GROUP = ("APIG-S", "OBS-A", "workflow-S")
_UNKNOWN = (("unknown",), ("unknown-unknown",), ("unknown-A", "unknown-S"))
#: In the order of the paper's figures 8 and 14: by number of functions.
TRIGGER_GROUPS = ("TIMER-A", "APIG-S", "unknown", "other S", "other A", "OBS-A", "workflow-S")

_TRIGGER = re.compile(r"[^\s-]+-[SA]")
_INTEGER = re.compile(r"(-?[0-9]+)(\.0+)?")
_FUNCID = re.compile(r"([0-9]+)---([0-9]+)---(.+)")
#: From the right: a pool's label may hold hyphens and need not be "pool" and a number (custom.image.gpu-25800-32768).
_POOL = re.compile(r".+-([0-9]+)-([0-9]+)")
_INT32 = 2**31 - 1

_TRIGGERS_EXPECTED = 'space-separated triggers such as "APIG-S TIMER-A", each ending in -S or -A, or an unknown'
_FUNCID_EXPECTED = "funcName---userID---poolName"


class Pool(NamedTuple):
    """What a pool's name says of its pods' limits; None where it says nothing."""

    cpu_limit: int | None
    memory_limit: int | None


class FuncID(NamedTuple):
    """The parts of a funcID."""

    funcName: int
    userID: int
    poolName: str


@lru_cache(maxsize=4096)
def trigger_group(text: str) -> str:
    """The paper's group of a ``triggerType-invocationType`` value, which may name several triggers.

    Whatever holds TIMER-A is TIMER-A; APIG-S, OBS-A and workflow-S alone are groups of their own; so is unknown. Of the rest,
    what is synchronous only is "other S", what is asynchronous only "other A". The paper does not say where the five functions
    with triggers of both kinds go: mixed APIG alone in "other A" and the others in "other S" is one of two readings that give
    its counts.

    Raises:
        TraceError: The text is no list of triggers.
    """
    triggers = split_triggers(text)
    if triggers is None:
        raise TraceError(f"triggerType-invocationType: expected {_TRIGGERS_EXPECTED}, got {text!r}", text=text)
    if "TIMER-A" in triggers:
        return "TIMER-A"
    if len(triggers) == 1 and triggers[0] in _OWN_GROUP:
        return triggers[0]
    if tuple(sorted(triggers)) in _UNKNOWN:
        return "unknown"
    endings = {trigger[-1] for trigger in triggers}
    if len(endings) == 1:
        return f"other {endings.pop()}"
    return "other A" if all(trigger.startswith("APIG-") for trigger in triggers) else "other S"


def split_triggers(text: str) -> list[str] | None:
    """The triggers of a value, as written; None where it is no list of triggers."""
    triggers = text.split(" ")
    if tuple(sorted(triggers)) in _UNKNOWN or all(map(_TRIGGER.fullmatch, triggers)):
        return triggers
    return None


def _int32(digits: str) -> int | None:
    """A whole number of 32 bits; None where it is larger. Python refuses to look at more than 4,300 digits."""
    magnitude = digits.lstrip("-").lstrip("0")
    if len(magnitude) > 10:
        return None
    value = int(magnitude or "0") * (-1 if digits.startswith("-") else 1)
    return value if -_INT32 - 1 <= value <= _INT32 else None


def split_funcid(text: str) -> FuncID | None:
    """The parts of a funcID; None where it is none. Three hyphens part them, single ones belong to the pool's name."""
    match = _FUNCID.fullmatch(text)
    name, user = (_int32(match[1]), _int32(match[2])) if match else (None, None)
    if match is None or name is None or user is None:
        return None
    return FuncID(name, user, match[3])


def pool_limits(name: str) -> Pool:
    """Millicores and MB of a pool, the last two numbers of its name."""
    match = _POOL.fullmatch(name)
    cpu, memory = (_int32(match[1]), _int32(match[2])) if match else (None, None)
    return Pool(None, None) if cpu is None or memory is None else Pool(cpu, memory)


def parse_field(name: str, text: str) -> tuple[Any, str | None]:
    """The value of a field that is not null, and what would be accepted where it has none."""
    if name == "cpu_request":
        match = _INTEGER.fullmatch(text)
        value = _int32(match[1]) if match else None
        if value is None:
            return None, "a whole number of millicores"
        return value, None
    if name == "funcID" and split_funcid(text) is None:
        return None, _FUNCID_EXPECTED
    if name == "triggerType-invocationType" and split_triggers(text) is None:
        return None, _TRIGGERS_EXPECTED
    return text, None
