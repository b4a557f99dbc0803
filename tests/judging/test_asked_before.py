"""A prompt that the same model was sent in the same form is not sent again, and no other is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from palimpsest.judging import evaluation
from palimpsest.judging.conclude import model_info
from palimpsest.judging.evaluation import evaluate
from palimpsest.judging.questions import Settings
from palimpsest.judging.via import parse_via
from palimpsest.lm.models.protocol import Generation
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records import AnswerRow
from palimpsest.records.store import AnswerStore


class Counting(ScriptedModel):
    """Repeats the first words of a prompt, and keeps what it was sent."""

    def __init__(self, fingerprint: str = "one") -> None:
        super().__init__(
            lambda prompt: f" {' '.join(str(prompt).split()[:3])} and more", fingerprint=fingerprint
        )
        self.sent: list[Prompt] = []

    def generate(
        self, prompts: Sequence[Prompt], **options: Any
    ) -> Iterator[tuple[int, Generation]]:
        self.sent += prompts
        yield from super().generate(prompts, **options)


def example(name: str, prompt: str, right: str = "Say", **others: Any) -> Example:
    return Example(name, "cell", "en", prompt, {"say": (right,)}, **others)


FIRST = Suite("first", (example("a", "Say one two"), example("b", "Say three four")))
OTHER = Suite("other", (example("x", "Say three four"), example("y", "Say five six")))


def ask(
    model: Counting, suite: Suite, store: AnswerStore, *specs: str, **options: Any
) -> list[AnswerRow]:
    vias = [parse_via(spec, suite) for spec in specs or ("identity",)]
    return evaluate(model, suite, vias, store=store, role="base", **options)


def timeless(rows: Sequence[AnswerRow]) -> list[AnswerRow]:
    return [row._replace(latency_seconds=0.0) for row in rows]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    with AnswerStore(tmp_path / "answers.sqlite") as opened:
        yield opened


def test_what_another_suite_sent_is_not_sent_again(store: AnswerStore, tmp_path: Path) -> None:
    ask(Counting(), FIRST, store)
    model = Counting()
    rows = ask(model, OTHER, store)
    assert model.sent == ["Say five six"]
    with AnswerStore(tmp_path / "fresh.sqlite") as fresh:
        assert timeless(rows) == timeless(ask(Counting(), OTHER, fresh))


def test_what_an_earlier_block_of_examples_sent_is_not_sent_again(
    store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_N_TOGETHER", 2)
    same = tuple(example(str(at), f"Say {at % 3} again") for at in range(10))
    model = Counting()
    rows = ask(model, Suite("same", same), store, "identity", "rot13")
    assert len(model.sent) == 6
    assert [row.key.source_id for row in rows] == [str(at) for at in range(10)] * 2
    assert len({row.raw for row in rows}) == 6
    usage = model_info(model, rows).usage
    assert usage is not None
    assert usage.n_shared == 14


def test_ways_of_asking_that_send_the_same_share_an_answer(store: AnswerStore) -> None:
    suite = Suite("shouted", (example("a", "SAY ONE TWO", "SAY"),))
    ask(Counting(), suite, store)
    model = Counting()
    [row] = ask(model, suite, store, "upper")
    assert (model.sent, row.via) == ([], "upper")


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": Settings(max_new_tokens=11)},
        {"settings": Settings(stop=("\n\n",))},
        {"again": 1},
    ],
    ids=["length", "stop", "again"],
)
def test_what_decides_an_answer_otherwise_is_asked_anew(
    store: AnswerStore, changed: dict[str, Any]
) -> None:
    ask(Counting(), FIRST, store)
    model = Counting()
    ask(model, OTHER, store, **changed)
    assert len(model.sent) == 2


def test_another_model_and_another_manner_of_asking_share_nothing(store: AnswerStore) -> None:
    ask(Counting(), FIRST, store)
    other = Counting("two")
    ask(other, OTHER, store)
    assert len(other.sent) == 2
    harness = Suite("h", tuple(replace(each, as_lm_eval=True) for each in OTHER.examples))
    model = Counting()
    ask(model, harness, store)
    assert len(model.sent) == 2


def test_a_text_and_a_message_that_are_recorded_alike_share_nothing(store: AnswerStore) -> None:
    from palimpsest.judging.questions import as_recorded
    from palimpsest.lm.prompts import Message

    messages = (Message("user", "Say it"),)
    ask(Counting(), Suite("chat", (replace(example("m", ""), prompt=messages),)), store)
    model = Counting()
    ask(model, Suite("text", (example("t", as_recorded(messages)),)), store)
    assert len(model.sent) == 1


def test_an_answer_that_was_ended_early_serves_only_whom_it_settles(store: AnswerStore) -> None:
    [row] = ask(Counting(), Suite("s", (example("a", "Say one two"),)), store, whole="none")
    assert row.finish == "decided"
    longer = Suite("t", (example("b", "Say one two", "Say one"),))
    model = Counting()
    [row] = ask(model, longer, store, whole="none")
    assert len(model.sent) == 1
    assert row.outcome == "right"
    wrong = Suite("u", (example("c", "Say one two", "Hm"),))
    model = Counting()
    [row] = ask(model, wrong, store, whole="none")
    assert (model.sent, row.finish, row.outcome) == ([], "cut", "broken")


def test_a_folder_of_before_shares_nothing_and_goes_on(store: AnswerStore) -> None:
    ask(Counting(), FIRST, store)
    store._connection.execute("DELETE FROM requests")
    model = Counting()
    ask(model, OTHER, store)
    assert len(model.sent) == 2
    ask(model, FIRST, store)
    assert len(model.sent) == 2
