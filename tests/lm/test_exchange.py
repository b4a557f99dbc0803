"""The equation with a real model, for every registered conjugation."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples
from tests.laws.test_conjugation_laws import ALL as EVERY
from tests.laws.test_conjugation_laws import EXACT, texts

from palimpsest.errors import UserError
from palimpsest.lm.conjugations import CONJUGATIONS, TextConjugation, parse_conjugation
from palimpsest.lm.continuations import Continued, continue_all
from palimpsest.lm.exchange import (
    IN_PLAIN_TEXT,
    PARTLY_PLAIN,
    THOUGHT_ALONE,
    BrokenPromiseError,
    Exchange,
)
from palimpsest.lm.stops import cut

SPECS = [*CONJUGATIONS, "leet|rot13", "pig-latin|leet", "protect(leet)", "protect(leet-paper)"]
ALL = [parse_conjugation(spec) for spec in SPECS]
LETTER_BY_LETTER = [parse_conjugation(name) for name in ("identity", "leet", "upper", "rot13")]

TEXTS = st.text(st.sampled_from([*"aeTz 7·\\`.\n", "é", "ß", "\u0301"]), max_size=12)


def one(conjugation: TextConjugation, context: str, continuation: str) -> Continued:
    [continued] = continue_all(Exchange(conjugation), [(context, continuation)])
    return continued


@pytest.mark.parametrize("conjugation", ALL, ids=lambda each: each.name)
@examples(50)
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
@examples(50)
@given(context=TEXTS, continuation=TEXTS)
def test_a_continuation_by_itself_is_an_answer_that_inverts_to_it(
    conjugation: TextConjugation, context: str, continuation: str
) -> None:
    sent = one(conjugation, context, continuation)
    if not sent.joined:  # base64 drops white space around what it reads
        assert conjugation.invert(sent.continuation).strip() == continuation.strip()


@pytest.mark.parametrize("conjugation", LETTER_BY_LETTER, ids=lambda each: each.name)
@examples(50)
@given(context=TEXTS, continuation=TEXTS)
def test_what_works_letter_by_letter_always_joins(
    conjugation: TextConjugation, context: str, continuation: str
) -> None:
    sent = one(conjugation, context, continuation)
    assert sent == (conjugation.apply(context), conjugation.apply(continuation), True)


def test_choices_of_one_question_come_after_the_same_text() -> None:
    pairs = [("It is the", " end"), ("It is the", "ir end")]
    after_word, within_word = continue_all(Exchange(parse_conjugation("pig-latin")), pairs)
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
    rot13 = Exchange(parse_conjugation("rot13"))
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


MARK = "<|im_end|>"

few = examples(25)
over_all = pytest.mark.parametrize("conjugation", EVERY, ids=lambda c: c.name)
over_exact = pytest.mark.parametrize("conjugation", EXACT, ids=lambda c: c.name)

stop_lists = st.lists(
    st.sampled_from(["\n", "\n\n", "ab", "abc", "b", "User:", " so", "7", "·", "###", "\\", MARK])
    | st.text(min_size=1, max_size=3),
    max_size=3,
)
marked = st.tuples(texts, texts).map(lambda parts: f"{parts[0]}{MARK}{parts[1]}")
lengths = st.lists(st.integers(1, 7), min_size=1, max_size=30)


def _pieces(text: str, sizes: list[int]) -> list[str]:
    pieces: list[str] = []
    place = 0
    while place < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[place : place + size])
        place += size
    return pieces


def _streamed(conjugation: TextConjugation, stops: list[str], pieces: list[str]) -> list[str]:
    reader = Exchange(conjugation, stops).reader()
    return [*(reader.feed(piece) for piece in pieces), reader.finish()]


@pytest.mark.slow
@over_all
@few
@given(text=texts | marked, stops=stop_lists, sizes=lengths)
def test_what_is_streamed_is_together_what_is_answered_at_once(
    conjugation: TextConjugation, text: str, stops: list[str], sizes: list[int]
) -> None:
    exchange = Exchange(conjugation, stops)
    whole = exchange.read(text).text
    assert "".join(_streamed(conjugation, stops, _pieces(text, sizes))) == whole
    if exchange.form(text) == "conjugated":
        before_mark = cut(text, [stop for stop in stops if stop == MARK])
        assert whole == cut(conjugation.invert(before_mark), exchange.read_stops)


@pytest.mark.slow
@over_all
@few
@given(text=texts, stops=stop_lists, share=st.floats(0, 1))
def test_what_is_settled_of_a_beginning_begins_the_answer_and_a_stop_in_it_ends_it(
    conjugation: TextConjugation, text: str, stops: list[str], share: float
) -> None:
    exchange = Exchange(conjugation, stops)
    readings, whole = exchange.settled(text[: round(share * len(text))]), exchange.read(text)
    assert any(
        whole == each if each.stopped else whole.text.startswith(each.text) for each in readings
    )


@pytest.mark.slow
@over_exact
@few
@given(text=texts, sizes=lengths)
def test_an_answer_in_conjugated_text_comes_back_whole(
    conjugation: TextConjugation, text: str, sizes: list[int]
) -> None:
    pieces = _pieces(conjugation.apply(text), sizes)
    assert "".join(_streamed(conjugation, [], pieces)) == text


@pytest.mark.slow
@over_exact
@few
@given(before=texts, after=texts, stops=stop_lists)
def test_a_model_that_is_stopped_gives_the_answer_of_one_that_is_not(
    conjugation: TextConjugation, before: str, after: str, stops: list[str]
) -> None:
    raw = conjugation.apply(before + (stops[0] if stops else "") + after)
    exchange = Exchange(conjugation, stops)
    stopped = cut(raw, exchange.sent_stops)
    assert exchange.read(stopped).text == exchange.read(raw).text


@pytest.mark.slow
def test_long_answers_are_streamed_in_linear_time_to_speak_of() -> None:
    reader = Exchange(parse_conjugation("pig-latin"), ["\n\n\n"]).reader()
    text = parse_conjugation("pig-latin").apply("Trash covered the landscape. " * 1000)
    began = time.process_time()
    given = [reader.feed(piece) for piece in _pieces(text, [4])]
    given.append(reader.finish())
    # About 1 s; inverting everything at each of 10,000 pieces would take a minute.
    assert time.process_time() - began < 15
    assert "".join(given) == "Trash covered the landscape. " * 1000
    # Nothing is held back for long.
    assert sum(map(bool, given)) > 500


class _Liar(TextConjugation):
    name, exact = "liar", True

    def apply(self, prompt: str) -> str:
        return prompt

    def invert(self, answer: str) -> str:
        return answer

    def certain(self, partial: str) -> str:
        return partial.upper()


def test_a_conjugation_that_takes_back_what_was_certain_is_caught() -> None:
    with pytest.raises(BrokenPromiseError):
        _streamed(_Liar(), [], ["abc", "def"])


CONJUGATED = {
    "leet": "7h3 4n5w3r 15 \\\\10",
    "pig-latin": "E·thay answer·ay is·ay 10",
    "leet-paper": "7H3 4N5W3R 15 10",
    "upper": "THE ANSWER IS 10",
    "rot13": "Gur nafjre vf 10",
}


@pytest.mark.parametrize("name", CONJUGATED)
def test_an_answer_in_plain_text_is_left_as_it_is(name: str) -> None:
    exchange = Exchange(parse_conjugation(name))
    for plain in ("The answer is: 10", "The number 15 is"):
        assert exchange.form(plain) == "plain"
        assert exchange.read(plain).text == exchange.image(plain)
        assert exchange.answer_flags([plain]) == (IN_PLAIN_TEXT,)


@pytest.mark.parametrize(("name", "raw"), CONJUGATED.items())
def test_an_answer_that_is_conjugated_is_inverted(name: str, raw: str) -> None:
    exchange = Exchange(parse_conjugation(name))
    assert exchange.form(raw) == "conjugated"
    assert exchange.read(raw).text == exchange.conjugation.invert(raw)
    mixed = f"{raw} The answer is"
    assert exchange.form(mixed) == "mixed"
    assert PARTLY_PLAIN in exchange.answer_flags([mixed])


@pytest.mark.parametrize("raw", ["10", "", " ...", "15 17"])
def test_where_nothing_can_tell_a_model_is_taken_to_answer_as_it_was_asked(raw: str) -> None:
    leet = Exchange(parse_conjugation("leet"))
    assert leet.form(raw) == "conjugated"
    assert leet.read(raw).text == leet.conjugation.invert(raw)


THOUGHTS = {
    "<think>Let me see.\n</think>\n\nWh3r3": "Where",
    "[THINK]hm[/THINK]Wh3r3": "Where",
    "<thinking>\nhm": "",
    "<think>": "",
    "<7h 15": "<th is",
}


@pytest.mark.parametrize(("raw", "answer"), THOUGHTS.items())
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_thought_is_no_answer_and_stops_nothing(raw: str, answer: str, size: int) -> None:
    exchange = Exchange(parse_conjugation("leet"), ["\n"])
    assert exchange.read(raw).text == answer
    assert "".join(_streamed(exchange.conjugation, ["\n"], _pieces(raw, [size]))) == answer
    assert (THOUGHT_ALONE in exchange.answer_flags([raw])) == (answer == "")
