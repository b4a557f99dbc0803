"""The equation with a real model, for every registered conjugation."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.laws.test_conjugation_laws import ALL as EVERY
from tests.laws.test_conjugation_laws import EXACT, texts

from palimpsest.errors import UserError
from palimpsest.lm.conjugations import CONJUGATIONS, TextConjugation, parse_conjugation
from palimpsest.lm.exchange import BrokenPromiseError, Continued, Exchange, continue_all
from palimpsest.lm.stops import cut

SPECS = [*CONJUGATIONS, "leet|rot13", "pig-latin|leet", "protect(leet)", "protect(leet-paper)"]
ALL = [parse_conjugation(spec) for spec in SPECS]
LETTER_BY_LETTER = [parse_conjugation(name) for name in ("identity", "leet", "upper", "rot13")]

TEXTS = st.text(st.sampled_from([*"aeTz 7·\\`.\n", "é", "ß", "\u0301"]), max_size=12)


def one(conjugation: TextConjugation, context: str, continuation: str) -> Continued:
    [continued] = continue_all(Exchange(conjugation), [(context, continuation)])
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

few = settings(max_examples=25, deadline=None)
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


@over_all
@few
@given(text=texts | marked, stops=stop_lists, sizes=lengths)
def test_what_is_streamed_is_together_what_is_answered_at_once(
    conjugation: TextConjugation, text: str, stops: list[str], sizes: list[int]
) -> None:
    exchange = Exchange(conjugation, stops)
    before_mark = cut(text, [stop for stop in stops if stop == MARK])
    whole = cut(conjugation.invert(before_mark), exchange.read_stops)
    assert exchange.read(text).text == whole
    assert "".join(_streamed(conjugation, stops, _pieces(text, sizes))) == whole


@over_all
@few
@given(text=texts, stops=stop_lists, share=st.floats(0, 1))
def test_what_is_settled_of_a_beginning_begins_the_answer_and_a_stop_in_it_ends_it(
    conjugation: TextConjugation, text: str, stops: list[str], share: float
) -> None:
    exchange = Exchange(conjugation, stops)
    settled, whole = exchange.settled(text[: round(share * len(text))]), exchange.read(text)
    assert whole.text.startswith(settled.text)
    if settled.stopped:
        assert whole == settled


@over_exact
@few
@given(text=texts, sizes=lengths)
def test_an_answer_in_conjugated_text_comes_back_whole(
    conjugation: TextConjugation, text: str, sizes: list[int]
) -> None:
    pieces = _pieces(conjugation.apply(text), sizes)
    assert "".join(_streamed(conjugation, [], pieces)) == text


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
