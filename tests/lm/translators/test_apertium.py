import os
import random
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples
from tests.lm.translators.fakes import processes_of
from tests.lm.translators.needs import needs_apertium

from palimpsest.errors import UserError
from palimpsest.lm.conjugations.spans import survival
from palimpsest.lm.conjugations.specs import parse_conjugation
from palimpsest.lm.exchange import round_trip_chrf
from palimpsest.lm.suites.icl_vs_if import BUILT_IN, read_sentences
from palimpsest.lm.translators.apertium import (
    Apertium,
    Mode,
    find_route,
    installed_modes,
    read_stages,
)
from palimpsest.lm.translators.translator import TranslationError, load_translator

SENTENCES = read_sentences(BUILT_IN, ["en", "es", "fr"]).lines
APERTIUM = Apertium(timeout_seconds=30)


def modes(*names: str) -> list[Mode]:
    return [Mode(Path(f"{name}.mode"), *name.split("-")) for name in names]


def test_a_pair_is_its_own_route() -> None:
    [mode] = find_route(modes("en-es", "es-en", "en-ca"), "en", "es")
    assert mode.name == "en-es"


def test_routes_are_as_short_as_can_be() -> None:
    installed = modes("en-eo", "eo-es", "es-fr", "en-ca", "ca-fr", "fr-en")
    assert [mode.name for mode in find_route(installed, "en", "fr")] == ["en-ca", "ca-fr"]


def test_of_routes_of_one_length_the_one_over_spanish_is_taken() -> None:
    installed = modes("en-ca", "ca-fr", "en-es", "es-fr")
    assert [mode.name for mode in find_route(installed, "en", "fr")] == ["en-es", "es-fr"]


def test_a_region_or_variant_is_the_language_unless_it_has_a_mode() -> None:
    installed = [*modes("en-es", "ca-fr"), Mode(Path("x.mode"), "en", "ca-valencia")]
    assert find_route(installed, "en-GB", "es-MX")[0].target == "es"
    assert find_route(installed, "en", "ca-valencia")[0].target == "ca-valencia"
    with pytest.raises(TranslationError):  # not over a variant that nobody asked for
        find_route(installed, "en", "fr")


@pytest.mark.parametrize(("source", "target"), [("en", "de"), ("de", "en"), ("en", "en")])
def test_where_no_route_leads_the_error_says_what_there_is(source: str, target: str) -> None:
    with pytest.raises(TranslationError, match=f"leads from '{source}' to '{target}'") as caught:
        find_route(modes("en-es", "es-fr"), source, target)
    assert ("it reaches: es, fr" in str(caught.value)) == (source == "en")
    assert "apt-cache search apertium-" in str(caught.value)


def test_modes_are_found_by_the_codes_in_their_names(tmp_path: Path) -> None:
    for name in ("eng-spa", "en-es", "eng-cat_valencia", "en-eo-bytecode", "README"):
        (tmp_path / f"{name}.mode").touch()
    found = {mode.name: (mode.source, mode.target) for mode in installed_modes(tmp_path)}
    assert found == {"eng-spa": ("en", "es"), "eng-cat_valencia": ("en", "ca-valencia")}


def test_without_apertium_the_error_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(TranslationError, match="Apertium is not installed") as caught:
        Apertium().translate(["Hello."], "en", "es")
    assert "apt-get install -y --no-install-recommends apertium apertium-eng-spa" in str(
        caught.value
    )
    with pytest.raises(UserError, match="not installed"):
        # Translators are shared by their spec: this one no other test has opened.
        parse_conjugation("translate:es@apertium,timeout=71").fingerprint  # noqa: B018


@pytest.mark.parametrize("spec", ["apertium:x", "apertium,speed=1", "apertium,timeout=soon"])
def test_what_apertium_does_not_know_is_refused(spec: str) -> None:
    with pytest.raises(UserError):
        load_translator(spec)


@pytest.mark.parametrize("command", ["a $(b)", "a ; b", "a > b", "a | | b", "`a`", "a && b"])
def test_a_mode_that_is_more_than_programs_and_pipes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    program = tmp_path / "apertium-wblank-mode"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{command}\nEND\n", "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(TranslationError, match="no plain list of programs"):
        read_stages(Mode(tmp_path / "en-es.mode", "en", "es"))


def one_process_each(mode: str, texts: list[str]) -> list[str]:
    """What Apertium's own command says, started for every text."""

    def ask(text: str) -> str:
        done = subprocess.run(
            ["apertium", "-u", mode], input=text, capture_output=True, text=True, check=True
        )
        return done.stdout.removesuffix("\n")

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(ask, texts))


def check_against_new_processes(mode: str, source: str, target: str, n: int) -> None:
    texts = list(SENTENCES[source][:n])
    first = APERTIUM.translate([*texts, *SENTENCES[source][n : 2 * n]], source, target)[:n]
    again = APERTIUM.translate(texts, source, target)
    assert first == again == one_process_each(mode, texts)


@needs_apertium
def test_programs_that_stay_say_what_new_ones_would() -> None:
    check_against_new_processes("eng-spa", "en", "es", 10)


@needs_apertium
@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "source", "target"),
    [
        ("eng-spa", "en", "es"),
        ("eng-cat", "en", "ca"),
        ("en-eo", "en", "eo"),
        ("en-gl", "en", "gl"),
        ("spa-eng", "es", "en"),
        ("es-fr", "es", "fr"),
        ("fr-es", "fr", "es"),
        ("fra-cat", "fr", "ca"),
    ],
)
def test_programs_that_stay_say_what_new_ones_would_in_every_pair(
    mode: str, source: str, target: str
) -> None:
    check_against_new_processes(mode, source, target, 60)


