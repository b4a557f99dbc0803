"""Every question is asked once, its answer kept at once, and nothing stale is ever reused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from palimpsest.errors import UserError
from palimpsest.judging.evaluation import Settings, evaluate
from palimpsest.judging.questions import UNINVERTIBLE
from palimpsest.judging.via import Via, parse_via
from palimpsest.judging.warnings import find_oddities
from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.models.protocol import Generation
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.prompts import Message, Prompt
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.answers import AnswerRow
from palimpsest.records.store import AnswerStore


def an_example(source_id: str, prompt: Prompt, right: str, wrong: str, **more: str) -> Example:
    return Example(
        source_id=source_id,
        cell=more.get("cell", "repeat/math"),
        language=more.get("language", "en"),
        prompt=prompt,
        answers={"icl": (right,), "instruction": (wrong,)},
    )


BLANK = "repeat/blank"

SUITE = Suite(
    name="tiny",
    examples=(
        an_example("1", "Input: What is 5 plus 7?\nOutput:", "What", "12"),
        an_example("2", "Input: Is it 4 or 5?\nOutput:", "Is", "4"),
        an_example("3", "Input: Say it.\nOutput:", "Say", "it", cell=BLANK),
        an_example("1", "Entrée: Combien font 5 et 7?\nSortie:", "Combien", "12", language="fr"),
        an_example("3", "Entrée: Dis-le.\nSortie:", "Dis-le", "le", language="fr", cell=BLANK),
    ),
)


def repeat(prompt: Prompt) -> str:
    """Repeat the query in whichever form it came, then go on."""
    text = prompt if isinstance(prompt, str) else prompt[-1].content
    _, _, query = text.split("\n")[0].partition(" ")
    return f" {query}\nand so on"


class Recorder(ScriptedModel):
    """A scripted model that keeps what it was sent."""

    def __init__(self, answer: Callable[[Prompt], str] = repeat, fingerprint: str = "w1") -> None:
        super().__init__(answer, fingerprint=fingerprint)
        self.calls: list[list[Prompt]] = []
        self.options: dict[str, Any] = {}
        self.n_closed = 0

    def generate(
        self, prompts: Sequence[Prompt], **options: Any
    ) -> Iterator[tuple[int, Generation]]:
        self.calls.append(list(prompts))
        self.options = options
        try:
            # Out of order, as length-bucketed batches are.
            yield from reversed(list(super().generate(prompts, **options)))
        finally:
            self.n_closed += 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AnswerStore]:
    with AnswerStore(tmp_path / "answers.sqlite") as opened:
        yield opened


def vias(*specs: str, suite: Suite = SUITE) -> list[Via]:
    return [parse_via(spec, suite) for spec in specs]


def timeless(rows: Sequence[AnswerRow]) -> list[AnswerRow]:
    return [row._replace(latency_seconds=0.0) for row in rows]


ALL = ("identity", "leet", "fr", "fr|leet", "pig-latin", "leet-paper", "upper", "rot13", "base64")


# --- what is asked and what comes back ----------------------------------------------------------


def test_rows_come_in_the_order_of_vias_and_suite_whatever_finishes_first(
    store: AnswerStore,
) -> None:
    rows = evaluate(Recorder(), SUITE, vias("leet", "fr"), store=store, role="base")
    assert [(row.via, row.key.source_id, row.language, row.cell) for row in rows] == [
        ("leet", "1", "en", "repeat/math"),
        ("leet", "2", "en", "repeat/math"),
        ("leet", "3", "en", "repeat/blank"),
        ("fr", "1", "fr", "repeat/math"),
        ("fr", "3", "fr", "repeat/blank"),
    ]


def test_a_row_tells_what_was_sent_said_and_understood(store: AnswerStore) -> None:
    row = evaluate(Recorder(), SUITE, vias("leet"), store=store, role="tuned")[0]
    assert row.prompt == "Inpu7: Wh47 15 \\5 plu5 \\7?\nOu7pu7:"
    assert row.raw == " Wh47 15"
    assert row.answer == " What is"
    assert row.right_answers == '["What"]'
    assert row.intruding_answers == '["12"]'
    assert row.outcome == "right"
    assert row.finish == "decided"
    assert row.role == "tuned"
    assert row.round_trip is True


def test_chat_messages_are_conjugated_one_by_one_and_recorded_as_json(store: AnswerStore) -> None:
    prompt = (Message("system", "Be brief."), Message("user", "Input: Say 7"))
    suite = Suite(name="chat", examples=(an_example("1", prompt, "Say", "7"),))
    model = Recorder()
    row = evaluate(model, suite, vias("leet"), store=store, role="base")[0]
    assert model.calls == [[(Message("system", "B3 8r13f."), Message("user", "Inpu7: S4y \\7"))]]
    assert row.prompt.startswith('[{"role": "system", "content": "B3 8r13f."}, {"role": "user"')
    assert row.outcome == "right"


def test_all_missing_prompts_go_to_the_model_in_one_call(store: AnswerStore) -> None:
    model = Recorder()
    rows = evaluate(model, SUITE, vias(*ALL), store=store, role="base")
    assert len(model.calls) == 1
    assert len(model.calls[0]) == len(rows) == 7 * 3 + 2 * 2


def test_prompts_that_are_sent_in_the_same_form_are_asked_once(store: AnswerStore) -> None:
    native = an_example("1", "1npu7: S4y 17", "S4y", "17", language="leet")
    suite = Suite(name="twice", examples=(an_example("1", "input: Say it", "Say", "it"), native))
    model = Recorder()
    rows = evaluate(
        model, suite, vias("leet", "native:leet", suite=suite), store=store, role="base"
    )
    assert model.calls == [["1npu7: S4y 17"]]
    assert [(row.via, row.answer, row.outcome) for row in rows] == [
        ("leet", " Say it", "right"),
        ("native:leet", " S4y 17", "right"),
    ]


def test_an_answer_shared_by_two_goes_on_until_both_are_decided(store: AnswerStore) -> None:
    # Under reverse-words the first word of the answer is said last.
    examples = (an_example("1", "a: b c d", "b", "x"), an_example("2", "d c b a:", "b", "x"))
    suite = Suite(name="shared", examples=examples)
    model = Recorder(lambda prompt: " b c d")
    rows = evaluate(model, suite, vias("identity", "reverse-words"), store=store, role="base")
    assert len(model.calls[0]) == 2
    assert {row.raw for row in rows if row.key.source_id == "1"} == {" b c d"}


def test_vias_that_mean_the_same_count_once(store: AnswerStore) -> None:
    rows = evaluate(Recorder(), SUITE, vias("fr", "native:fr", "fr"), store=store, role="base")
    assert len(rows) == 2


def test_nothing_to_ask_is_no_call(store: AnswerStore) -> None:
    model = Recorder()
    assert evaluate(model, SUITE, [], store=store, role="base") == []
    assert model.calls == []


def test_early_stopping_changes_no_outcome(store: AnswerStore) -> None:
    early, late = Settings(), Settings(stop_when_decided=False)
    rows = [
        evaluate(Recorder(), SUITE, vias(*ALL), store=store, role="base", settings=settings)
        for settings in (early, late)
    ]
    assert [row.outcome for row in rows[0]] == [row.outcome for row in rows[1]]
    assert "decided" in {row.finish for row in rows[0]}
    assert "decided" not in {row.finish for row in rows[1]}


# --- what is reused -----------------------------------------------------------------------------


def test_a_second_run_asks_nothing_and_returns_the_same_rows(store: AnswerStore) -> None:
    first, second = Recorder(), Recorder()
    rows = evaluate(first, SUITE, vias(*ALL), store=store, role="base")
    assert evaluate(second, SUITE, vias(*ALL), store=store, role="base") == rows
    assert second.calls == []


def test_more_vias_ask_only_for_what_is_missing(store: AnswerStore) -> None:
    evaluate(Recorder(), SUITE, vias("leet"), store=store, role="base")
    model = Recorder()
    rows = evaluate(model, SUITE, vias("identity", "leet"), store=store, role="base")
    assert [len(call) for call in model.calls] == [3]
    assert [row.via for row in rows] == ["identity"] * 3 + ["leet"] * 3


def test_the_same_model_in_the_other_role_is_not_asked_again(store: AnswerStore) -> None:
    evaluate(Recorder(), SUITE, vias("identity"), store=store, role="base")
    model = Recorder()
    rows = evaluate(model, SUITE, vias("identity"), store=store, role="tuned")
    assert {row.role for row in rows} == {"tuned"}
    assert model.calls == []
    assert {row.role for row in store.rows(model="w1", suite=SUITE.key)} == {"tuned"}


WIDE_CHANGES: dict[str, dict[str, Any]] = {
    "weights": {"model": Recorder(fingerprint="w2")},
    "length": {"settings": Settings(max_new_tokens=11)},
    "stop": {"settings": Settings(stop=("\n\n",))},
    "early stopping": {"settings": Settings(stop_when_decided=False)},
}


@pytest.mark.parametrize("change", WIDE_CHANGES.values(), ids=WIDE_CHANGES)
def test_what_concerns_every_answer_makes_all_be_asked_again(
    store: AnswerStore, change: dict[str, Any]
) -> None:
    before: dict[str, Any] = {"model": Recorder(), "suite": SUITE, "settings": Settings()}
    for options in (before, before | change):
        model = options["model"]
        assert isinstance(model, Recorder)
        evaluate(vias=vias("leet"), store=store, role="base", **options)
        assert [len(call) for call in model.calls] == [3]
        model.calls.clear()
    assert len(store) == 6


EXAMPLE_CHANGES: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": "Input: When?"},
    "its form": {"prompt": (Message("user", "Input: What is 5 plus 7?\nOutput:"),)},
    "right answers": {"answers": {"icl": ("Where",), "instruction": ("12",)}},
    "the ability under test": {"answers": {"instruction": ("12",), "icl": ("What",)}},
}
SAME_REQUEST: dict[str, dict[str, Any]] = {
    "intruding answers": {"answers": {"icl": ("What",), "instruction": ("12", "13")}},
    "name": {"source_id": "first"},
}
"""What the same raw answer settles too."""


@pytest.mark.parametrize("change", EXAMPLE_CHANGES.values(), ids=EXAMPLE_CHANGES)
def test_an_example_that_was_changed_is_asked_again_and_no_other(
    store: AnswerStore, change: dict[str, Any]
) -> None:
    before = evaluate(Recorder(), SUITE, vias("leet"), store=store, role="base")
    changed = replace(SUITE.examples[0], **change)
    suite = replace(SUITE, examples=(changed, *SUITE.examples[1:]))
    model = Recorder()
    after = evaluate(model, suite, vias("leet"), store=store, role="base")
    assert [len(call) for call in model.calls] == [1]
    assert after[1:] == before[1:]
    assert after[0].key != before[0].key

    # Changed back, what was said at first holds again.
    assert evaluate(model, SUITE, vias("leet"), store=store, role="base") == before
    assert len(model.calls) == 1


@pytest.mark.parametrize("change", SAME_REQUEST.values(), ids=SAME_REQUEST)
def test_an_example_that_is_sent_as_before_is_scored_anew_and_not_asked(
    store: AnswerStore, tmp_path: Path, change: dict[str, Any]
) -> None:
    before = evaluate(Recorder(), SUITE, vias("leet"), store=store, role="base")
    suite = replace(SUITE, examples=(replace(SUITE.examples[0], **change), *SUITE.examples[1:]))
    model = Recorder()
    after = evaluate(model, suite, vias("leet"), store=store, role="base")
    assert model.calls == []
    assert after[0].key != before[0].key
    with AnswerStore(tmp_path / "fresh.sqlite") as fresh:
        expected = evaluate(Recorder(), suite, vias("leet"), store=fresh, role="base")
    assert timeless(after) == timeless(expected)


def test_fewer_examples_or_more_ask_only_for_what_is_missing(store: AnswerStore) -> None:
    few = replace(SUITE, examples=(SUITE.examples[0], SUITE.examples[3]))
    both = vias("leet", "fr")
    n_asked = []
    rows = []
    for suite in (few, SUITE, few):
        model = Recorder()
        rows.append(evaluate(model, suite, both, store=store, role="base"))
        n_asked.append(sum(map(len, model.calls)))
    assert n_asked == [2, 3, 0]
    assert [len(found) for found in rows] == [2, 5, 2]
    assert rows[0] == rows[2] == [row for row in rows[1] if row.key.source_id == "1"]


def test_an_example_in_another_cell_is_the_same_question(store: AnswerStore) -> None:
    evaluate(Recorder(), SUITE, vias("leet"), store=store, role="base")
    moved = replace(SUITE, examples=tuple(replace(e, cell="all") for e in SUITE.examples))
    model = Recorder()
    rows = evaluate(model, moved, vias("leet"), store=store, role="base")
    assert model.calls == []
    assert {row.cell for row in rows} == {"all"}


def test_a_release_that_changes_the_answers_reuses_none(
    store: AnswerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(Recorder(), SUITE, vias("leet"), store=store, role="base")
    monkeypatch.setattr("palimpsest.judging.questions.ANSWERS_VERSION", 2)
    model = Recorder()
    evaluate(model, SUITE, vias("leet"), store=store, role="base")
    assert [len(call) for call in model.calls] == [3]


def test_a_row_whose_prompt_would_now_be_written_differently_is_asked_again(
    store: AnswerStore,
) -> None:
    rows = evaluate(Recorder(), SUITE, vias("leet"), store=store, role="base")
    store.add([rows[0]._replace(prompt="as an older release wrote it")])
    model = Recorder()
    assert timeless(evaluate(model, SUITE, vias("leet"), store=store, role="base")) == timeless(
        rows
    )
    assert [len(call) for call in model.calls] == [1]


def test_a_row_that_was_cut_too_early_for_todays_scoring_is_asked_again(
    store: AnswerStore,
) -> None:
    rows = evaluate(Recorder(), SUITE, vias("leet"), store=store, role="base")
    store.add([rows[0]._replace(raw=" Wh")])
    model = Recorder()
    evaluate(model, SUITE, vias("leet"), store=store, role="base")
    assert [len(call) for call in model.calls] == [1]


def test_stored_answers_are_scored_by_todays_rules(store: AnswerStore) -> None:
    rows = evaluate(Recorder(), SUITE, vias("leet"), store=store, role="base")
    older = rows[0]._replace(outcome="broken", answer="as an older release read it")
    store.add([older._replace(right_answers='["older"]', intruding_answers="[]")])
    model = Recorder()
    assert evaluate(model, SUITE, vias("leet"), store=store, role="base") == rows
    assert model.calls == []
    found = store.rows(model="w1", suite=SUITE.key)
    assert sorted(found) == sorted(rows)


# --- interruptions ------------------------------------------------------------------------------


def interrupt_after(n: int) -> Callable[[int, int, int], None]:
    def progress(n_done: int, n_total: int, n_reused: int) -> None:
        if n_done >= n:
            raise KeyboardInterrupt

    return progress


def test_ctrl_c_keeps_every_finished_answer_and_frees_the_model(store: AnswerStore) -> None:
    model = Recorder()
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, SUITE, vias(*ALL), store=store, role="base", progress=interrupt_after(5))
    assert len(store) == 5
    assert model.n_closed == 1
    again = Recorder()
    rows = evaluate(again, SUITE, vias(*ALL), store=store, role="base")
    assert len(again.calls[0]) == len(rows) - 5


@pytest.mark.slow
def test_resumed_rows_equal_those_of_an_uninterrupted_run(
    store: AnswerStore, tmp_path: Path
) -> None:
    for n in (1, 4, 9):
        with pytest.raises(KeyboardInterrupt):
            evaluate(
                Recorder(), SUITE, vias(*ALL), store=store, role="base", progress=interrupt_after(n)
            )
    resumed = evaluate(Recorder(), SUITE, vias(*ALL), store=store, role="base")
    with AnswerStore(tmp_path / "other.sqlite") as other:
        fresh = evaluate(Recorder(), SUITE, vias(*ALL), store=other, role="base")
    assert timeless(resumed) == timeless(fresh)


def test_progress_counts_up_from_what_is_reused(store: AnswerStore) -> None:
    seen: list[tuple[int, int, int]] = []

    def progress(n_done: int, n_total: int, n_reused: int) -> None:
        seen.append((n_done, n_total, n_reused))

    evaluate(Recorder(), SUITE, vias("fr"), store=store, role="base")
    evaluate(Recorder(), SUITE, vias("fr", "leet"), store=store, role="base", progress=progress)
    assert seen == [(2, 5, 2), (3, 5, 2), (4, 5, 2), (5, 5, 2)]


def test_a_back_end_that_forgets_prompts_is_found_out(store: AnswerStore) -> None:
    class Forgetful(Recorder):
        def generate(
            self, prompts: Sequence[Prompt], **options: Any
        ) -> Iterator[tuple[int, Generation]]:
            yield from super().generate(prompts[1:], **options)

    with pytest.raises(RuntimeError, match="2 answers to 3 prompts"):
        evaluate(Forgetful(), SUITE, vias("identity"), store=store, role="base")


# --- what a reader must know --------------------------------------------------------------------


class Faulty(TextConjugation):
    """A plugin with mistakes in it."""

    name = "faulty"
    exact = True

    def __init__(self, *, fails_in: str) -> None:
        self.fails_in = fails_in

    def apply(self, prompt: str) -> str:
        if self.fails_in == "apply" and "Say" in prompt:
            raise IndexError("apply went wrong")
        return f"~{prompt}"

    def invert(self, answer: str) -> str:
        if self.fails_in == "invert" and "Say" in answer:
            raise IndexError("invert went wrong")
        return answer.removeprefix("~")


def faulty(fails_in: str) -> list[Via]:
    plain = parse_via("identity")
    via = replace(
        plain, name="faulty", fingerprint="f", conjugation=Faulty(fails_in=fails_in), exact=True
    )
    return [via]


def test_an_answer_that_cannot_be_inverted_is_broken_counted_and_asked_again(
    store: AnswerStore,
) -> None:
    rows = evaluate(Recorder(), SUITE, faulty("invert"), store=store, role="base")
    assert [row.outcome for row in rows] == ["right", "right", "broken"]
    assert rows[2].finish == UNINVERTIBLE
    assert rows[2].raw == " Say it."
    assert rows[2].round_trip is False
    assert find_oddities(rows, SUITE, faulty("invert")) == [
        "1 of 3 answers under 'faulty' could not be inverted, which is a bug in that conjugation; "
        "they are scored broken."
    ]
    mended = Recorder()
    rows = evaluate(mended, SUITE, faulty("nothing"), store=store, role="base")
    assert [len(call) for call in mended.calls] == [1]
    assert rows[2].outcome == "right"


def test_what_an_answer_should_have_been_is_recorded_even_if_it_cannot_be_conjugated(
    store: AnswerStore,
) -> None:
    [via] = faulty("invert")
    via.conjugation.exact = False
    settings = Settings(stop_when_decided=False)
    row = evaluate(Recorder(), SUITE, [via], store=store, role="base", settings=settings)[2]
    assert (row.outcome, row.finish) == ("broken", UNINVERTIBLE)
    assert (row.right_answers, row.intruding_answers) == ('["Say"]', '["it"]')


def test_a_conjugation_that_fails_on_a_prompt_names_the_example(store: AnswerStore) -> None:
    with pytest.raises(UserError, match=r"'faulty' fails on the example '3'.*went wrong"):
        evaluate(Recorder(), SUITE, faulty("apply"), store=store, role="base")


def test_prompts_that_a_conjugation_leaves_alone_are_counted(store: AnswerStore) -> None:
    examples = (an_example("1", "1 + 2", "3", "4"), an_example("2", "one", "two", "four"))
    suite = Suite(name="numbers", examples=examples)
    both = vias("identity", "upper", suite=suite)
    rows = evaluate(Recorder(lambda _: "3"), suite, both, store=store, role="base")
    assert find_oddities(rows, suite, both) == [
        "1 of 2 prompts under 'upper' are the same as without it."
    ]


def test_answers_that_a_lossy_conjugation_makes_alike_are_counted(store: AnswerStore) -> None:
    suite = Suite(name="case", examples=(an_example("1", "say: Cat", "Cat", "cat"),))
    rows = evaluate(Recorder(lambda _: "CAT"), suite, vias("upper"), store=store, role="base")
    assert rows[0].outcome == "broken"
    assert find_oddities(rows, suite, vias("upper")) == [
        "1 of 1 examples under 'upper' have an answer that counts for both abilities; "
        "it is scored broken."
    ]


def test_a_language_without_examples_is_named(store: AnswerStore) -> None:
    via = replace(parse_via("fr", SUITE), language="xx")
    with pytest.raises(UserError, match="no examples in 'xx'") as caught:
        evaluate(Recorder(), SUITE, [via], store=store, role="base")
    assert caught.value.hint == "It has: en, fr."


def test_two_examples_of_one_name_are_refused(store: AnswerStore) -> None:
    suite = replace(SUITE, examples=(SUITE.examples[0], SUITE.examples[0]))
    with pytest.raises(UserError, match="the example '1' twice in 'en'"):
        evaluate(Recorder(), suite, vias("identity"), store=store, role="base")


class Batches(ScriptedModel):
    """Answers half of the prompts at once, and the others only when those are in the file."""

    def __init__(self, file: Path) -> None:
        super().__init__(str, fingerprint="batches")
        self._file = file

    def generate(
        self, prompts: Sequence[Prompt], **options: Any
    ) -> Iterator[tuple[int, Generation]]:
        half = len(prompts) // 2
        for index, answer in super().generate(prompts, **options):
            if index == half:
                self._wait_for(half)
            yield index, answer

    def _wait_for(self, n_answers: int) -> None:
        end = time.monotonic() + 10
        while True:
            with AnswerStore(self._file, read_only=True) as store:
                if len(store) == n_answers:
                    return
            assert time.monotonic() < end, "answers wait for the next one"
            time.sleep(0.01)


def test_answers_are_in_the_file_while_the_model_works_at_the_next(tmp_path: Path) -> None:
    examples = [an_example(f"{n}", f"Say {n}", "Say", "no") for n in range(64)]
    suite = Suite(name="batches", examples=tuple(examples))
    file = tmp_path / "answers.sqlite"
    with AnswerStore(file) as store:
        via = parse_via("identity", suite)
        rows = evaluate(Batches(file), suite, [via], store=store, role="base")
    assert len(rows) == 64


def test_a_disk_that_is_full_meanwhile_is_told_with_the_next_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = [an_example(f"{n}", f"Say {n}", "Say", "no") for n in range(4)]
    suite = Suite(name="full", examples=tuple(examples))

    def slowly(prompt: Prompt) -> str:
        if str(prompt).endswith("3"):
            time.sleep(0.2)
        return str(prompt)

    with AnswerStore(tmp_path / "answers.sqlite") as store:
        written: list[int] = []

        def add(rows: Iterable[AnswerRow]) -> None:
            if written:
                raise UserError("The disk is full.")
            written.append(len(list(rows)))

        monkeypatch.setattr(store, "add", add)
        model = ScriptedModel(slowly, fingerprint="slow")
        with pytest.raises(UserError, match="disk is full"):
            evaluate(model, suite, [parse_via("identity", suite)], store=store, role="base")
    assert written == [1]
