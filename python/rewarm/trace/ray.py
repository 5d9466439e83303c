"""`aggregate` on a Ray cluster: ranges of at least 64 MB become tasks, and what they return is added up exactly.

Every node must see the files under the same paths. A worker that dies is replaced and its range read again, at most twice; a
range that cannot be read is not tried again, but the others are finished first, so that all bad ranges are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rewarm._native import core
from rewarm.errors import BackendUnavailable, InvalidArgument, TraceError
from rewarm.trace.aggregate_scan import scan
from rewarm.trace.aggregate_spec import Spec
from rewarm.trace.source import Source

#: Of files on disk, for a task: below that the start of a task and the way of its result show in the total.
RANGE_BYTES = 64_000_000

#: How often a range is read again because its worker died.
RETRIES = 2

#: How long to wait before looking for Ctrl-C again, in seconds.
_SLICE = 0.1


@dataclass(frozen=True)
class SourceRange(Source):
    """The rows of a source that start in a range of its bytes.

    Attributes:
        range_begin: First byte.
        range_end: Behind the last one.
    """

    range_begin: int = 0
    range_end: int = 2**63 - 1

    @property
    def whole(self) -> bool:
        """Whether it is all of the file."""
        return self.range_begin == 0 and self.range_end == 2**63 - 1

    def __str__(self) -> str:
        return self.name if self.whole else f"{self.name} bytes {self.range_begin} to {min(self.range_end, self.size)}"


def cut(sources: Sequence[Source], range_bytes: int) -> Iterator[list[SourceRange]]:
    """Tasks in row order: ranges of a large plain file, or whole files until they have `range_bytes`.

    Compressed files are read from front to back, so each stays whole; minute tables are a file a day and metric, small enough.
    """
    task: list[SourceRange] = []
    held = 0
    for source in sources:
        given = {field.name: getattr(source, field.name) for field in fields(Source)}
        pieces = max(source.size // range_bytes, 1) if source.compression is None and source.table != "minute" else 1
        for piece in range(pieces):
            begin = source.size * piece // pieces
            end = source.size * (piece + 1) // pieces if piece + 1 < pieces else 2**63 - 1
            task.append(SourceRange(**given, range_begin=begin, range_end=end))
            held += min(end, source.size) - begin
            if held >= range_bytes:
                yield task
                task, held = [], 0
    if task:
        yield task


def _work(task: list[SourceRange], spec: Spec, settings: dict[str, Any], max_groups: int) -> bytes:
    """What a worker does: one thread, because Ray counts a task as one processor."""
    data: bytes = scan(task, spec, settings, max_groups=max_groups, workers=1).to_bytes()
    return data


def scan_on_ray(
    sources: Sequence[Source],
    spec: Spec,
    settings: dict[str, Any],
    *,
    max_groups: int,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
    range_bytes: int = RANGE_BYTES,
) -> Any:
    """The native aggregate of the sources, the same bits as `scan` gives.

    Args:
        sources: Of `spec.table`.
        spec: The question.
        settings: Further arguments of `options.read_options`.
        max_groups: More groups than this are an error.
        workers: Tasks at a time; None: as many as the cluster has processors.
        progress: Called with the bytes and rows of finished tasks.
        range_bytes: The least size of a task.

    Raises:
        TraceError: The first place in row order that cannot be read, with all ranges that hold one, or whose worker died again
            and again.
        BackendUnavailable: Ray is not installed.
    """
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise InvalidArgument(f"workers: expected a whole number from 1, got {workers!r}")
    ray = _import_ray()
    own = not ray.is_initialized()
    if own:
        ray.init(include_dashboard=False, log_to_driver=False)
    try:
        return _run(ray, list(cut(sources, range_bytes)), spec, settings, max_groups, workers, progress)
    finally:
        if own:
            ray.shutdown()


def _import_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise BackendUnavailable(
            f'aggregate: engine="ray" needs Ray, which cannot be imported ({error}): pip install "rewarm[ray]", or use '
            'engine="threads"'
        ) from error
    return ray


def _run(
    ray: Any,
    tasks: list[list[SourceRange]],
    spec: Spec,
    settings: dict[str, Any],
    max_groups: int,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> Any:
    # retry_exceptions=False: what a file holds does not change by reading it again.
    remote = ray.remote(num_cpus=1, max_retries=RETRIES, retry_exceptions=False)(_work)
    shared = ray.put(settings)  # the runtime table, once
    at_once = workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)
    done: dict[int, Any] = {}
    failed: dict[int, BaseException] = {}
    running: dict[Any, int] = {}
    next_task = 0
    bytes_done = rows_done = 0
    try:
        while next_task < len(tasks) or running:
            while next_task < len(tasks) and len(running) < at_once:
                running[remote.remote(tasks[next_task], spec, shared, max_groups)] = next_task
                next_task += 1
            ready, _ = ray.wait(list(running), num_returns=1, timeout=_SLICE)
            for reference in ready:
                number = running.pop(reference)
                try:
                    done[number] = core.TraceAggregate.from_bytes(ray.get(reference))
                except ray.exceptions.RayTaskError as error:
                    if not isinstance(error.cause, TraceError):
                        raise error.cause from None
                    failed[number] = error.cause
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError) as error:
                    failed[number] = error
                else:
                    bytes_done += sum(min(r.range_end, r.size) - r.range_begin for r in tasks[number])
                    rows_done += done[number].total_rows
                    if progress is not None:
                        progress(bytes_done, rows_done)
    except BaseException:
        for reference in running:
            ray.cancel(reference, force=True)
        raise
    if failed:
        raise _failure(tasks, failed)
    return core.TraceAggregate.merge([done[number] for number in sorted(done)], 1)


def _failure(tasks: list[list[SourceRange]], failed: dict[int, BaseException]) -> TraceError:
    """The first error in row order, and the ranges of all."""
    lines = []
    for number in sorted(failed):
        task, error = tasks[number], failed[number]
        where = str(task[0]) if len(task) == 1 else f"{task[0]} to {task[-1]}"
        what = str(error) if isinstance(error, TraceError) else f"its worker died {RETRIES + 1} times"
        lines.append(f"{where}: {what}")
    first = failed[min(failed)]
    if not isinstance(first, TraceError):
        first = next((e for _, e in sorted(failed.items()) if isinstance(e, TraceError)), TraceError(""))
    place = {name: getattr(first, name) for name in ("file", "line", "byte", "column", "text", "expected")}
    if len(lines) == 1 and isinstance(failed[min(failed)], TraceError):
        return TraceError(str(first), **place)
    ranges = f"{len(lines)} of {len(tasks)} ranges" if len(lines) > 1 else f"1 of {len(tasks)} ranges"
    return TraceError(f"{ranges} could not be read:\n" + "\n".join(lines), **place)
