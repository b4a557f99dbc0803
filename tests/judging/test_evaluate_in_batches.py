"""Conjugations that work best in batches see prompts and answers together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.judging.evaluation import evaluate
from palimpsest.judging.questions import expected_under
from palimpsest.judging.via import Via, parse_via
from palimpsest.judging.warnings import find_oddities
from palimpsest.lm.conjugations.text import TextChain, TextConjugation
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.store import AnswerStore

WORDS = {"What": "Qué", "is": "es", "this": "esto", "How": "Cuánto", "much": "mucho"}
BACK = {there: here for here, there in WORDS.items()}


class WordByWord(TextConjugation):
    """A translator that must be told beforehand what it will be asked."""

    name = "word-by-word"
    exact = False
    keeps = "the words it knows"
    batched = True
    rephrases = True

    def __init__(self) -> None:
        self.prompts: list[list[str]] = []
        self.answers: list[list[str]] = []

    def prepare(self, *, prompts: Sequence[str] = (), answers: Sequence[str] = ()) -> None:
        self.prompts += [list(prompts)] if prompts else []
        self.answers += [list(answers)] if answers else []

    def apply(self, prompt: str) -> str:
        assert any(prompt in batch for batch in self.prompts), "not prepared"
        if prompt == "What is this?":  # in a sentence, otherwise than alone
            return "Cuánto es esto?"
        return " ".join(WORDS.get(word, word) for word in prompt.split(" "))

    def invert(self, answer: str) -> str:
        assert any(answer in batch for batch in self.answers), "not prepared"
        return " ".join(BACK.get(word, word) for word in answer.split(" "))

    def flags(self, prompt: str) -> tuple[str, ...]:
        return () if self.apply(prompt) != prompt else ("a line came back unchanged",)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    with AnswerStore(tmp_path / "answers.sqlite") as opened:
        yield opened


def the_via(conjugation: TextConjugation) -> Via:
    return replace(
        parse_via("identity"), name="w", fingerprint="w", conjugation=conjugation, exact=False
    )


def an_example(source_id: str, prompt: str) -> Example:
    return Example(
        source_id,
        "repeat",
        "en",
        prompt,
        {"icl": ("What",), "instruction": ("12",)},
        whole_answers={"icl": "What is this?"},
    )


SUITE = Suite("tiny", (an_example("1", "What is this?"), an_example("2", "zzz 5")))


def test_prompts_expected_answers_and_replies_are_prepared_in_batches(store: AnswerStore) -> None:
    words = WordByWord()
    model = ScriptedModel(lambda prompt: f"{prompt} ", fingerprint="w1")
    rows = evaluate(model, SUITE, [the_via(words)], store=store, role="base")
    assert words.prompts == [["What is this?", "What", "12", "zzz 5"]]
    assert words.answers[0] == ["Cuánto es esto?", "Qué", "12", "zzz 5"]
    assert len(words.answers) == 2
    assert [row.answer.rstrip() for row in rows] == ["How is esto?", "zzz 5"]


def test_a_chain_prepares_each_link_for_what_reaches_it() -> None:
    words = WordByWord()
    chain = TextChain((words, parse_via("upper").conjugation))
    assert chain.batched
    chain.prepare(prompts=["What is this?"], answers=["QUÉ"])
    assert words.prompts == [["What is this?"]]
    assert words.answers == [["qué"]]


def test_fidelity_and_flags_reach_the_rows_and_the_reader(store: AnswerStore) -> None:
    via = the_via(WordByWord())
    model = ScriptedModel(lambda _: "12", fingerprint="w1")
    rows = evaluate(model, SUITE, [via], store=store, role="base")
    assert rows[0].fidelity is not None
    assert 0.1 < rows[0].fidelity < 0.9
    assert (rows[1].fidelity, rows[1].survival, rows[1].round_trip) == (1.0, 1.0, True)
    assert [row.flags for row in rows] == ["", "a line came back unchanged"]
    assert find_oddities(rows, SUITE, [via])[-1:] == [
        "1 of 2 questions under 'w': a line came back unchanged."
    ]


def test_exact_conjugations_lose_nothing_and_languages_have_no_fidelity(store: AnswerStore) -> None:
    french = replace(SUITE.examples[0], language="fr")
    suite = replace(SUITE, examples=(*SUITE.examples, french))
    model = ScriptedModel(lambda _: "12", fingerprint="w1")
    vias = [parse_via("leet"), parse_via("fr", suite)]
    *leet, fr = evaluate(model, suite, vias, store=store, role="base")
    assert {(row.fidelity, row.survival) for row in leet} == {(1.0, 1.0)}
    assert (fr.fidelity, fr.survival) == (None, None)


def test_the_first_word_of_a_whole_answers_image_counts_as_well() -> None:
    words = WordByWord()
    words.prepare(prompts=["What", "What is this?", "12"])
    words.prepare(answers=["Qué", "Cuánto es esto?", "12"])
    assert {"What", "How"} <= set(expected_under(words, SUITE.examples[0]).right)


class Capitals(WordByWord):
    """A translator that writes a capital at the beginning."""

    def invert(self, answer: str) -> str:
        return {"chico": "Boy"}.get(answer.strip(), answer)


@pytest.mark.parametrize(("raw", "answer"), [(" chico", "Boy"), (" boy", " boy")])
def test_what_comes_back_right_as_it_stands_counts_though_its_image_differs(
    store: AnswerStore, raw: str, answer: str
) -> None:
    suite = Suite("one", (Example("1", "qa", "en", "A young male?", {"qa": ("boy",)}),))
    model = ScriptedModel(lambda _: raw, fingerprint="w1")
    [row] = evaluate(model, suite, [the_via(Capitals())], store=store, role="base")
    assert (row.answer, row.outcome) == (answer, "right")


class Down(WordByWord):
    """A translator that goes down between the prompts and the answers."""

    def invert(self, answer: str) -> str:
        if answer.startswith("ZZZ"):
            raise UserError("The translator is down.", hint="Start it.")
        return super().invert(answer)


def test_an_answer_is_not_called_broken_because_the_translator_is_down(store: AnswerStore) -> None:
    model = ScriptedModel(lambda _: "ZZZ", fingerprint="w1")
    with pytest.raises(UserError, match="The translator is down"):
        evaluate(model, SUITE, [the_via(Down())], store=store, role="base")
    assert len(store) == 0
    rows = evaluate(model, SUITE, [the_via(WordByWord())], store=store, role="base")
    assert [row.answer for row in rows] == ["ZZZ", "ZZZ"]
