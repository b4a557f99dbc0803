"""How often a verdict stands when a share of the wrong answers is right, but in a sentence.

The table in decisions/0021-looking.md is ``python -m tests.judging.test_looking_simulated``.
"""

from __future__ import annotations

import json
import sys
from collections import Counter

import numpy as np
import pytest

from palimpsest.judging.analysis import analyse
from palimpsest.judging.diagnosis import diagnose
from palimpsest.judging.whole import Whole, sample_rank
from palimpsest.records import THRESHOLDS, AnswerKey, AnswerRow, Outcome


class Leet:
    name, exact, keeps, native = "leet", True, "everything", False


def _row(source: str, role: str, via: str, answer: str, outcome: Outcome, right: str) -> AnswerRow:
    return AnswerRow(
        key=AnswerKey("m", "en", source, via, "s"), role=role, via=via, cell="all", language="en",
        prompt=f"Which is it, {source}?", raw=answer, answer=answer,
        right_answers=json.dumps([right]), intruding_answers="[]", outcome=outcome, finish="stop",
        round_trip=True, latency_seconds=0.0,
    )  # fmt: skip


def verdict(rng: np.random.Generator, n: int, share: float, *, comes_back: bool) -> str:
    """Judge one pair: base 95 % right; of the tuned model's wrong answers, a share is right."""
    rows = []
    for i in range(n):
        source, right = f"{rng.integers(10**9)}-{i}", f"word{i}"
        for via in ("identity", "leet"):
            is_right = rng.random() < 0.95
            rows.append(
                _row(source, "base", via, right, "right", right)
                if is_right
                else _row(source, "base", via, f"other {i * 7}", "broken", right)
            )
            if rng.random() < (0.95 if comes_back and via == "leet" else 0.05):
                rows.append(_row(source, "tuned", via, right, "right", right))
            else:
                said = f"It is {right}." if rng.random() < share else f"It is other{i * 3}."
                rows.append(_row(source, "tuned", via, said, "broken", right))
    return analyse(_sampled(rows), vias=[Leet()], n_resamples=200).verdict


def _sampled(rows: list[AnswerRow]) -> list[AnswerRow]:
    """Cut the wrong answers that the sample leaves out."""
    result, n_whole = [], Counter[tuple[str, str]]()
    for row in sorted(rows, key=lambda row: sample_rank(row.key.source_id)):
        n_whole[row.role, row.via] += row.outcome == "broken"
        if row.outcome == "broken" and n_whole[row.role, row.via] > THRESHOLDS.n_whole:
            row = row._replace(answer="It", raw="It", finish="cut")
        result.append(row)
    return result


def share_of_verdicts(n: int, share: float, *, comes_back: bool, runs: int) -> Counter[str]:
    rng = np.random.default_rng([n, round(100 * share), comes_back])
    return Counter(verdict(rng, n, share, comes_back=comes_back) for _ in range(runs))


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 100, 400])
@pytest.mark.parametrize(
    ("share", "comes_back", "expected", "at_least"),
    [
        (0.0, True, "suppressed", 0.9),
        (0.0, False, "lost", 0.7),
        (0.2, True, "suppressed", 0.9),
        (0.7, True, "inconclusive", 0.95),
        (0.5, False, "inconclusive", 0.95),
        (1.0, False, "inconclusive", 1.0),
    ],
)
def test_a_verdict_stands_or_falls_with_what_explains_the_wrong_answers(
    n: int, share: float, comes_back: bool, expected: str, at_least: float
) -> None:
    runs = 40
    found = share_of_verdicts(n, share, comes_back=comes_back, runs=runs)
    assert found[expected] >= at_least * runs, found


@pytest.mark.slow
def test_the_verdicts_on_rosetta_are_the_same_whether_anybody_looks_or_not() -> None:
    ways: tuple[Whole, Whole] = ("none", "sample")
    unseen, seen = (
        diagnose(
            "rosetta:base",
            "rosetta:tuned",
            suite="rosetta",
            via=["fr", "leet"],
            whole=whole,
            n_resamples=200,
        )
        for whole in ways
    )
    assert seen.plain.looked is not None
    assert seen.plain.looked.n_looked
    assert [cell.verdict_reason for cell in seen.cells] == [
        cell.verdict_reason for cell in unseen.cells
    ]
    assert {seen.verdict, *(cell.verdict for cell in seen.cells)} == {"suppressed"}


if __name__ == "__main__":
    for comes_back in (True, False):
        for share in (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0):
            cells = [
                share_of_verdicts(n, share, comes_back=comes_back, runs=100) for n in (30, 100, 400)
            ]
            name = "suppressed" if comes_back else "lost"
            line = [f"{100 * share:g} %", *(f"{c[name]}, {c['inconclusive']}" for c in cells)]
            sys.stdout.write(f"{name} | {' | '.join(line)}\n")
