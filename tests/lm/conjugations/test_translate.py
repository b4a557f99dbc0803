import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.examples import examples
from tests.lm.translators.fakes import FakeTranslator, backwards, ill_behaved, well_behaved

from palimpsest.errors import UserError
from palimpsest.lm.conjugations.spans import Protected, survival
from palimpsest.lm.conjugations.text import TextChain
from palimpsest.lm.conjugations.translate import EMPTY, UNCHANGED, Translate
from palimpsest.lm.translators.translator import TranslationError

PROMPT = """Repeat the input.\r

Input: Trash covered the landscape.
Output: TRASH COVERED THE LANDSCAPE.

- Use `max tokens`, {name} and 5 apples.  \n\t1. "____ covered it", said she.\tThere!
Question 2: See https://example.com/a_b?x=1 and write to me@example.org <b>now</b>.
```python
print("hello world")
```
### Response:
>>> [INST] What is ${HOME}/%s? [/INST] -> ### ask NASA ---
"""

PIECES = ["Input:", "Entrée :", "the cat", "SAY IT", "Word.", "a", "5", "3.50", "{x}", "{{y}}"]
PIECES += ["`code it`", "```", "`", "http://a.b/c", "me@x.org", "____", "max_len", "<b>", "[NAME]"]
PIECES += ["\n", "\r\n", "\r", "\u2028", "\x85", "\t", " ", "  ", "\u00a0", "---", "###", ">>> "]
PIECES += ["- ", "1. ", "(a) ", "# ", "|", "->", "⟦0⟧", "⟦", "⟧", "\x00", "\ud800", "\ue000"]
PIECES += ["no! ", "yes? ", "é", "e\u0301", "İ", "ß", "🙂", "猫。", "<|im_start|>", "[INST]"]
PIECES += ["x" * 250]

every_text = st.text(st.characters() | st.characters(categories=["Cs"]))
texts = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | every_text


def translation(translator: FakeTranslator | None = None) -> Translate:
    return Translate(translator or well_behaved(), target="es")


def test_sentences_are_translated_and_everything_else_stays() -> None:
    conjugation = translation()
    assert conjugation.apply(PROMPT) == (
        "taepeR eht tupni.\r\n\n"
        "Input: hsarT derevoc eht epacsdnal.\n"
        "Output: HSART DEREVOC EHT EPACSDNAL.\n\n"
        '- esU `max tokens`, {name} dna 5 selppa.  \n\t1. "____ derevoc ti", dias ehs.\terehT!\n'
        "Question 2: eeS https://example.com/a_b?x=1 dna etirw ot me@example.org <b>won</b>.\n"
        '```python\nprint("hello world")\n```\n'
        "### Response:\n"
        ">>> [INST] tahW si ${HOME}/%s? [/INST] -> ### ksa ASAN ---\n"
    )
    assert conjugation.invert(conjugation.apply(PROMPT)) == PROMPT


def layout_of(text: str) -> list[tuple[str, str, bool]]:
    """What must stay of every line: the white space around it, and whether there is anything."""
    found = []
    for line in text.splitlines(keepends=True):
        body = line.strip()
        before, after = (line, "") if not body else line.split(body, 1)
        found.append((before, after, bool(body)))
    return found


translators = st.one_of(
    st.builds(well_behaved), st.builds(ill_behaved, st.integers(min_value=0, max_value=10_000))
)


@examples(200)
@given(translators, texts)
def test_lines_stay_where_they_are(translator: FakeTranslator, text: str) -> None:
    for converted in (translation(translator).apply(text), translation(translator).invert(text)):
        assert layout_of(converted) == layout_of(text)


@examples(200)
@given(translators, texts)
def test_every_protected_span_survives_every_translator(
    translator: FakeTranslator, text: str
) -> None:
    assert survival(text, translation(translator).apply(text)) == 1


@examples(200)
@given(translators, texts)
@example(ill_behaved(0), "a ⟦0⟧ b 5 c")
def test_no_mask_of_ours_ever_shows(translator: FakeTranslator, text: str) -> None:
    converted = translation(translator).apply(text)
    assert sorted(re.findall("[⟦⟧]", converted)) == sorted(re.findall("[⟦⟧]", text))


@examples(200)
@given(translators, texts, st.floats(0, 1))
def test_what_is_certain_of_a_beginning_begins_the_whole(
    translator: FakeTranslator, text: str, share: float
) -> None:
    conjugation = translation(translator)
    beginning = text[: round(share * len(text))]
    assert conjugation.invert(text).startswith(conjugation.certain(beginning))
    assert conjugation.certain(text).startswith(conjugation.certain(beginning))


