"""The C++ core: schedules, the CPU optimizer step, Q-value ops, and the reader of the trace."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK_ELEMENTS: int
SEGMENTS_PER_SCHEDULE: int
MAX_SEGMENTS: int
MAX_KNOTS: int
ENTRY_COLUMNS: int
GROUP_CONFIG_WORDS: int
START_WORDS: int
FIRST_ORIGIN: int
SCHEDULED_VALUES: int
FIRST_GROUP_SCALAR: int
GROUP_SCALARS: int

def isa() -> str:
    """The instruction set in use: "baseline", "avx2" or "avx512"; REWARM_ISA may lower it."""

def best_isa() -> str:
    """The best instruction set that this build holds and this processor runs."""

def advise_huge_pages(address: int, bytes: int) -> None:
    """Asks for 2 MiB pages under memory that nobody has written yet; only advice."""

def schedule_value(segments: Any, knots: Any | None, step: int) -> float:
    """Value of packed 64-byte segments and 16-byte knots (any contiguous buffers; None without tables) at one counter."""

def schedule_values(segments: Any, knots: Any | None, steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values at many counters; releases the GIL."""

def watch_value(value: float, moments: int, counts: int, decay: float, deviations: float, after: int) -> None:
    """One more value of a statistic on the CPU; addresses of (mean, variance) and of (values seen, spikes, last verdict)."""

INFO: int

class EnsembleMlp:
    """Stacked MLPs of one shape on the CPU; see csrc/q/ensemble_mlp.h. Tensors: addresses, 4 a layer and the head's 2."""

    def __init__(
        self, widths: list[int], layer_norm: list[bool], outputs: int, eps: float, seeds: int, critics: int
    ) -> None: ...
    def kept_floats(self, rows: int, drawn: int) -> int:
        """Floats of the activations that forward may keep for backward."""
    def forward(
        self,
        tensors: list[int],
        x: int,
        x_seed_stride: int,
        x_critic_stride: int,
        actions: int,
        action_width: int,
        repeat: int,
        rows: int,
        index: int,
        drawn: int,
        kept: int,
        q: int,
        threads: int,
    ) -> None:
        """Q [seeds, drawn, rows, outputs]; kept 0: activations are not kept."""
    def backward(
        self,
        tensors: list[int],
        x: int,
        x_seed_stride: int,
        x_critic_stride: int,
        actions: int,
        action_width: int,
        repeat: int,
        rows: int,
        index: int,
        drawn: int,
        kept: int,
        dq: int,
        gradients: list[int] | None,
        dx: int,
        dx_begin: int,
        dx_end: int,
        threads: int,
    ) -> None:
        """Writes gradients of all parameters and dx [seeds, drawn, rows, dx_end - dx_begin] of input columns, if wanted."""
    def lowest(self, q: int, rows: int, q_min: int, critic: int) -> None:
        """The lowest of q [seeds, critics, rows] and whose it is: NaN wins, ties go to the lowest index."""
    def lowest_backward(
        self,
        tensors: list[int],
        x: int,
        x_seed_stride: int,
        x_critic_stride: int,
        actions: int,
        action_width: int,
        rows: int,
        critic: int,
        dq_min: int,
        dx: int,
        dx_begin: int,
        dx_end: int,
        threads: int,
    ) -> None:
        """Dx [seeds, rows, dx_end - dx_begin] through each row's critic alone."""

