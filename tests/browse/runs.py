"""Runs with answers that nobody gave."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from palimpsest.records import AnswerKey, AnswerRow, AnswerStore, Outcome, RunFolder

VIAS = ("identity", "leet", "fr", "es", "rot13")
CELLS = ("facts", "sums", "reading", "json")
OUTCOMES: tuple[Outcome, ...] = ("right", "intruded", "broken")


def rows(n_examples: int, seed: int = 0) -> Iterator[AnswerRow]:
    """Yield the answers of both models to each example in each way."""
    rng = random.Random(seed)
    for number in range(n_examples):
        for via in VIAS:
            for role in ("base", "tuned"):
                yield AnswerRow(
                    AnswerKey(role, "suite", f"example-{number}", via, "settings"),
                    role=role,
                    via=via,
                    cell=CELLS[number % len(CELLS)],
                    language="fr" if via == "fr" else "en",
                    prompt=f"Question {number} under {via}?\nAnswer:",
                    raw=f" number {number} <b>of</b> {rng.randrange(10**6)}",
                    answer=f"number {number}",
                    right_answers='["number"]',
                    intruding_answers="[]",
                    outcome=rng.choice(OUTCOMES),
                    finish="stop",
                    round_trip=True,
                    latency_seconds=0.1,
                )


def write_run(
    path: Path, n_examples: int, seed: int = 0, *, is_finished: bool = False
) -> list[AnswerRow]:
    """Write a run folder, and return its answers if they are few."""
    folder = RunFolder.create(path)
    with AnswerStore(folder.answers) as store:
        folder.record({"command": "made up"})
        coming = rows(n_examples, seed)
        while block := list(islice(coming, 20_000)):
            store.add(block)
        if is_finished:
            store.record_run(rows(n_examples, seed))
    return list(rows(n_examples, seed)) if n_examples <= 1000 else []
