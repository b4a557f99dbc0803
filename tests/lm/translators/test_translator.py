import subprocess
import sys

import pytest

from palimpsest.errors import UserError
from palimpsest.judging.via import parse_via
from palimpsest.lm.conjugations.specs import parse_conjugation
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.lm.translators.apertium import Apertium
from palimpsest.lm.translators.translator import TRANSLATORS
from palimpsest.specs import parse_spec

NAMES = {
    "translate:es": "translate:es@apertium",
    " translate : es @ apertium ": "translate:es@apertium",
    "translate:en:es": "translate:es@apertium",
    "translate:fr:es": "translate:fr:es@apertium",
    "translate:spa": "translate:es@apertium",
    "translate:pt_br@deepl": "translate:pt-BR@deepl",
    "fr": "translate:fr@apertium",
    "FR": "translate:fr@apertium",
    "pt-BR": "translate:pt-BR@apertium",
    "translate:es|upper": "translate:es@apertium|upper",
    "es|leet": "translate:es@apertium|leet",
    "translate:es@libretranslate:http://h:5000,batch=3": (
        "translate:es@libretranslate:http://h:5000,batch=3"
    ),
    "translate:fr@seq2seq:./nllb,beams=2": "translate:fr@seq2seq:./nllb,beams=2",
    "translate:de@model:openai:gpt@http://h/v1,timeout=3": (
        "translate:de@model:openai:gpt@http://h/v1,timeout=3"
    ),
}


@pytest.mark.parametrize(("spec", "name"), NAMES.items())
def test_a_name_is_the_shortest_spec_for_the_same(spec: str, name: str) -> None:
    conjugation = parse_conjugation(spec)
    assert conjugation.name == name
    assert parse_conjugation(name).name == name


def test_the_translator_may_have_an_at_sign_of_its_own() -> None:
    spec = parse_spec("model:openai:gpt@http://h/v1,timeout=3", TRANSLATORS)
    assert (spec.name, spec.target) == ("model", "openai:gpt@http://h/v1")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("translate", "'translate' takes one language, or two"),
        ("translate:", "takes one language"),
        ("translate:es@", "takes one language"),
        ("translate:a:b:c", "takes one language"),
        ("translate:@apertium", "takes one language"),
        ("translate:xx", "'xx' is no code of a language"),
        ("translate:spanish", "Did you mean 'es'"),
        ("translate:en", "in English already"),
        ("en", "in English already"),
        ("translate:es@apertum", "Did you mean 'apertium'"),
        ("translate:es@apertium,fast=1", "has no option 'fast'"),
        ("translate:es@apertium,timeout=1,x", "has 'x' after its options"),
        ("translate:es@apertium,timeout=1,timeout=2", "gives 'timeout' twice"),
        ("translate:es@apertium,timeout=0", "no number from 1 to 3600"),
        ("xx", "No conjugation named 'xx'"),
    ],
)
def test_a_malformed_spec_is_answered_with_what_is_wrong(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse_conjugation(spec)
    assert caught.value.hint


def suite(*languages: str, source: str = "en") -> Suite:
    examples = tuple(
        Example("one", "all", language, f"say it in {language}", {"a": ("it",)})
        for language in languages
    )
    return Suite("mine", examples, source_language=source)


def test_the_same_spec_in_another_language_is_another_conjugation() -> None:
    assert parse_conjugation("translate:es", source_language="fr").name == (
        "translate:fr:es@apertium"
    )
    explicit = parse_conjugation("translate:en:es", source_language="fr")
    assert explicit.name == "translate:en:es@apertium"
    assert parse_conjugation("translate:es") is parse_conjugation("translate:es")


def test_inside_a_suite_its_own_languages_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Apertium, "version", lambda *_: "1")
    assert parse_via("fr", suite("en", "fr")).language == "fr"
    for via in (parse_via("fr", suite("en")), parse_via("translate:fr", suite("en", "fr"))):
        assert (via.name, via.language) == ("translate:fr@apertium", None)
        assert not via.exact
        assert via.keeps.startswith("lines, labels")
    chained = parse_via("fr|translate:es", suite("en", "fr"))
    assert (chained.name, chained.language) == ("fr|translate:fr:es@apertium", "fr")


def test_the_source_language_of_the_suite_is_passed_on() -> None:
    with pytest.raises(UserError, match="in French already"):
        parse_via("translate:fr", suite("fr", source="fr"))
    with pytest.raises(UserError, match="in French already"):
        parse_via("fr|translate:fr", suite("en", "fr"))


def test_every_translator_says_in_a_line_what_it_is() -> None:
    for name, line in TRANSLATORS.describe():
        assert len(line) > 20, name
        assert line.endswith("."), name


@pytest.mark.slow
def test_naming_a_translator_loads_nothing_heavy_and_starts_nothing() -> None:
    code = (
        "import sys, palimpsest.lm.conjugations as c, threading, subprocess\n"
        "for t in ('apertium', 'libretranslate', 'deepl', 'seq2seq:x', 'model:hf:x'):\n"
        "    c.parse_conjugation(f'translate:es@{t}')\n"
        "heavy = {'torch', 'transformers', 'numpy', 'pydantic', 'httpx', 'sacrebleu'}\n"
        "print(heavy & {*sys.modules}, subprocess._active)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set() []"
