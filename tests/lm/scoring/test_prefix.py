import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.lm.scoring.prefix import PrefixScorer
from palimpsest.lm.scoring.words import normalise

# Texts that meet in the middle: prefixes of each other, accents, joiners, scripts without spaces.
WORDS = ["New", "New York", "New Year", "12", "120", "12.5", "____", "don", "don't", "café", "cafe"]
WORDS += ["猫", "猫背", "ő", "한", "하", "C++", r"\1\2", "in·nes", "Hi!", "الكتاب"]
PIECES = [*WORDS, " ", "\n", "\u00a0", ".", ",", "'", "’", "-", "_", "?", "=", "\x00"]
PIECES += ["\\", "\\_", "0", "5", "s", "York", "ᆫ", "です", "\u0301", "\u0328", "\u0338"]

texts = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=8)
answers = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3)


def test_normalising_composes_accents_and_collapses_space() -> None:
    assert normalise("\u00a0 cafe\u0301 \t\n au lait") == "café au lait"


def test_normalising_undoes_the_underscores_that_markdown_escapes() -> None:
    assert normalise(r"\_\_\_\_ bus") == "____ bus"


@given(texts)
def test_normalising_twice_is_normalising_once(text: str) -> None:
    once = normalise(text)
    # A backslash run before an underscore loses one backslash each time, as Markdown would have it.
    if "\\_" not in once:
        assert normalise(once) == once


WHOLE = [
    # numbers, and what may stand behind them
    ("12", "12"),
    ("12", "  12\n"),
    ("12", "12."),
    ("12", "12, of course"),
    ("12", "12です"),
    ("12", "12 500"),
    ("12", "12%"),
    ("12", "12 %"),
    ("12", "12€"),
    ("12", "12°C"),
    ("12", "12)"),
    ("12", "12!"),
    ("12", "12 – 5 = 7"),
    ("12", "12\u00a0km"),
    ("12", "\u200b12"),
    ("-7", "-7."),
    # words, and what may stand behind them
    ("What", "What is 5 plus 7?"),
    ("What", "What?"),
    ("What", "What..."),
    ("What", "What…"),
    ("What", "What!?"),
    ("What", "What\tis"),
    ("What", "What\u00a0is"),
    ("What", "What\n\nInput: The"),
    ("What", "What — is"),
    ("What", "What–is"),
    ("What", "What\u201d"),
    ("What", "What' is"),
    ("What", "What_ is"),
    ("What", "What</s>"),
    ("What", "What<|im_end|>"),
    ("What", "What😀"),
    ("What", "\ufeffWhat is"),
    ("What", "\u3000What is"),
    ("the", "the 'old' one"),
    ("well", "well- "),
    # blanks
    ("____", r"\_\_\_\_ bus is late."),
    ("____", "____, bus"),
    # accents, apostrophes and hyphens of all kinds
    ("¿Cuánto", "¿Cua\u0301nto es 5 más 7?"),
    ("Qu'est-ce", "Qu’est-ce que"),
    ("Qu’est-ce", "Qu'est-ce que"),
    ("Qu'est-ce", "Qu'est\u2011ce que"),
    ("L'été", "L’e\u0301te\u0301 est"),
    ("Ça", "Ça va"),
    ("Où", "Ou\u0300 est"),
    ("É", "É."),
    ("don't", "don’t know"),
    ("Mädchen", "Ma\u0308dchen"),
    ("Straße", "Straße 5"),
    ("één", "één is"),
    ("Hány", "Hány az"),
    ("ő", "o\u030b az"),
    # several words, code, other scripts
    ("New York", "New  York City"),
    ("New York", "New\nYork"),
    ("C++", "C++20"),
    ("a_b", "a\\_b = 1"),
    ("in·nes", "in·nes!"),
    ("猫", "猫がいる"),
    ("한", "한 마리"),
    ("الكتاب", "الكتاب هنا"),
    ("שלום", "שלום, עולם"),
    ("кот", "кот спит"),
    ("😀", "😀😀"),
]


@pytest.mark.parametrize(("expected", "answer"), WHOLE)
def test_an_answer_that_begins_with_the_whole_word_counts(expected: str, answer: str) -> None:
    assert PrefixScorer(right=(expected,), intruding=()).outcome(answer) == "right"


