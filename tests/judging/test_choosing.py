"""Answers chosen by likelihood: what is put to the model, what counts, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from palimpsest.judging.evaluation import Settings, evaluate
from palimpsest.judging.via import parse_via
from palimpsest.judging.warnings import find_oddities
from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.lm.continuations import sent_choices
from palimpsest.lm.exchange import Exchange
from palimpsest.lm.models.protocol import ScoringUnavailableError
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.prompts import Message, Prompt
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.store import AnswerStore

CHOICES = ("True", "False", "Neither")


def an_example(source_id: str, prompt: Prompt, right: str) -> Example:
    return Example(source_id, "nli", "en", prompt, {"nli": (right,)}, choices=CHOICES)


SUITE = Suite(
    name="tiny",
    examples=(
        an_example("1", "It rains.\nQuestion: It is wet.\nAnswer:", "True"),
        an_example("2", "It rains.\nQuestion: It is dry.\nAnswer:", "False"),
    ),
    chance=1 / 3,
)


class Judge(ScriptedModel):
    """A model that says how likely given continuations are, and counts how often it is asked."""

    def __init__(self, likely: Mapping[str, float]) -> None:
        super().__init__(lambda _: " True", fingerprint="judge")
        self.likely = likely
        self.n_scored = 0

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        self.n_scored += len(prompts)
        return [[self.likely.get(text, -9.0) for text in texts] for texts in candidates]


class Mute(ScriptedModel):
    """A back end that cannot score."""

    def score(self, *_: object) -> list[list[float]]:
        raise ScoringUnavailableError("The endpoint offers no log-probabilities.")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    with AnswerStore(tmp_path / "answers.sqlite") as opened:
        yield opened


def test_the_likeliest_choice_is_the_answer(store: AnswerStore) -> None:
    judge = Judge({" True": -2.0, " False": -0.5})
    rows = evaluate(judge, SUITE, [parse_via("identity")], store=store, role="base")
    assert [row.answer for row in rows] == ["False", "False"]
    assert [row.outcome for row in rows] == ["broken", "right"]
    assert rows[0].raw == '{" True": -2.0, " False": -0.5, " Neither": -9.0}'
    assert {row.finish for row in rows} == {"chosen"}


def test_choices_are_conjugated_with_the_prompt_and_named_in_plain_words(
    store: AnswerStore,
) -> None:
    judge = Judge({" N317h3r": -0.1})
    rows = evaluate(judge, SUITE, [parse_via("leet")], store=store, role="base")
    assert {row.answer for row in rows} == {"Neither"}


def test_a_tie_is_no_answer(store: AnswerStore) -> None:
    judge = Judge({" True": -1.0, " False": -1.0})
    rows = evaluate(judge, SUITE, [parse_via("identity")], store=store, role="base")
    assert [(row.answer, row.outcome) for row in rows] == [("", "broken")] * 2


def test_choices_that_do_not_fit_the_context_are_no_answer(store: AnswerStore) -> None:
    judge = Judge(dict.fromkeys((" True", " False", " Neither"), -float("inf")))
    rows = evaluate(judge, SUITE, [parse_via("identity")], store=store, role="base")
    assert [row.outcome for row in rows] == ["broken"] * 2
    assert rows[0].raw == '{" True": null, " False": null, " Neither": null}'


def test_a_second_run_scores_nothing_and_returns_the_same_rows(store: AnswerStore) -> None:
    first, second = Judge({" True": -1.0}), Judge({})
    vias = [parse_via("identity")]
    rows = evaluate(first, SUITE, vias, store=store, role="base")
    assert evaluate(second, SUITE, vias, store=store, role="base") == rows
    assert (first.n_scored, second.n_scored) == (2, 0)


def test_a_back_end_that_cannot_score_says_so_and_generates_when_told(store: AnswerStore) -> None:
    vias = [parse_via("identity")]
    mute = Mute(lambda _: " True, I think", fingerprint="mute")
    with pytest.raises(ScoringUnavailableError):
        evaluate(mute, SUITE, vias, store=store, role="base")
    settings = Settings(by_likelihood=False)
    rows = evaluate(mute, SUITE, vias, store=store, role="base", settings=settings)
    assert [row.outcome for row in rows] == ["right", "broken"]


@pytest.mark.parametrize(
    ("prompt", "first"),
    [("Answer:", " True"), ("Answer: ", "True"), ((Message("user", "Is it?"),), "True")],
    ids=["text", "text that ends in a space", "messages"],
)
def test_one_space_stands_between_text_and_choice(prompt: Prompt, first: str) -> None:
    assert sent_choices(Exchange(parse_conjugation("identity")), prompt, CHOICES)[0] == first


def test_a_model_that_always_chooses_the_same_is_named(store: AnswerStore) -> None:
    examples = tuple(an_example(str(i), f"{i}. Answer:", "True") for i in range(20))
    suite = Suite(name="twenty", examples=examples)
    vias = [parse_via("identity")]
    rows = evaluate(Judge({" Neither": -0.1}), suite, vias, store=store, role="tuned")
    assert find_oddities(rows, suite, vias) == [
        "The tuned model asked plainly chooses 'Neither' for 20 of 20 prompts, whatever they say: "
        "its accuracy is that of this one answer."
    ]
