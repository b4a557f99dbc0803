"""A run that is killed at any moment continues, and ends as if nothing had happened.

This file is also the program that gets killed: ``python test_survives_kill.py FOLDER``.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from palimpsest.judging.evaluation import evaluate
from palimpsest.judging.via import parse_via
from palimpsest.lm.models.protocol import Generation
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.answers import AnswerRow
from palimpsest.records.run_folder import RunFolder
from palimpsest.records.store import AnswerStore

VIAS = ("identity", "leet", "pig-latin", "rot13", "fr", "leet-paper")
N_EXAMPLES = 25
PAUSE_SECONDS = 0.002


def _examples(language: str, question: str) -> Iterator[Example]:
    for i in range(N_EXAMPLES):
        yield Example(
            source_id=str(i),
            cell="repeat/math",
            language=language,
            prompt=f"{question} {i} plus {i}?",
            answers={"icl": (question.split()[0],), "instruction": (str(2 * i),)},
        )


SUITE = Suite(
    name="killed", examples=(*_examples("en", "What is"), *_examples("fr", "Combien font"))
)


class SlowModel(ScriptedModel):
    """Repeats the prompt, taking its time, and notes in a file what it was asked."""

    def __init__(self, log: Path) -> None:
        super().__init__(lambda prompt: f" {prompt}", fingerprint="slow")
        self.log = log

    def generate(
        self, prompts: Sequence[Prompt], **options: Any
    ) -> Iterator[tuple[int, Generation]]:
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for answer in super().generate(prompts, **options):
            time.sleep(PAUSE_SECONDS)
            os.write(log, b".")
            yield answer
        os.close(log)


def run(path: Path) -> list[AnswerRow]:
    """The program: one evaluation in a run folder."""
    vias = [parse_via(spec, SUITE) for spec in VIAS]
    folder = RunFolder.create(path)
    with AnswerStore(folder.answers) as store:
        folder.record({"vias": VIAS})
        return evaluate(SlowModel(path.with_suffix(".log")), SUITE, vias, store=store, role="base")


def start(path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    greeting = process.stdout.readline()
    assert greeting == b"ready\n", process.communicate()[1].decode()
    return process


def killed_after(path: Path, seconds: float, kill: signal.Signals) -> bool:
    """Start the program, kill it, and say whether it was still running then."""
    process = start(path)
    time.sleep(seconds)
    process.send_signal(kill)
    _, problems = process.communicate()
    assert process.returncode in (0, -kill), problems.decode()
    return process.returncode != 0


def stored(path: Path) -> list[AnswerRow]:
    with AnswerStore(path / "answers.sqlite", read_only=True) as store:
        rows = store.rows(model="slow", suite=SUITE.key)
    return sorted(row._replace(latency_seconds=0.0) for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_killed_at_random_moments_it_ends_with_the_rows_of_an_uninterrupted_run(
    tmp_path: Path, kill: signal.Signals
) -> None:
    draw = random.Random(1)
    path = tmp_path / "killed"
    n_kills = 0
    for _ in range(8):
        # Often within the first milliseconds, when the folder, the lock and the file are made.
        n_kills += killed_after(path, draw.choice([0.01, 0.05, 0.2]) * draw.random(), kill)
    process = start(path)
    _, problems = process.communicate()
    assert process.returncode == 0, problems.decode()

    fresh = tmp_path / "fresh"
    rows = run(fresh)
    assert n_kills >= 4
    assert len(rows) == N_EXAMPLES * len(VIAS)
    assert stored(path) == stored(fresh) == sorted(r._replace(latency_seconds=0.0) for r in rows)

    # Each kill cost at most the one answer that was being given.
    n_asked = len(path.with_suffix(".log").read_bytes())
    assert n_asked <= len(fresh.with_suffix(".log").read_bytes()) + n_kills


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_is_told_to_wait_and_changes_nothing(
    tmp_path: Path,
) -> None:
    folder = RunFolder.create(tmp_path / "shared")
    folder.record({"the first run's": "configuration"})
    with AnswerStore(folder.answers) as store:
        second = start(folder.path)
        _, problems = second.communicate()
        assert second.returncode != 0
        assert b"is in use by another palimpsest process" in problems
        assert len(store) == 0
    assert folder.config == {"the first run's": "configuration"}


if __name__ == "__main__":
    os.write(1, b"ready\n")
    run(Path(sys.argv[1]))
