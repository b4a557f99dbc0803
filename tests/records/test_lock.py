"""One writer at a time; a lock ends with its process, however the process ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.records.run_folder import WriterLock
from palimpsest.records.store import AnswerStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


HOLD = """
import sys, time
from pathlib import Path
from palimpsest.records.store import AnswerStore
store = AnswerStore(Path(sys.argv[1]))
print("holding", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        yield process
        process.kill()


@pytest.mark.slow
def test_a_second_process_is_told_who_is_writing(path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(UserError) as caught:
        AnswerStore(path)
    assert f"'{path.parent}' is in use by another palimpsest process" in caught.value.message
    assert f"(process {holder.pid} on " in caught.value.message
    assert "--out" in str(caught.value.hint)


def test_reading_is_possible_while_another_process_writes(
    path: Path, holder: subprocess.Popen[str]
) -> None:
    with AnswerStore(path, read_only=True) as store:
        assert len(store) == 0


def test_a_killed_process_leaves_no_lock_behind(path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with AnswerStore(path, read_only=True) as store:
        assert len(store) == 0
    AnswerStore(path).close()


@pytest.mark.slow
def test_the_lock_holds_within_one_process_too_and_ends_with_close(path: Path) -> None:
    with AnswerStore(path), pytest.raises(UserError, match="in use"):
        AnswerStore(path)
    AnswerStore(path).close()


def test_a_forked_child_that_outlives_its_parent_does_not_keep_the_lock(path: Path) -> None:
    script = HOLD.replace("time.sleep(60)", "import os\nif os.fork(): os._exit(0)\ntime.sleep(5)")
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        parent.wait()
        with AnswerStore(path) as store:
            assert len(store) == 0


@pytest.mark.slow
def test_a_lock_may_be_released_twice(path: Path) -> None:
    lock = WriterLock(path)
    lock.release()
    lock.release()
    again = WriterLock(path)
    with pytest.raises(UserError, match="in use"):
        WriterLock(path)
    again.release()