OTHERS = [
    # longer numbers and ranges
    ("12", "120"),
    ("12", "12.5"),
    ("12", "12,000"),
    ("12", "12th"),
    ("12", "12-3"),
    ("12", "12–15"),
    ("12", "12:30"),
    ("12", "12/20"),
    ("12", "12½"),
    ("12", "12²"),
    ("12", "12km"),
    ("12", "12-year-old"),
    ("12", "012"),
    ("12", "+12"),
    ("12", "$12"),
    ("12", "１２"),
    ("12", "twelve"),
    ("7", "-7"),
    ("7", "−7"),
    # introductions
    ("12", "The answer is 12"),
    ("12", "5 plus 7 is 12"),
    ("12", "= 12"),
    ("What", "Output: What is"),
    ("What", "Sure! What is"),
    ("What", "Here is the repeated input:\nWhat is"),
    ("What", "Answer: What"),
    ("What", "1. What"),
    # dress: who accepts it takes another scorer
    ("What", "“What is”"),
    ("What", '"What is'),
    ("What", "'What is'"),
    ("What", "**What** is"),
    ("What", "_What_ is"),
    ("What", "`What is`"),
    ("What", "- What is"),
    ("What", "> What is"),
    ("What", "# What is"),
    ("What", "(What is)"),
    ("What", "«\u00a0What is\u00a0»"),
    ("What", "...What is"),
    ("What", "<s>What is"),
    # case, other words, halves of words
    ("What", "Whatever"),
    ("What", "what is"),
    ("What", "WHAT IS"),
    ("What", "What's"),
    ("What", "What’s"),
    ("What", "What-is"),
    ("What", "What\u2011is"),
    ("What", "What2"),
    ("What", "Wha"),
    ("What", "What_is"),
    ("What", "What____"),
    ("WHAT", "What is"),
    ("I", "I'm"),
    ("I", "I’m"),
    ("Est", "Est-ce"),
    ("Italie", "l'Italie"),
    ("____", "_____ bus"),
    ("____", "___ bus"),
    ("____", "……"),
    # accents
    ("cafe", "cafe\u0301"),
    ("café", "cafe"),
    ("Où", "Ou est"),
    ("Ca", "Ça"),
    ("ő", "ö az"),
    ("niño", "nino"),
    # other scripts, escapes
    ("하", "한국"),
    ("猫", "黒猫"),
    ("in", "in·nes"),
    (r"\1\2", r"\1\2\0"),
    (r"\1\2", r"\1\2.\5"),
    # nothing
    ("12", ""),
    ("12", " \n"),
    ("12", "\u200b"),
]


@pytest.mark.parametrize(("expected", "answer"), OTHERS)
def test_an_answer_that_goes_on_differently_is_broken(expected: str, answer: str) -> None:
    assert PrefixScorer(right=(expected,), intruding=()).outcome(answer) == "broken"


def test_the_longest_match_decides() -> None:
    scorer = PrefixScorer(right=("New",), intruding=("New York",))

    assert scorer.outcome("New York is big") == "intruded"
    assert scorer.outcome("New Yorkers are many") == "right"
    assert PrefixScorer(right=("猫背",), intruding=("猫",)).outcome("猫背だ") == "right"


def test_a_text_accepted_on_both_sides_is_never_guessed() -> None:
    scorer = PrefixScorer(right=("Two", "2"), intruding=("2",))

    assert scorer.ambiguous
    assert scorer.outcome("2") == "broken"
    assert scorer.outcome("Two") == "right"


@pytest.mark.parametrize(
    ("right", "intruding", "separable"),
    [
        (("What",), ("12",), True),
        (("____",), ("The",), True),
        (("New",), ("New York",), False),
        (("New York",), ("New",), False),
        (("Ne",), ("New",), True),
        (("cafe\u0301",), ("café",), False),
        (("",), ("12",), False),
    ],
)
def test_separable_says_whether_the_two_tasks_can_be_told_apart(
    right: tuple[str, ...], intruding: tuple[str, ...], separable: bool
) -> None:
    assert PrefixScorer(right=right, intruding=intruding).separable is separable


def test_an_empty_expected_text_matches_nothing() -> None:
    assert PrefixScorer(right=("", "  "), intruding=("",)).outcome("anything") == "broken"


@pytest.mark.parametrize(
    ("certain", "decided"),
    [
        ("", False),
        ("  ", False),
        ("Wh", False),
        ("What", False),
        ("What ", True),
        ("Whate", True),
        ("12", False),
        ("12.", False),
        ("12. ", True),
        ("12\\", False),
        ("The", True),
        ("New", False),
        ("New ", False),
        ("New Zealand", True),
        ("New Y", False),
        ("New Yo ", True),
    ],
)
def test_an_answer_is_decided_once_no_continuation_can_change_it(
    certain: str, decided: bool
) -> None:
    scorer = PrefixScorer(right=("What", "New"), intruding=("12", "New York"))

    assert scorer.decided(certain) is decided


@given(answers, answers, texts)
def test_the_outcome_does_not_depend_on_how_accents_are_encoded(
    right: list[str], intruding: list[str], answer: str
) -> None:
    scorer = PrefixScorer(right, intruding)

    assert scorer.outcome(unicodedata.normalize("NFD", answer)) == scorer.outcome(
        unicodedata.normalize("NFC", answer)
    )
