"""What WSRL must show on the maze, over 16 seeds: minutes, so only with "pytest -m learning -s", which prints the numbers.

The dip after warm-up and the sign test of the downward spiral are printed and never asserted: the paper promises neither.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "wsrl_maze.py"
NEEDED = ("torch", "gymnasium", "tqdm", "matplotlib", "scipy")
MISSING = [name for name in NEEDED if not importlib.util.find_spec(name)]

pytestmark = [
    pytest.mark.learning,
    pytest.mark.skipif(bool(MISSING), reason=f"the example needs {', '.join(MISSING)}: rewarm[rl,examples]"),
]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory) -> dict:
    """Of one run of the example as it comes, seeds 0 to 15: verdicts by name."""
    out = tmp_path_factory.mktemp("wsrl")
    process = subprocess.run([sys.executable, str(PROGRAM), f"--out={out}"], capture_output=True, text=True, timeout=1800)
    assert process.returncode == 0, process.stdout + process.stderr
    print("\n" + process.stdout)
    results = json.loads((out / "wsrl_maze.json").read_text())
    assert results["arguments"]["seeds"] == 16 and not results["arguments"]["quick"]
    return {item["name"]: item for item in results["verdicts"]}


def test_wsrl_is_above_scratch(verdicts):
    """Area under the return, one-sided Mann-Whitney over seeds."""
    found = verdicts["wsrl_above_scratch"]
    assert found["p"] < 0.01, found["text"]


def test_wsrl_is_not_worse_than_rlpd(verdicts):
    """That it is worse is not accepted at .05; the effect size is part of the text."""
    found = verdicts["wsrl_not_worse_than_rlpd"]
    assert found["p"] >= 0.05, found["text"]


def test_wsrl_is_back_within_a_thousand_steps(verdicts):
    """After its lowest evaluation a seed is again at or above its start: 14 of 16, and not because it started at the floor."""
    found = verdicts["wsrl_recovers"]
    assert found["recovered"] >= 14, found["text"]
    assert found["recovered"] - found["started_at_the_floor"] >= 8, found["text"]