class AgentUpdate:
    """One learner's update as one chain on the CPU; see csrc/rl/update.h and rewarm/rl/update_cpu.py."""

    def __init__(
        self,
        critic_widths: list[int],
        critic_norm: list[bool],
        actor_widths: list[int],
        actor_norm: list[bool],
        actor_outputs: int,
        eps: float,
        seeds: int,
        critics: int,
        subset: int,
        replacement: bool,
        backup_actions: int,
        free_log_std: bool,
    ) -> None: ...
    def set_agent(
        self,
        actor: list[int],
        actor_m: list[int],
        actor_v: list[int],
        critics: list[int],
        critics_m: list[int],
        critics_v: list[int],
        targets: list[int],
        log_std: list[int],
        alpha: list[int],
        lagrange: list[int],
    ) -> None:
        """Where the tensors are; of log_std, alpha, lagrange: parameter and its two moments, 0 = none."""
    def set_settings(
        self, gamma: float, tau: float, target_entropy: float, backup_entropy: bool, actor_mean: bool, wsrl_adam: bool
    ) -> None: ...
    def set_penalty(
        self,
        calibrated: bool,
        importance_sampling: bool,
        bound_random: bool,
        actions: int,
        learned: bool,
        weight: float,
        gap: float,
        temperature: float,
    ) -> None: ...
    def update(
        self,
        n: int,
        rows: list[int],
        draws: list[int],
        seeds: int,
        offsets: int,
        minibatches: int,
        rates: list[list[float]],
        taken: list[int],
        info: int,
        threads: int,
        replay: Replay | None,
    ) -> None:
        """One high-UTD update; rows empty: from the buffer; draws empty: at the offsets. info [INFO, S]."""
    def offline(
        self,
        n: int,
        rows: list[int],
        draws: list[int],
        seeds: int,
        offsets: int,
        rates: list[list[float]],
        taken: list[int],
        info: int,
        threads: int,
        replay: Replay | None,
    ) -> None:
        """One offline step likewise."""

class AdamWPlan:
    """One optimizer's parameters, state and groups as native tables; see csrc/bindings/bind_optim.cpp."""

    def __init__(
        self,
        tensor_type: type,
        params: list[Any],
        states: list[Any],
        groups: list[dict[str, Any]],
        entries: NDArray[np.int64],
        host_counters: int,
        host_rows: int,
    ) -> None: ...
    @property
    def hold(self) -> bool:
        """Every scheduled learning rate is overridden by 0.0: the counters stand still."""
    @property
    def all_present(self) -> bool:
        """Every planned parameter had a gradient at the last refresh."""
    @property
    def n_chunks(self) -> int: ...
    @property
    def gradients(self) -> NDArray[np.int64]:
        """Gradient addresses [n_tensors], 0 = none; a view that refresh() rewrites."""
    @property
    def configs(self) -> NDArray[np.int64]:
        """GroupConfig rows of csrc/optim/plan.h as words [n_groups, GROUP_CONFIG_WORDS]; a view that refresh() rewrites."""
    @property
    def chunks(self) -> NDArray[np.int64]:
        """Chunk rows [n_chunks, 2]: begin, then tensor (low half) and count (high half); a view."""
    def set_schedule(self, group: int, which: int, count: int, in_tokens: bool) -> None: ...
    def expect(self, group: int, which: int, value: object) -> None: ...
    def published(self, group: int, which: int) -> Any: ...
    def refresh(self, gradients: list[Any] | None) -> int: ...
    def publish(self) -> None: ...
    def zero_grad(self) -> None: ...
    def set_extras(
        self, zero_gradients: bool, observe: bool, annealing_decay: float, decay: float, deviations: float, after: int
    ) -> None:
        """What rides along with every step; see Watch in csrc/optim/plan.h."""
    def step_cpu(
        self,
        gradients: list[Any] | None,
        t: int,
        counters: int,
        scalars: int,
        max_grad_norm: float,
        skip_nonfinite: bool,
        tokens: int,
        stochastic_rounding: bool,
        seed: int,
        count_skipped_tokens: bool,
        loss_scale: float,
        threads: int,
        sum_of_squares: float | None,
    ) -> int: ...
    def sum_squares_cpu(self, classes: NDArray[np.int32], n_classes: int, threads: int) -> list[float]: ...

DRAW_WORDS: int
DRAW_UNIFORM: int
DRAW_NORMAL: int
NORMAL_ERROR: float

def philox(seeds: int, offsets: int, s: int, stream: int, kind: int, n: int, out: int) -> None:
    """Draws of csrc/q/draw.h by address: seeds and offsets [s] of 64 bits, out [s, n] of 32 bits."""

def draw_subset(seeds: int, offsets: int, s: int, stream: int, critics: int, subset: int, replacement: bool, out: int) -> None:
    """Indices of critics by address: seeds and offsets [s], out int64 [s, subset]."""