@examples(100)
@given(translators, st.lists(texts, max_size=5))
@example(ill_behaved(0), ["3.50- Input:", "⟦- Input:"])  # the second is sent as the first, masked
def test_preparing_changes_nothing(translator: FakeTranslator, several: list[str]) -> None:
    prepared, plain = translation(translator), translation(translator)
    prepared.prepare(prompts=several, answers=several)
    for text in several:
        assert prepared.apply(text) == plain.apply(text)
        assert prepared.invert(text) == plain.invert(text)


@given(texts)
def test_a_translator_that_comes_back_gives_the_text_back(text: str) -> None:
    conjugation = translation()
    there = conjugation.apply(text)
    small = text if not conjugation.flags(text) else ""
    if small.isascii() and not any(part.isupper() for part in re.findall(r"[A-Za-z]{2,}", small)):
        assert conjugation.invert(there) == text or conjugation.answer_flags(there)


def test_what_was_prepared_is_not_asked_again() -> None:
    translator = well_behaved()
    conjugation = translation(translator)
    prompts = [f"Say {word}." for word in ("one", "two", "three", "one")]
    conjugation.prepare(prompts=prompts)
    for prompt in prompts:
        conjugation.apply(prompt)
        conjugation.flags(prompt)
    assert translator.requests == [["Say one.", "Say two.", "Say three."]]


def test_only_complete_lines_of_an_answer_are_certain() -> None:
    conjugation = translation()
    assert conjugation.certain("ereht si") == ""
    assert conjugation.certain("ereht si\ntrap") == "there is\n"
    assert conjugation.certain("ereht si\r\nt") == "there is\r\n"


def test_a_span_that_gets_lost_is_masked() -> None:
    translator = FakeTranslator(lambda text, _: backwards(text, "").replace("5", "cinco"))
    conjugation = translation(translator)
    assert conjugation.apply("Add 5 apples.") == "ddA 5 selppa."
    assert translator.requests == [["Add 5 apples."], ["Add ⟦0⟧ apples."]]


def test_where_masks_get_lost_too_the_pieces_between_are_translated() -> None:
    def rule(text: str, target: str) -> str:
        return re.sub(r"⟦?\d+⟧?", "", backwards(text, target))

    translator = FakeTranslator(rule)
    conjugation = translation(translator)
    assert conjugation.apply("Add 5 and 7 to it.") == "ddA 5 dna 7 ot ti."
    assert translator.requests[-1] == ["Add", "and", "to it."]
    assert conjugation.flags("Add 5 and 7 to it.") == ()


def test_masks_may_change_places() -> None:
    def rule(text: str, target: str) -> str:
        return " ".join(reversed(text.replace("5", "").replace("7", "").split()))

    assert translation(FakeTranslator(rule)).apply("all 5 but 7 go") == "go 7 but 5 all"


def test_capitals_are_translated_as_small_letters_and_stay_capitals() -> None:
    translator = FakeTranslator(lambda text, _: {"The dog sees 5.": "El perro ve 5."}.get(text, ""))
    conjugation = translation(FakeTranslator(lambda text, _: text.replace("The dog", "El perro")))
    assert conjugation.apply("Output: THE DOG SEES {x}.") == "Output: EL PERRO SEES {x}."
    assert translation(translator).apply("I") == "I"


@pytest.mark.parametrize(
    ("rule", "flag"),
    [
        (lambda text, _: text, UNCHANGED),
        (lambda text, _: text.title(), UNCHANGED),
        (lambda text, _: "", EMPTY),
        (lambda text, _: " \n", EMPTY),
        (lambda text, _: "⟦3⟧", EMPTY),
    ],
)
def test_what_was_not_translated_stays_and_is_flagged(rule: object, flag: str) -> None:
    conjugation = translation(FakeTranslator(rule))  # type: ignore[arg-type]
    assert conjugation.apply("Input: say it\n5\n") == "Input: say it\n5\n"
    assert conjugation.flags("Input: say it\n5\n") == (flag,)
    assert conjugation.answer_flags("dilo") == (flag,)
    assert conjugation.flags("5\n---\n{x}") == ()


