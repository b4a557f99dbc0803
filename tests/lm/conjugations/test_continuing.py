"""What a context and its continuation become, for every registered conjugation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.errors import UserError
from palimpsest.lm.conjugations import CONJUGATIONS, TextConjugation, parse_conjugation
from palimpsest.lm.conjugations.continuing import Continued, continue_all

SPECS = [*CONJUGATIONS, "leet|rot13", "pig-latin|leet", "protect(leet)", "protect(leet-paper)"]
ALL = [parse_conjugation(spec) for spec in SPECS]
LETTER_BY_LETTER = [parse_conjugation(name) for name in ("identity", "leet", "upper", "rot13")]

TEXTS = st.text(st.sampled_from([*"aeTz 7·\\`.\n", "é", "ß", "\u0301"]), max_size=12)


def one(conjugation: TextConjugation, context: str, continuation: str) -> Continued:
    [continued] = continue_all(conjugation, [(context, continuation)])
    return continued


@pytest.mark.parametrize("conjugation", ALL, ids=lambda each: each.name)
@settings(max_examples=50)
@given(context=TEXTS, continuation=TEXTS)
def test_the_context_is_the_same_whatever_follows_and_what_is_joined_is_the_whole(
    conjugation: TextConjugation, context: str, continuation: str
) -> None:
    sent = one(conjugation, context, continuation)
    assert sent.context == conjugation.apply(context)
    assert sent.continuation.startswith(leading_space(continuation))
    if sent.joined:
        assert sent.context + sent.continuation == conjugation.apply(context + continuation)


def leading_space(text: str) -> str:
    return text[: len(text) - len(text.lstrip())]


@pytest.mark.parametrize(
    "conjugation", [each for each in ALL if each.exact], ids=lambda each: each.name
)
@settings(max_examples=50)
@given(context=TEXTS, continuation=TEXTS)
def test_a_continuation_by_itself_is_an_answer_that_inverts_to_it(
    conjugation: TextConjugation, context: str, continuation: str
) -> None:
    sent = one(conjugation, context, continuation)
    if not sent.joined:  # base64 drops white space around what it reads
        assert conjugation.invert(sent.continuation).strip() == continuation.strip()


@pytest.mark.parametrize("conjugation", LETTER_BY_LETTER, ids=lambda each: each.name)
@settings(max_examples=50)
@given(context=TEXTS, continuation=TEXTS)
def test_what_works_letter_by_letter_always_joins(
    conjugation: TextConjugation, context: str, continuation: str
) -> None:
    sent = one(conjugation, context, continuation)
    assert sent == (conjugation.apply(context), conjugation.apply(continuation), True)


def test_choices_of_one_question_come_after_the_same_text() -> None:
    pairs = [("It is the", " end"), ("It is the", "ir end")]
    after_word, within_word = continue_all(parse_conjugation("pig-latin"), pairs)
    assert after_word == ("It·ay is·ay e·thay", " end·ay", True)
    assert within_word == ("It·ay is·ay e·thay", "ir·ay end·ay", False)


def test_an_empty_context_stays_empty() -> None:
    assert one(parse_conjugation("leet"), "", " Yes, so") == ("", " Y35, 50", True)


def test_base64_keeps_the_space_whatever_the_length_of_the_context() -> None:
    base64 = parse_conjugation("base64")
    ends = {one(base64, "x" * n, " yes").continuation for n in range(6)}
    assert ends == {" eWVz"}


def test_many_pairs_are_prepared_at_a_time_and_come_in_order() -> None:
    pairs = [(f"{n}", f" {n}") for n in range(1500)]
    rot13 = parse_conjugation("rot13")
    assert [each.context for each in continue_all(rot13, pairs)] == [c for c, _ in pairs]


class _Mute(TextConjugation):
    name, exact = "mute", False

    def apply(self, prompt: str) -> str:
        return prompt if "?" in prompt else ""

    def invert(self, answer: str) -> str:
        return answer


def test_a_continuation_of_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(UserError, match="'mute' leaves nothing of the continuation ' yes'"):
        one(_Mute(), "", " yes")