def td_target(
    seeds: int,
    critics: int,
    batch: int,
    samples: int,
    reward: int,
    terminated: int,
    q_next: int,
    log_prob: int,
    alpha: int,
    alpha_stride: int,
    gamma: float,
    y: int,
) -> None:
    """Targets by address, see csrc/q/td_target.h; 0 stands for a tensor that is not given, here and below."""

def cql_penalty(
    seeds: int,
    critics: int,
    batch: int,
    samples: int,
    q_sampled: int,
    q_data: int,
    log_density: int,
    mc_return: int,
    first_bounded: int,
    temperature: float,
    diff: int,
) -> None:
    """The conservative penalty by address, see csrc/q/cql_penalty.h."""

def cql_penalty_backward(
    seeds: int,
    critics: int,
    batch: int,
    samples: int,
    q_sampled: int,
    q_data: int,
    log_density: int,
    mc_return: int,
    first_bounded: int,
    temperature: float,
    g: int,
    of_sampled: int,
    of_data: int,
) -> None: ...
def expectile_loss(q: int, v: int, expectile: float, s: int, n: int, mean: bool, loss: int) -> None:
    """IQL's value loss of q and v [s, n] by address, see csrc/q/expectile_loss.h."""

def expectile_loss_backward(q: int, v: int, expectile: float, s: int, n: int, g: int, mean: bool, of_q: int) -> None: ...
def awr_weight(q: int, v: int, beta: float, max_weight: float, n: int, weight: int) -> None:
    """Weights of n advantages by address, see csrc/q/awr_weight.h."""

def tanh_gaussian(
    seeds: int,
    batch: int,
    samples: int,
    actions: int,
    mean: int,
    log_std: int,
    shared_std: bool,
    noise: int,
    std_min: float,
    std_max: float,
    squash: bool,
    action: int,
    log_prob: int,
) -> None:
    """Actions of a policy by address, see csrc/q/tanh_gaussian.h."""

def tanh_gaussian_backward(
    seeds: int,
    batch: int,
    samples: int,
    actions: int,
    mean: int,
    log_std: int,
    shared_std: bool,
    noise: int,
    std_min: float,
    std_max: float,
    squash: bool,
    of_action: int,
    of_log_prob: int,
    of_mean: int,
    of_log_std: int,
) -> None: ...
def gaussian_log_prob(
    seeds: int,
    batch: int,
    actions: int,
    action: int,
    mean: int,
    log_std: int,
    shared_std: bool,
    std_min: float,
    std_max: float,
    log_prob: int,
) -> None: ...
def gaussian_log_prob_backward(
    seeds: int,
    batch: int,
    actions: int,
    action: int,
    mean: int,
    log_std: int,
    shared_std: bool,
    std_min: float,
    std_max: float,
    of_log_prob: int,
    of_mean: int,
    of_log_std: int,
) -> None: ...
def trace_kernel_level() -> str:
    """The trace's kernels in use: "portable", "avx2" or "avx512" (which needs VBMI2); REWARM_ISA may lower it."""

def trace_kernel_levels() -> list[str]:
    """The levels that this build holds and this processor runs; also "avx512_emulated" in a build with REWARM_SIMDE."""

def trace_kernel_find(level: str, text: bytes, shift: int = 0, around: str = "") -> tuple[NDArray[np.uint16], int, bool, bool]:
    """For tests: delimiter positions, lines, whether a quote and whether a carriage return was seen."""

def trace_kernel_is_grid(level: str, text: bytes, rows: int, columns: int) -> bool:
    """For tests: whether the text is rows lines of columns fields."""

