"""How long a round of ``diagnose --until-sure`` takes to decide what is asked next.

    python -m benchmarks.rounds

A hundred cells of up to a hundred examples, asked plainly and under two conjugations; the answers
are made up and come at once. Counted is the processor's time outside of answering, a round in the
mean and at most.
"""

from __future__ import annotations

import statistics
import sys
import time
import zlib
from collections.abc import Sequence

from palimpsest.judging import parse_via
from palimpsest.judging.rounds import ask_in_rounds
from palimpsest.judging.via import Via
from palimpsest.lm.suites import Example, Suite
from palimpsest.records import AnswerKey, AnswerRow, Outcome

N_CELLS, N_EXAMPLES = 100, 100
GOAL_SECONDS = 0.05
ANSWERS = {"a": ("x",), "b": ("y",)}


def suite() -> Suite:
    """Return cells in which much, little or nothing is lost."""
    return Suite(
        name="cells",
        examples=tuple(
            Example(
                f"{cell}/{at}", f"cell-{cell}", "en", f"{cell} {at}", {"a": ("x",), "b": ("y",)}
            )
            for cell in range(N_CELLS)
            for at in range(N_EXAMPLES)
        ),
    )


class Clock:
    """Answers at once, and notes the processor's time between answering and being asked."""

    def __init__(self) -> None:
        self.seconds: dict[int, float] = {}
        self._since = time.process_time()

    def ask(self, role: str, via: Via, part: Suite, number: int) -> Sequence[AnswerRow]:
        """Return made-up answers (:data:`~palimpsest.judging.rounds.Ask`)."""
        self.seconds[number] = self.seconds.get(number, 0.0) + time.process_time() - self._since
        rows = [_row(role, via, example) for example in via.examples(part)]
        self._since = time.process_time()
        return rows


def _row(role: str, via: Via, example: Example) -> AnswerRow:
    drawn = zlib.crc32(f"{role} {via.name} {example.source_id}".encode()) / 2**32
    lost = (0.0, 0.1, 0.7)[int(example.cell.removeprefix("cell-")) % 3]
    right = 0.95 - (lost if role == "tuned" and via.name == "identity" else 0.0)
    outcome: Outcome = "right" if drawn < right else "intruded"
    key = AnswerKey(role, example.language, example.source_id, via.name, "settings")
    return AnswerRow(
        key=key, role=role, via=via.name, cell=example.cell, language=example.language, prompt="",
        raw="x", answer="x", right_answers="[]", intruding_answers="[]", outcome=outcome,
        finish="stop", round_trip=True, latency_seconds=0.0,
    )  # fmt: skip


def main() -> int:
    """Print the figures; 1 if the goal is missed."""
    vias = [parse_via(spec, suite()) for spec in ("identity", "leet", "pig-latin")]
    clock = Clock()
    found = ask_in_rounds(suite(), vias, clock.ask, recorded={}, keep=lambda _: None)
    rounds = list(clock.seconds.values())
    mean, most = statistics.mean(rounds), max(rounds)
    print(
        f"{len(found.cells)} cells, {found.n_rounds} rounds, {len(found.rows):,} answers: "
        f"{1000 * mean:.0f} ms of processor time a round, at most {1000 * most:.0f} ms "
        f"(goal: {1000 * GOAL_SECONDS:.0f} ms)"
    )
    return int(mean > GOAL_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