# The tagger of Apertium 3.8 changes itself at "shouldn’t"; "tophat" is a word it does not know.
TRIGGER, TOUCHED = "Some people just shouldn’t.", "The fox in the tophat whispered into the ear."


@needs_apertium
def test_a_sentence_does_not_depend_on_those_before_it() -> None:
    fresh = Apertium()
    alone = fresh.translate([TOUCHED], "en", "es")
    assert fresh.translate([TRIGGER, TOUCHED], "en", "es")[1:] == alone
    texts = list(SENTENCES["en"][:150])
    straight = APERTIUM.translate(texts, "en", "es")
    places = random.Random(0).sample(range(len(texts)), len(texts))
    shuffled = APERTIUM.translate([texts[place] for place in places], "en", "es")
    assert [straight[place] for place in places] == shuffled
    fresh.close()


@needs_apertium
def test_french_is_reached_over_spanish_and_back() -> None:
    [french] = APERTIUM.translate(["The dog sees a cat."], "en", "fr")
    assert french == "Le chien voit un chat."
    assert APERTIUM.translate([french], "fr", "en") == ["The dog sees a cat."]
    facts = APERTIUM.describe("en", "fr")
    assert facts["route"] == "en→es→fr"
    assert "GPL" in facts["licence"]


@needs_apertium
@examples(25)
@given(st.lists(st.text(max_size=40), max_size=6))
def test_whatever_the_text_says_the_programs_stay_alive(texts: list[str]) -> None:
    before = APERTIUM.translate(["The dog sees a cat."], "en", "es")
    running = pids(APERTIUM)
    answers = APERTIUM.translate([*texts, "The dog sees a cat."], "en", "es")
    assert len(answers) == len(texts) + 1
    assert answers[-1:] == before == ["El perro ve un gato."]
    assert running[0] == pids(APERTIUM)[0]


@needs_apertium
def test_reserved_characters_come_through() -> None:
    texts = ["[a] {b} ^c$ /d\\ @e <f>", "..", "a.[]", "x.[0]", "\\", "猫 🙂", "#*~+"]
    for text, answer in zip(texts, APERTIUM.translate(texts, "en", "es"), strict=True):
        kept = [char for char in text if not char.isalnum()]
        assert [char for char in answer if char in kept] == kept


def pids(apertium: Apertium) -> list[int]:
    return [pid for step in apertium._steps.values() for pid in processes_of(step.pipeline)]


@needs_apertium
def test_a_long_and_breathless_text_does_not_stop_the_next_one() -> None:
    quick = Apertium(timeout_seconds=0.2)
    endless = "the dog that sees the cat and " * 3000
    answers = quick.translate([endless, "The dog sees a cat."], "en", "es")
    assert answers[1] == "El perro ve un gato."
    quick.close()


@needs_apertium
def test_killed_programs_are_replaced() -> None:
    apertium = Apertium()
    once = apertium.translate(["The dog sees a cat."], "en", "es")
    for pid in pids(apertium):
        os.kill(pid, signal.SIGKILL)
    assert apertium.translate(["The dog sees a cat."], "en", "es") == once
    apertium.close()
    assert not pids(apertium)


PROMPT = """Repeat the input.

Input: Trash covered the landscape, and 5 dogs saw it.
Output: TRASH COVERED THE LANDSCAPE, AND 5 DOGS SAW IT.

- Use `max_tokens` with {name}; see https://example.com/a_b?x=1.
1. "____ covered the landscape", she said.
### Response:
"""


@needs_apertium
@pytest.mark.parametrize("target", ["es", "ca", "eo", "gl", "fr"])
def test_a_prompt_keeps_its_form_in_every_language(target: str) -> None:
    conjugation = parse_conjugation(f"translate:{target}")
    sent = conjugation.apply(PROMPT)
    assert sent != PROMPT
    assert conjugation.flags(PROMPT) == ()
    assert survival(PROMPT, sent) == 1
    heads = [line.partition(" ")[0] for line in PROMPT.splitlines()]
    marks = ["Input:", "Output:", "-", "1.", "###"]
    assert [head for head in heads if head in marks] == marks
    assert [line.partition(" ")[0] in marks for line in sent.splitlines()] == [
        head in marks for head in heads
    ]
    capitals = sent.splitlines()[3].removeprefix("Output: ")
    assert capitals.isupper()
    back = conjugation.invert(sent)
    assert survival(PROMPT, back) == 1
    # Round trips of 500 sentences had a chrF of 62 (ca) to 70 (eo) in our tests; in French, over
    # Spanish, 61. Much of this prompt is protected, too.
    assert round_trip_chrf(PROMPT, back) > 0.55


@needs_apertium
@examples(25)
@given(st.sampled_from(SENTENCES["es"]), st.sampled_from(SENTENCES["es"]), st.floats(0, 1))
def test_what_is_certain_of_a_beginning_begins_the_whole(
    one: str, other: str, share: float
) -> None:
    conjugation = parse_conjugation("translate:es")
    answer = f"{one}\n{other}\n- {one}"
    certain = conjugation.certain(answer[: round(share * len(answer))])
    assert conjugation.invert(answer).startswith(certain)


@needs_apertium
def test_languages_that_are_not_installed_are_an_error_at_once() -> None:
    with pytest.raises(UserError, match="leads from 'en' to 'de'"):
        parse_conjugation("de").fingerprint  # noqa: B018