def trace_kernel_column(
    level: str,
    kind: str,
    text: bytes,
    columns: int = 1,
    column: int = 0,
    trim: int = 0,
    shift: int = 0,
    around: str = "",
    sub_block: int = 32768,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """For tests: one column of a rectangular text, as bytes [rows, width], and which rows the kernel left to the law."""

def trace_kernel_law(kind: str, text: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """For tests: what number.h says of every line, as bytes [rows, width] and csrc/trace/number.h's Parsed."""

def trace_kernel_is_null(field: bytes) -> bool:
    """For tests: whether a field means no value in every column."""

def format_rows(
    columns: list[tuple[Any, ...]],
    rows: int,
    quoted: bool = False,
    crlf: bool = False,
    first_index: int = -1,
    missing: str = "",
) -> bytes:
    """Lines of a CSV file; releases the GIL while it formats.

    Args:
        columns: (spelling, missing, values, ...) each, missing None or bool [rows]: ("integer", m, int64), ("decimal" | "java"
            | "python", m, int64, scale, min_decimals), ("float64", m, float64), ("hex", m, uint8 [rows, width]), ("word", m,
            int32 codes, words), ("pod", m, int32 codes, words, int64 serials).
        rows: Lines.
        quoted: Quotes around every value.
        crlf: Lines end in CRLF.
        first_index: Of a leading index column; -1 = none.
        missing: What stands for a missing value.
    """

def format_minutes(
    day: int,
    first_time: int,
    functions: int,
    begins: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float64],
    crlf: bool = False,
) -> bytes:
    """Lines of a minute table from sparse rows: begins [minutes + 1] into indices and values; empty where no entry stands."""

MOST_REJECTS: int

class TraceFunctions:
    """Runtime tables as other tables join them, from rows (region, funcID, runtime, trigger group); see function_table.h."""

    def __init__(self, rows: Sequence[tuple[str | None, str, str | None, str | None]]) -> None: ...
    def add_plain(
        self,
        region: str | None,
        text: bytes,
        begin: int,
        header: list[str],
        word_of: Callable[[str, str], tuple[bool, str | None]],
    ) -> bool:
        """Adds the rows behind text's header; False where one is odd: then this table is of no use.

        word_of(column, text) says whether a field is accepted and what it stands for, once for each different text.
        """
    def rows(self) -> list[tuple[str | None, str, str | None, str | None]]:
        """Region, funcID, runtime, trigger group of every function."""
    def fingerprint(self) -> str:
        """32 hexadecimal digits, equal for tables that say the same."""

class TraceOptions:
    """What the trace reader shall do; made by rewarm.trace.options.read_options, which checks the arguments."""

    def __init__(
        self,
        *,
        table: str,
        columns: list[str],
        text_ids: bool,
        ignore_unknown: bool,
        on_error: str,
        threads: int,
        block_bytes: int,
        unit_bytes: int,
        id_bytes: int,
        time_begin: float | None,
        time_end: float | None,
        clusters: list[int],
        functions: list[str],
        runtime: TraceFunctions | None,
        regions: list[str],
    ) -> None:
        """Columns: empty = default. id_bytes: 0 = as the first row. clusters, functions: empty = all. Times in seconds.

        block_bytes: text of a batch. unit_bytes: text that a thread takes at once, in whole batches; 0 = one.
        """

class TraceBatch:
    """Some rows, as Arrow lays them out."""

    @property
    def num_rows(self) -> int: ...
    @property
    def fields(self) -> list[tuple[str, str, str]]:
        """Name, type and unit of every column."""
    @property
    def file(self) -> int:
        """Index of the file that the rows come from."""
    def column(self, index: int) -> Any:
        """A copy: an array; (codes, words) of a dictionary, -1 for null; a list of str and None."""
    def schema_capsule(self) -> Any: ...
    def array_capsule(self) -> Any: ...
    def stream_capsule(self) -> Any: ...

class TraceTable:
    """All rows of a read."""

    @property
    def num_rows(self) -> int: ...
    @property
    def num_batches(self) -> int: ...
    @property
    def fields(self) -> list[tuple[str, str, str]]:
        """Name, type and unit of every column."""
    def column(self, index: int) -> Any:
        """As `TraceBatch.column`."""
    def schema_capsule(self) -> Any: ...
    def array_capsule(self) -> Any:
        """Of a table of one batch."""
    def stream_capsule(self) -> Any: ...

class TraceReader:
    """Reads files of the cold-start or request table; sources are rewarm.trace.source.Source."""

    def __init__(self, sources: Any, options: TraceOptions, recycle: bool, version: str) -> None: ...
    @property
    def fields(self) -> list[tuple[str, str, str]]:
        """Name, type and unit of every column."""
    def next(self) -> TraceBatch | None:
        """The next batch in row order; releases the GIL while it waits."""
    def read_all(self, progress: Any) -> TraceTable:
        """The remaining rows; calls progress(bytes, rows) while it waits."""
    def stop(self) -> None:
        """Ends the workers."""
    def counters(self) -> tuple[int, int, int]:
        """Bytes, rows and files read so far."""
    def rejects(self) -> tuple[int, list[tuple[int, int, int, str | None, str, str, str]]]:
        """How many in what was delivered, and the first ones: file index, line, byte, column, text, expected, action."""
    def raise_failure(self) -> None:
        """Raises the error that ended the stream of `stream_capsule`, if there was one."""
    def schema_capsule(self) -> Any: ...
    def stream_capsule(self) -> Any: ...

class TraceAggregate:
    """Groups in the order of their keys; see csrc/trace/aggregate.h."""

    @property
    def groups(self) -> int: ...
    @property
    def total_rows(self) -> int: ...
    @property
    def text(self) -> str:
        """The question, as the caller wrote it."""
    @property
    def rejected(self) -> int: ...
    @property
    def files(self) -> list[tuple[str | None, str, int, int]]:
        """(region, name, begin, end); end = -1: all of a compressed file."""
    @property
    def rejects(self) -> list[tuple[str, int, int, str | None, str, str, str]]:
        """The first ones: file, line, byte, column, text, expected, action."""
    def set_files(
        self,
        files: list[tuple[str | None, str, int, int]],
        rejected: int,
        rejects: list[tuple[str | None, str, int, int, str | None, str, str, str]] = ...,
    ) -> None:
        """For tests; a reject begins with its region."""
    def to_bytes(self) -> bytes: ...
    @staticmethod
    def from_bytes(data: bytes) -> TraceAggregate: ...
    @staticmethod
    def merge(aggregates: list[TraceAggregate], threads: int) -> TraceAggregate: ...
    def columns(
        self, quantiles: list[tuple[str, float]], threads: int
    ) -> list[tuple[str, NDArray[Any], NDArray[np.bool_] | None, list[str] | None]]:
        """(name, values, nulls or None, words or None) of every column."""
    def fields(self, quantiles: list[tuple[str, float]]) -> list[tuple[str, str, str]]:
        """(name, Arrow type, unit) of every column."""
    def arrow_schema(self, table: str, version: str, quantiles: list[tuple[str, float]]) -> Any: ...
    def arrow_stream(self, table: str, version: str, quantiles: list[tuple[str, float]], threads: int) -> Any: ...
    def quantile(self, value: int, q: float) -> NDArray[np.float64]:
        """One number a group; NaN where it holds no value."""
    def bins(self, group: int, value: int) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """Codes and counts of the bins that are not empty."""
    def exact_sum(self, group: int, value: int) -> int:
        """As a whole number of 2**-60."""

class TraceColumnSink:
    """The sink of a scan, fed with columns in memory: keys first, then values.

    A column is an array, (array, nulls or None), or (codes, nulls or None, words).
    """

    def __init__(
        self,
        keys: list[tuple[str, str]],
        values: list[str],
        histograms: bool,
        max_groups: int,
        text: str,
        workers: int,
        rows_a_partial: int = ...,
    ) -> None: ...
    def feed(self, worker: int, rows: int, columns: list[Any]) -> None: ...
    def too_large(self) -> tuple[int, int, float] | None:
        """(row in its batch, value column, number) of the first value that cannot be added exactly."""
    def finish(self, threads: int) -> TraceAggregate: ...

def trace_scan(
    sources: Any,
    options: Any,
    by: list[str],
    values: list[str],
    histograms: bool,
    max_groups: int,
    text: str,
    progress: Any,
) -> TraceAggregate:
    """Reads files and adds them up."""

def trace_scan_minutes(
    reader: TraceMinuteReader,
    by: list[str],
    values: list[str],
    histograms: bool,
    max_groups: int,
    text: str,
    runtime: TraceFunctions | None,
    workers: int,
    progress: Any,
) -> TraceAggregate:
    """Adds up what is left in a reader. runtime: for the keys runtime and trigger_group."""

def trace_bin_of(x: float) -> int:
    """The bin of a number; see csrc/trace/histogram.h."""

def trace_bin_midpoint(code: int) -> float:
    """The middle of a bin."""

class TraceMinuteReader:
    """Reads files of the minute table; the face of `TraceReader`. Made by rewarm.trace.minute.minute_reader."""

    def __init__(
        self,
        *,
        sources: Any,
        columns: list[str],
        regions: list[str],
        functions: list[str],
        time_begin: float | None,
        time_end: float | None,
        on_error: str,
        ignore_unknown: bool,
        threads: int,
        block_bytes: int,
        version: str,
    ) -> None:
        """functions: those to keep, empty = all. Times in seconds, half open. block_bytes: of text a batch."""
    @property
    def fields(self) -> list[tuple[str, str, str]]:
        """Name, type and unit of every column."""
    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
    @property
    def functions(self) -> list[str]:
        """Functions that a file has a column for, kept ones only, in the order of their first appearance."""
    def next(self) -> TraceBatch | None:
        """The next batch in row order; reads a few files at a time, without the GIL."""
    def read_all(self, progress: Any) -> TraceTable:
        """The remaining rows; calls progress(bytes, rows) while it waits."""
    def stop(self) -> None:
        """There is no next batch then."""
    def counters(self) -> tuple[int, int, int]:
        """Decoded bytes, rows and files read so far."""
    def rejects(self) -> tuple[int, list[tuple[int, int, int, str | None, str, str, str]]]:
        """As `TraceReader.rejects`, of the files read so far."""
    def raise_failure(self) -> None:
        """As `TraceReader.raise_failure`."""
    def schema_capsule(self) -> Any: ...
    def stream_capsule(self) -> Any: ...

def trace_minute_isa() -> str:
    """The level of the minute tables' scan: "portable" or "avx2"; REWARM_ISA may lower it."""

def trace_table_of_lists(
    table: str, columns: list[tuple[str, str, str, list[Any]]], version: str, assumed_region: str
) -> TraceTable:
    """A table of one batch. A column is name, type (int32, utf8, list<utf8> or dictionary), unit and values, None for null."""

MAX_REPLAY_CAPACITY: int

def replay_record(obs_dim: int, act_dim: int) -> dict[str, int]:
    """Offset in bytes of each field of a replay record (csrc/rl/replay.h), and ``bytes`` of the whole."""

class Replay:
    """A ring of transitions over memory that Python owns; see csrc/rl/replay.h. Arrays are addresses, 0 for none."""

    def __init__(
        self,
        capacity: int,
        obs_dim: int,
        act_dim: int,
        seeds: Sequence[int],
        shared: bool,
        mc_returns: bool,
        gamma: float,
        sparse_negative_reward: float | None,
        storage: int,
        state: int,
        owner: Any,
    ) -> None: ...
    def add(
        self,
        obs: int,
        action: int,
        reward: int,
        next_obs: int,
        terminated: int,
        truncated: int,
        valid: int,
        n: int,
        environments: bool,
    ) -> None:
        """Rows [blocks, n, ...]; all or none."""
    def sample(
        self,
        offsets: int,
        first: int,
        n: int,
        obs: int,
        action: int,
        reward: int,
        next_obs: int,
        terminated: int,
        mc_return: int,
        truncated: int,
    ) -> None:
        """Writes [S, n, ...] drawn rows; offsets int64 [S]."""
    def gather(
        self,
        index: int,
        n: int,
        obs: int,
        action: int,
        reward: int,
        next_obs: int,
        terminated: int,
        mc_return: int,
        truncated: int,
    ) -> None:
        """Writes the rows at places index int64 [S, n]."""
    def set_rewards(self, scale: float, bias: float) -> None:
        """Rewards leave as scale * r + bias; makes the returns anew."""
    def smallest_size(self) -> int:
        """Drawable rows of the least filled block."""
    def pending(self) -> list[tuple[int, int, int]]:
        """(block, environment, rows) of every episode that has not ended."""
    def copy_pending(self, records: int) -> None:
        """Writes their records, one after another."""
    def restore_pending(self, episodes: Sequence[tuple[int, int, int]], records: int) -> None:
        """Puts such episodes in place of those that are there."""