def test_good_lines_beside_a_bad_one_are_translated() -> None:
    conjugation = translation(FakeTranslator(lambda text, _: "" if "bad" in text else "bueno"))
    assert conjugation.apply("good\nbad\n") == "bueno\nbad\n"
    assert conjugation.flags("good\n") == ()


def test_chains_pass_flags_notes_and_facts_on() -> None:
    unchanged = translation(FakeTranslator(lambda text, _: text))
    chain = TextChain((translation(), unchanged))
    assert chain.batched
    assert chain.flags("say it") == (UNCHANGED,)
    assert chain.answer_flags("dilo") == (UNCHANGED,)
    assert chain.notes() == ()
    assert chain.facts()["licence"] == "none"


def test_protection_by_the_user_passes_them_on_as_well() -> None:
    translator = well_behaved()
    protected = Protected(translation(translator), ["labels"])
    assert protected.batched
    protected.prepare(prompts=["Input: say it", "Input: say this"])
    assert translator.requests == [["say it", "say this"]]
    assert protected.apply("Input: say it") == "Input: yas ti"
    assert protected.facts()["licence"] == "none"
    unchanged = Protected(translation(FakeTranslator(lambda text, _: text)))
    assert unchanged.flags("Input: say it") == (UNCHANGED,)
    assert unchanged.answer_flags("Input: dilo") == (UNCHANGED,)


def test_a_failure_reaches_the_caller_and_nothing_is_remembered() -> None:
    translator = well_behaved()
    conjugation = translation(translator)
    translator.fails = True
    with pytest.raises(TranslationError):
        conjugation.apply("say it")
    translator.fails = False
    assert conjugation.apply("say it") == "yas ti"


def test_the_fingerprint_is_of_translator_version_and_languages() -> None:
    same = Translate(well_behaved(), target="es", name="translate:es")
    assert same.fingerprint == Translate(well_behaved(), target="spa").fingerprint
    others = [
        Translate(well_behaved(), target="fr"),
        Translate(well_behaved(), source="fr", target="es"),
        Translate(FakeTranslator(backwards, version="2"), target="es"),
    ]
    assert len({each.fingerprint for each in (same, *others)}) == 4


@pytest.mark.parametrize(("source", "target"), [("en", "eng"), ("es", "ES"), ("en", "french")])
def test_languages_must_be_two(source: str, target: str) -> None:
    with pytest.raises(UserError):
        Translate(well_behaved(), source=source, target=target)


def test_long_lines_are_sent_in_parts() -> None:
    translator = well_behaved()
    text = "This is a sentence of some length. " * 200
    assert translation(translator).apply(text) == backwards(text, "")
    assert max(map(len, translator.asked)) <= 1500


def test_many_threads_get_what_one_gets() -> None:
    conjugation = translation()
    prompts = [f"Say {'x' * (number % 7)} again, number {number % 11}." for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(conjugation.apply, prompts))
    assert together == [translation().apply(prompt) for prompt in prompts]


LONG = {
    "prose": "What is 5 plus 7? Trash covered the landscape, said I. " * 1800,
    "one word": "a" * 100_000,
    "words": "ab " * 33_000,
    "dots": "a." * 50_000,
    "spaced dots": "a. " * 33_000,
    "backticks": "`" * 100_001,
    "open code": "```" + "a `b\n" * 17_000,
    "braces": "{a" * 50_000,
    "tags": "<a" * 50_000,
    "brackets": "[a" * 50_000,
    "masks": "⟦0" * 50_000,
    "digits": "1" * 100_000 + "a",
    "dotted digits": "1." * 50_000 + "1a",
    "underscores": "a_" * 50_000,
    "mail": "a.b" * 33_000 + "@",
    "at signs": "a@" * 50_000,
    "bullets": "- " * 50_000,
    "list": "1. a) " * 17_000,
    "spaces": "x" + " " * 100_000 + "x",
    "lines": "\nInput" * 17_000,
    "address": "http://" + "!" * 100_000,
    "addresses": "http://!" * 12_500,
    "dollars": "${a" * 33_000,
    "percent": "%(a" * 33_000,
    "pipes": "|" * 100_000,
    "dashes": "-- " * 33_000,
}


@pytest.mark.slow
@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_a_hundred_kilobytes_take_no_time_to_speak_of(text: str) -> None:
    conjugation = translation()
    began = time.process_time()
    conjugation.invert(conjugation.apply(text))
    conjugation.certain(text)
    # Typically some 0.1 s; anything quadratic would take minutes.
    assert time.process_time() - began < 5
