"""What explains a wrong answer and is no loss, and what a verdict makes of it."""

from __future__ import annotations

import json

import pytest

from palimpsest.judging.analysis import Analysis, analyse
from palimpsest.judging.looking import look, loosened
from palimpsest.records import AnswerKey, AnswerRow, Looked, Outcome

N = 40


def row(
    i: int,
    answer: str,
    outcome: Outcome = "broken",
    *,
    right: str = "Paris",
    intruding: str | None = None,
    finish: str = "stop",
    prompt: str = "The capital?",
    role: str = "tuned",
    via: str = "identity",
    raw: str | None = None,
    language: str = "en",
) -> AnswerRow:
    return AnswerRow(
        key=AnswerKey("m", "en", f"{i:03}", via, "s"),
        role=role,
        via=via,
        cell="all",
        language=language,
        prompt=f"{i}: {prompt}",
        raw=answer if raw is None else raw,
        answer=answer,
        right_answers=json.dumps([right]),
        intruding_answers=json.dumps([] if intruding is None else [intruding]),
        outcome=outcome,
        finish=finish,
        round_trip=True,
        latency_seconds=0.0,
    )


def seen(*answers: str, right: str = "Paris") -> Looked:
    found = look(
        [row(i, answer, right=right) for i, answer in enumerate(answers)], {}, len(answers)
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("The capital of France is Paris.", "Paris"),
        ("the capital is PARIS", "Paris"),
        ("**Ecole**", "École"),
        ("It costs 1200 euros.", "1,200"),
        ("That makes 1,200.", "1200"),
        ("Exactly 3,5.", "3.5"),
        ("It is 12.00 in all.", "12"),
        ("The USA, I think.", "U.S.A."),
        ("It is 東京です", "東京"),
    ],
)
def test_the_expected_answer_further_on_or_in_another_form_is_found(
    answer: str, right: str
) -> None:
    assert seen(answer, right=right).found == {"further on": 1}


@pytest.mark.parametrize(
    ("answer", "right", "intruding", "prompt"),
    [
        ("Parisians live there", "Paris", None, "?"),
        ("It is 120, 3.12 or -12", "12", None, "?"),
        ("Not Paris but Rome", "Paris", "Rome", "?"),
        ("what is five", "WHAT", None, "Capitalise: what is 5?"),
        ("I saw a house", "A", None, "A, B or C?"),
        ("Berlin, surely", "Paris", None, "?"),
    ],
    ids=["part of a word", "part of a number", "both", "the form is asked for", "a letter", "no"],
)
def test_what_is_not_the_expected_answer_is_not_found(
    answer: str, right: str, intruding: str | None, prompt: str
) -> None:
    found = look([row(0, answer, right=right, intruding=intruding, prompt=prompt)], {}, 1)
    assert found is not None
    assert found.found == {}


def test_the_prompt_as_it_is_plainly_says_which_form_is_asked_for() -> None:
    conjugated = row(0, "what is five", right="WHAT", prompt="C4p174l153: wh47")
    assert look([conjugated], {"000": "Capitalise: what"}, 1) == look([row(0, "no")], {}, 1)


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("empty", {"answer": " \n"}),
        ("cut off", {"answer": "", "finish": "length"}),
        ("a thought alone", {"answer": "", "raw": "<think>The capital of"}),
        ("refusal", {"answer": " I’m sorry, but I can’t help with that."}),
        ("refusal", {"answer": "Lo siento, no puedo ayudar."}),
        ("another language", {"answer": "Die Stadt ist nicht mit dem Zug zu erreichen."}),
        ("another language", {"answer": "Это большой город"}),
        ("cut off", {"answer": "The capital of the country is", "finish": "length"}),
    ],
)
def test_each_kind_of_answer_that_shows_no_loss_is_told(kind: str, facts: dict[str, str]) -> None:
    found = look([row(0, **facts)], {}, 1)  # type: ignore[arg-type]
    assert found is not None
    assert found.found == {kind: 1}
    assert found.examples == {"000": kind}
    assert found.explained == 1.0


def test_one_answer_to_everything_is_told_unless_it_answers_some_prompt() -> None:
    rows = [row(i, "Hm.", right=f"city {i}") for i in range(20)]
    found = look(rows, {}, 20)
    assert found is not None
    assert found.found == {"identical": 20}
    guesses = look([*rows, row(20, "hm", "right", right="Hm")], {}, 21)
    assert guesses is not None
    assert guesses.found == {}


def test_what_chance_finds_is_taken_off() -> None:
    letters = [row(i, "B C D or E", right="BCDE"[i % 4]) for i in range(40)]
    found = look(letters, {}, 40)
    assert found is not None
    assert found.found == {"further on": 40}
    assert found.explained == 0.0


