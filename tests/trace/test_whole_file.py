"""Files are whole or absent; what a killed process left is removed by the next one that writes the same target."""

import os
import signal
import stat
import subprocess
import sys
import threading

import pytest

from rewarm.trace.whole_file import whole_file

HOLD = (
    "import sys, time\n"
    "from pathlib import Path\n"
    "from rewarm.trace.whole_file import whole_file\n"
    "with whole_file(Path(sys.argv[1])) as path:\n"
    "    path.write_text('half')\n"
    "    print(path, flush=True)\n"
    "    sys.stdin.read()\n"
)


def hidden(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


@pytest.fixture
def holder(tmp_path):
    """Another process in the middle of writing the target."""
    target = tmp_path / "x.agg"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().startswith(f"{tmp_path}/.x.agg.")
    yield target, process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_the_next_run_removes_what_a_killed_one_left(holder):
    target, process = holder
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(hidden(target.parent)) == 1 and not target.exists()
    (target.parent / ".other.agg.01234567.part").write_text("another target's")
    (target.parent / ".x.agg.notes").write_text("the user's own")
    with whole_file(target) as path:
        path.write_text("whole")
    assert hidden(target.parent) == [".other.agg.01234567.part", ".x.agg.notes"]
    assert target.read_text() == "whole"


def test_one_that_lives_is_left_alone(holder):
    target, process = holder
    with whole_file(target) as path:
        path.write_text("mine")
        assert len(hidden(target.parent)) == 2
    assert target.read_text() == "mine"
    process.stdin.close()
    assert process.wait(30) == 0
    assert target.read_text() == "half"
    assert hidden(target.parent) == []


def test_an_error_and_ctrl_c_keep_the_old_file(tmp_path):
    target = tmp_path / "x.json"
    target.write_text("old")
    for interruption in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(interruption), whole_file(target) as path:
            path.write_text("half")
            raise interruption
        assert target.read_text() == "old" and hidden(tmp_path) == []
    with whole_file(target) as path:
        path.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new" and hidden(tmp_path) == []


def test_others_may_read_it_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        with whole_file(tmp_path / "x") as path:
            path.write_bytes(b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_a_missing_folder_is_named_as_it_was_given(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, whole_file(tmp_path / "missing" / "x.agg"):
        pass
    assert caught.value.filename == str(tmp_path / "missing" / "x.agg")


def test_many_writers_of_one_target(tmp_path):
    """Each clears up while others begin: nobody's file is taken away, and nothing stays."""
    target = tmp_path / "x"
    failures = []

    def write(n):
        try:
            for i in range(50):
                with whole_file(target) as path:
                    path.write_text(f"{n} {i}")
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert target.read_text().endswith(" 49") and hidden(tmp_path) == []
