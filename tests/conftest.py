"""Shared by all tests: Triton's interpreter where there is no GPU, fixed seeds, poisoned memory, and the gpu marker."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# Timing never gates a test: a busy machine makes any example slow. In CI the examples are the same in every run.
settings.register_profile(
    "rewarm", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ, print_blob=True
)
settings.load_profile("rewarm")


# A job in the background of a shell ignores Ctrl-C, and so would the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


# Triton reads this when a kernel is defined, so it must stand before any test module is imported.
if not _has_gpu():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_modifyitems(items):
    if _has_gpu():
        return
    reason = pytest.mark.skip(reason="needs a CUDA GPU, torch sees none")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(reason)


@pytest.fixture(autouse=True)
def fixed_seed_and_one_thread():
    """One torch thread unless a test asks for more: torch's own fused step slows down manyfold on a busy machine."""
    import torch

    torch.manual_seed(20231108)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def poisoned_memory():
    """Fills what torch.empty returns with NaN, so that an unwritten output cannot pass by luck."""
    import torch

    before = torch.utils.deterministic.fill_uninitialized_memory, torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(before[1])
    torch.utils.deterministic.fill_uninitialized_memory = before[0]