def test_answers_of_another_ability_are_not_looked_at() -> None:
    found = look([row(i, "12 Paris", "intruded") for i in range(20)], {}, 20)
    assert found is not None
    assert (found.n_wrong, found.explained) == (0, 0.0)


def test_a_sample_stands_for_those_that_were_cut_and_too_few_for_none() -> None:
    def cut_but(n_whole: int) -> Looked | None:
        from palimpsest.judging.whole import sample_rank

        ids = sorted(range(N), key=lambda i: sample_rank(f"{i:03}"))
        whole = set(ids[:n_whole])
        answers = [
            row(i, "It is Paris") if i in whole else row(i, "It", finish="cut") for i in range(N)
        ]
        return look(answers, {}, 2 * N)

    sample, few = cut_but(20), cut_but(5)
    assert sample is not None
    assert (sample.n_looked, sample.explained) == (20, 0.5)
    assert few is not None
    assert (few.n_looked, few.explained) == (0, 0.0)


def test_chosen_and_graded_answers_and_logs_without_texts_say_nothing() -> None:
    rows = [row(0, "x", finish="chosen"), row(1, "x")._replace(score=0.5)]
    assert look(rows, {}, 2) is None
    assert look([row(0, "", finish="logged")], {}, 1) is None


def test_a_model_that_says_nothing_at_all_is_seen_to_be_silent() -> None:
    assert seen("", "", "").found == {"empty": 3}


def test_of_a_log_the_whole_text_is_looked_at() -> None:
    logged = row(0, "[invalid]", raw="<think>Hm.</think> It is Paris.", finish="logged")
    found = look([logged], {}, 1)
    assert found is not None
    assert (found.found, found.scorer) == ({"further on": 1}, None)


def test_the_scorer_that_finds_them_is_named() -> None:
    assert seen("It is Paris.").scorer == "contains"
    assert seen("Ecole.", right="École").scorer is None


class Way:
    exact, keeps, native = True, "everything", False

    def __init__(self, name: str) -> None:
        self.name = name


def judged(plain: str, leet: str | None = None, n: int = 100, n_bad: int = 100) -> Analysis:
    """Judge a tuned model that says one thing plainly, and another under leet."""
    rows = []
    for i in range(n):
        for via, said in (("identity", plain), ("leet", leet)):
            if said is None:
                continue
            right = f"city{chr(97 + i // 26)}{chr(97 + i % 26)}"
            told = said.format(right) if i < n_bad else f"wrong {i * i}"
            outcome: Outcome = "right" if told == right else "broken"
            rows.append(row(i, right, "right", right=right, role="base", via=via))
            rows.append(row(i, told, outcome, right=right, via=via))
    return analyse(rows, vias=[Way("leet")], n_resamples=200)


def test_a_fall_that_sentences_explain_is_no_loss() -> None:
    found = judged("It is {}.", "It is {}.")
    assert found.verdict == "inconclusive"
    assert "50 wrong" not in found.verdict_reason
    assert "100 have the expected answer further on" in found.verdict_reason
    assert "palimpsest rescore DIR --scorer contains" in found.verdict_reason
    assert any("no sign of a loss" in warning for warning in found.warnings)
    assert found.plain.looked is not None
    assert len(found.plain.looked.examples) == 10


def test_a_suppression_that_sentences_explain_is_none() -> None:
    assert judged("It is {}.", "{}").verdict == "inconclusive"


def test_no_recovery_that_sentences_explain_is_no_loss() -> None:
    found = judged("un{}", "It is {}.")
    assert found.verdict == "inconclusive"
    assert "under 'leet' little of it comes back, but of 100 wrong" in found.verdict_reason


@pytest.mark.parametrize(("n_bad", "verdict"), [(10, "lost"), (60, "inconclusive")])
def test_a_loss_stands_where_little_of_it_is_explained(n_bad: int, verdict: str) -> None:
    found = judged("It is {}.", "It is {}.", n_bad=n_bad)
    assert found.verdict == verdict


def test_a_loss_in_earnest_is_one() -> None:
    found = judged("{}", "{}", n_bad=0)
    assert found.verdict == "lost"
    assert not [warning for warning in found.warnings if "sign of a loss" in warning]


def test_loosened_text_has_no_case_accents_punctuation_or_forms_of_numbers() -> None:
    assert loosened("Straße, 1’000 km") == "strasse 1000 km"
    assert loosened("5, 6") == "5 6"
    assert loosened("v1.10.0") == loosened("V1.10.0")
