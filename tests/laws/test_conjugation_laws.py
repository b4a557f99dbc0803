"""What every registered text conjugation promises; a new one is tested here by itself."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.examples import examples

from palimpsest.lm.conjugations import CONJUGATIONS, TextConjugation, parse_conjugation

NAMES = list(CONJUGATIONS)
CHAINS = ["leet|rot13", "pig-latin|leet", "leet|pig-latin|base64", "reverse-words|upper"]
PROTECTED = [
    "protect(leet,labels+code+urls+placeholders)",
    "protect(pig-latin)",
    "protect(rot13,labels+code+placeholders+numbers)",
    "protect(base64,labels+code+placeholders)",
    "protect(identity)|pig-latin",
    "protect(leet)",
    "protect(reverse-words)",
    "protect(leet-paper,numbers)",
]
SPECS = [*NAMES, *CHAINS, *PROTECTED]
ALL = [parse_conjugation(spec) for spec in SPECS]
EXACT = [conjugation for conjugation in ALL if conjugation.exact]
LOSSY = [parse_conjugation(name) for name in NAMES if not parse_conjugation(name).exact]

# Pieces that have special meaning to one rule or another, to be put next to each other.
PIECES = [
    "·",
    "\\",
    "`",
    "```",
    "{",
    "}",
    "{{",
    ":",
    "//",
    "http",
    "https://",
    "http://a.b",
    "uggc://",
]
PIECES += [
    "a",
    "e",
    "I",
    "it",
    "so",
    "y",
    "ay",
    "AY",
    "yay",
    "Trash",
    "TRASH",
    "the",
    "brr",
    "x",
    "Xi",
]
PIECES += [
    "0",
    "1",
    "17",
    "9",
    "3.5",
    "4,",
    "_",
    "-",
    "'",
    "’",
    " ",
    "  ",
    "\n",
    "\t",
    "\r\n",
    "\x85",
]
PIECES += [
    "İ",
    "ß",
    "ſ",
    "ŉ",
    "ǅ",
    "ǆ",
    "Σ",
    "ς",
    "É",
    "é",
    "e\u0301",
    "\u0301",
    "\u0345",
    "ᾳ",
    "ﬃ",
    "ı",
]
PIECES += [
    "Input:",
    "Entrée :",
    "\nOutput:",
    "{name}",
    "{0}",
    "`code`",
    "=",
    "SGk=",
    "U2F5",
    "猫",
    "א",
]
PIECES += ["\ud800", "\udc00", "\x00", "🙂", "²", "½", "٣", "Ⅷ", "<script>"]

every_text = st.text(st.characters() | st.characters(categories=["Cs"]))
tricky_text = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
texts = tricky_text | every_text

# Every law meets so many texts for each of some twenty conjugations.
few = examples(40)

over_all = pytest.mark.parametrize("conjugation", ALL, ids=lambda c: c.name)
over_exact = pytest.mark.parametrize("conjugation", EXACT, ids=lambda c: c.name)
over_lossy = pytest.mark.parametrize("conjugation", LOSSY, ids=lambda c: c.name)


@pytest.mark.slow
@over_exact
@few
@given(texts)
@example("")
def test_exact_conjugations_return_every_text(conjugation: TextConjugation, text: str) -> None:
    assert conjugation.invert(conjugation.apply(text)) == text


@over_lossy
@few
@given(texts)
def test_what_a_lossy_conjugation_loses_it_loses_at_once(
    conjugation: TextConjugation, text: str
) -> None:
    once = conjugation.invert(conjugation.apply(text))
    assert conjugation.invert(conjugation.apply(once)) == once


@pytest.mark.slow
@over_all
@few
@given(text=texts, share=st.floats(0, 1))
def test_what_is_certain_of_a_beginning_begins_the_whole(
    conjugation: TextConjugation, text: str, share: float
) -> None:
    beginning = text[: round(share * len(text))]
    assert conjugation.invert(text).startswith(conjugation.certain(beginning))


@pytest.mark.slow
@over_all
@few
@given(text=texts, share=st.floats(0, 1))
def test_what_is_certain_only_grows(conjugation: TextConjugation, text: str, share: float) -> None:
    beginning = text[: round(share * len(text))]
    assert conjugation.certain(text).startswith(conjugation.certain(beginning))


@pytest.mark.slow
@over_all
@few
@given(texts)
def test_the_inverse_takes_whatever_a_model_says(conjugation: TextConjugation, text: str) -> None:
    assert isinstance(conjugation.invert(text), str)


@over_all
def test_a_conjugation_keeps_everything_exactly_when_it_is_exact(
    conjugation: TextConjugation,
) -> None:
    assert (conjugation.keeps == "everything") == conjugation.exact


@pytest.mark.parametrize("spec", SPECS)
def test_the_name_is_a_spec_for_the_same_conjugation(spec: str) -> None:
    conjugation = parse_conjugation(spec)
    again = parse_conjugation(conjugation.name)
    assert again.fingerprint == conjugation.fingerprint
    assert again.name == conjugation.name


def test_registered_names_are_the_names_of_the_conjugations() -> None:
    assert [parse_conjugation(name).name for name in NAMES] == NAMES


def test_no_two_conjugations_share_a_fingerprint() -> None:
    assert len({conjugation.fingerprint for conjugation in ALL}) == len(ALL)


LONG = {
    "prose": "What is 5 plus 7? Trash covered the landscape, said I. " * 1800,
    "one word": "a" * 100_000,
    "consonants": "b" * 100_000,
    "capitals": "TRASH" * 20_000,
    "hyphens": "say-a-" * 17_000,
    "dots": "a·" * 50_000,
    "backslashes": "\\" * 100_001,
    "backticks": "`" * 100_001,
    "open code": "```" + "a `b\n" * 17_000,
    "braces": "{a" * 50_000,
    "digits": "1" * 100_000 + "a",
    "dotted digits": "1." * 50_000 + "1a",
    "spaces": "\n" + " " * 100_000 + "x",
    "lines": "\nInput" * 17_000,
    "address": "http://" + "!" * 100_000,
    "addresses": "http://!" * 12_500,
    "accents": "e" + "\u0301" * 100_000,
    "spaced": "a " * 50_000,
}
QUICK = {"prose", "backslashes", "open code", "digits", "spaces", "address"}
"""Those that the default tier has: one for each kind of run in a pattern."""


@pytest.mark.slow
@pytest.mark.parametrize("conjugation", [*ALL[: len(NAMES)], parse_conjugation("protect(leet)")])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for name, text in LONG.items()
    ],
)
def test_a_hundred_kilobytes_take_no_time_to_speak_of(
    conjugation: TextConjugation, text: str
) -> None:
    began = time.process_time()
    conjugation.invert(conjugation.apply(text))
    conjugation.invert(text)
    conjugation.certain(text)
    # Typically some 10 ms; anything quadratic would take minutes.
    assert time.process_time() - began < 5


@pytest.mark.slow
@over_all
@few
@given(texts)
def test_no_text_grows_beyond_what_is_stated(conjugation: TextConjugation, text: str) -> None:
    assert len(conjugation.apply(text)) <= conjugation.growth * len(text)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_single_character_grows_beyond_what_is_stated(name: str) -> None:
    conjugation = parse_conjugation(name)
    worst = max(map(chr, range(0x20000)), key=lambda char: len(conjugation.apply(char)))
    assert len(conjugation.apply(worst)) <= conjugation.growth, worst
