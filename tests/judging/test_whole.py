"""Wrong answers are asked to their end: all, none, or a sample that depends on nothing but them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from palimpsest.judging.evaluation import evaluate
from palimpsest.judging.via import parse_via
from palimpsest.judging.whole import Whole
from palimpsest.lm.models.protocol import Generation
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records import THRESHOLDS, AnswerRow
from palimpsest.records.store import AnswerStore

N = 400
WHOLE = " The capital is Paris, of course."


class Model(ScriptedModel):
    """Answers every ``right_every``-th prompt rightly, the others in a sentence."""

    def __init__(self, right_every: int = 10**9, *, breaks_after: int | None = None) -> None:
        super().__init__(
            lambda prompt: " Paris indeed." if _number(prompt) % right_every == 0 else WHOLE,
            fingerprint=f"every {right_every}",
        )
        self.n_asked = 0
        self._breaks_after = breaks_after

    def generate(
        self, prompts: Sequence[Prompt], **options: Any
    ) -> Iterator[tuple[int, Generation]]:
        for answer in super().generate(prompts, **options):
            if self.n_asked == self._breaks_after:
                raise KeyboardInterrupt
            self.n_asked += 1
            yield answer


def _number(prompt: Prompt) -> int:
    return 1 + int("".join(filter(str.isdigit, str(prompt))))


def a_suite(n: int = N) -> Suite:
    examples = [
        Example(str(i), f"cell {i % 2}", "en", f"{i}: the capital?", {"know": ("Paris",)})
        for i in range(n)
    ]
    return Suite(name="capitals", examples=tuple(examples))


def ask(model: ScriptedModel, store: AnswerStore, whole: Whole, n: int = N) -> list[AnswerRow]:
    vias = [parse_via(via) for via in ("identity", "upper")]
    return evaluate(model, a_suite(n), vias, store=store, role="tuned", whole=whole)


def timeless(rows: Sequence[AnswerRow]) -> list[AnswerRow]:
    return [row._replace(latency_seconds=0.0) for row in rows]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    with AnswerStore(tmp_path / "answers.sqlite") as opened:
        yield opened


def n_whole(rows: Sequence[AnswerRow]) -> Counter[tuple[str, str]]:
    return Counter((row.via, row.cell) for row in rows if row.raw == WHOLE)


@pytest.mark.slow
def test_without_a_sample_wrong_answers_end_where_they_are_settled(store: AnswerStore) -> None:
    rows = ask(Model(), store, "none")
    assert {row.finish for row in rows} == {"cut"}
    assert {row.raw for row in rows} == {" The", " The capital"}


@pytest.mark.slow
def test_all_of_them_may_be_whole_and_stored_ones_are_asked_again(store: AnswerStore) -> None:
    ask(Model(), store, "none")
    rows = ask(Model(), store, "all")
    assert {row.raw for row in rows} == {WHOLE}
    assert {row.outcome for row in rows} == {"broken"}


@pytest.mark.slow
@pytest.mark.parametrize("right_every", [10**9, 3, 2])
def test_a_sample_of_each_cell_and_way_of_asking_is_whole(
    store: AnswerStore, right_every: int
) -> None:
    rows = ask(Model(right_every), store, "sample")
    wrong = Counter((row.via, row.cell) for row in rows if row.outcome != "right")
    at_most = {group: min(n, THRESHOLDS.n_whole) for group, n in wrong.items()}
    assert n_whole(rows) == at_most
    assert {row.raw for row in rows if row.outcome == "right"} <= {" Paris", " Paris indeed."}


@pytest.mark.slow
@pytest.mark.parametrize("breaks_after", [300, 820])
def test_a_sample_is_the_same_after_an_interruption(tmp_path: Path, breaks_after: int) -> None:
    with AnswerStore(tmp_path / "whole.sqlite") as store:
        expected = ask(Model(3), store, "sample")
    with AnswerStore(tmp_path / "parts.sqlite") as store:
        with pytest.raises(KeyboardInterrupt):
            ask(Model(3, breaks_after=breaks_after), store, "sample")
        assert timeless(ask(Model(3), store, "sample")) == timeless(expected)
        nothing = Model(3)
        assert timeless(ask(nothing, store, "sample")) == timeless(expected)
        assert nothing.n_asked == 0


@pytest.mark.slow
def test_what_an_earlier_version_ended_early_holds_unless_all_are_wanted(
    store: AnswerStore,
) -> None:
    rows = ask(Model(), store, "none")
    store.add(row._replace(finish="decided") for row in rows)
    later = Model()
    assert {row.finish for row in ask(later, store, "sample")} == {"decided"}
    assert later.n_asked == 0
    assert {row.raw for row in ask(Model(), store, "all")} == {WHOLE}
