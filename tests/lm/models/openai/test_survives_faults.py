"""Through all faults, and after being killed, each prompt has one answer in the records.

This file is also the program that gets killed: ``python test_survives_faults.py FOLDER URL``.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from palimpsest.lm.conjugations import parse_via
from palimpsest.lm.evaluate import evaluate
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.answers import AnswerRow
from palimpsest.records.run_folder import RunFolder
from palimpsest.records.store import AnswerStore

ROOT = Path(__file__).parents[4]
N_EXAMPLES = 500
VIAS = ("identity", "upper")
SHARE = 1 / 3
OPTIONS = "timeout=1,attempts=20,backoff=0.02,concurrency=32"

SUITE = Suite(
    name="faulty",
    examples=tuple(
        Example(
            source_id=str(n),
            cell="a/b",
            language="en",
            prompt=f"Say word{n}",
            answers={"icl": (f"word{n}",), "instruction": ("x",)},
        )
        for n in range(N_EXAMPLES)
    ),
)


def run(path: Path, url: str) -> list[AnswerRow]:
    """The program: a thousand requests, each answer kept as it comes."""
    model = load_model(f"openai:m@{url},{OPTIONS}")
    vias = [parse_via(spec, SUITE) for spec in VIAS]
    folder = RunFolder.create(path)
    with AnswerStore(folder.answers) as store:
        return evaluate(model, SUITE, vias, store=store, role="base")


def check(rows: Sequence[AnswerRow]) -> None:
    """Each example has its own right answer, once under each conjugation."""
    assert Counter(row.key for row in rows) == dict.fromkeys({row.key for row in rows}, 1)
    assert len(rows) == N_EXAMPLES * len(VIAS)
    for row in rows:
        assert row.raw == f" {row.prompt.split()[-1]}"


def stored(path: Path) -> list[AnswerRow]:
    model = load_model(f"openai:m@{path.with_suffix('.url').read_text()}")
    with AnswerStore(path / "answers.sqlite", read_only=True) as store:
        return store.rows(model=model.fingerprint, suite=SUITE.key)


@pytest.mark.slow
def test_of_a_thousand_requests_with_a_third_faulty_none_is_lost_and_none_is_doubled(
    tmp_path: Path,
) -> None:
    from tests.fault_server import FAULTS, FaultServer

    path = tmp_path / "run"
    with FaultServer(share=SHARE) as server:
        path.with_suffix(".url").write_text(server.url)
        check(run(path, server.url))
    check(stored(path))
    assert len(server.received) == N_EXAMPLES * len(VIAS)
    assert all(server.answered[prompt] >= 1 for prompt in server.received)
    assert set(server.faults) == set(FAULTS)
    assert sum(server.faults.values()) / sum(server.received.values()) == pytest.approx(
        SHARE, abs=0.06  # four standard errors of a draw of 1,000
    )  # fmt: skip


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_every_answer_once(tmp_path: Path) -> None:
    from tests.fault_server import FaultServer

    draw = random.Random(1)
    path = tmp_path / "run"
    with FaultServer(share=SHARE) as server:
        path.with_suffix(".url").write_text(server.url)
        command = [sys.executable, __file__, str(path), server.url]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        n_kills, kept = 0, [0]
        while n_kills < 5:
            process = subprocess.Popen(command, env=environment)
            before = sum(server.received.values())
            while sum(server.received.values()) < before + 100 and process.poll() is None:
                time.sleep(0.01)
            time.sleep(draw.random() / 4)
            process.kill()
            process.wait()
            n_kills += 1
            kept.append(len(stored(path)))
        assert kept == sorted(set(kept))  # each part goes on where the last one was killed
        assert kept[-1] < N_EXAMPLES * len(VIAS)
        check(run(path, server.url))
    check(stored(path))
    # A kill costs at most what was under way: as many answers as requests at a time.
    assert sum(server.answered.values()) <= N_EXAMPLES * len(VIAS) + n_kills * 32


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2])
