import json
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.conjugations.specs import parse_conjugation
from palimpsest.lm.models import ROSETTA_WEIGHTS
from palimpsest.lm.translators.model import PROMPT
from palimpsest.lm.translators.translator import load_translator


def script(folder: Path, answers: dict[str, str]) -> Path:
    """A scripted model that answers the documented prompt."""
    rules = {
        PROMPT.format(source=source, target=target, text=text): answer
        for key, answer in answers.items()
        for source, target, text in [key.split("|")]
    }
    path = folder / "model.json"
    path.write_text(json.dumps(rules), "utf-8")
    return path


def test_the_model_is_asked_by_the_documented_prompt(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        {
            "English|German|Say it.": " Sag es.\nGerman: Noch mehr",
            "German|English|Sag es.": " Say it.",
        },
    )
    conjugation = parse_conjugation(f"translate:de@model:scripted:{path}")
    assert conjugation.apply("Input: Say it.\n") == "Input: Sag es.\n"
    assert conjugation.invert("Input: Sag es.\n") == "Input: Say it.\n"
    assert conjugation.facts()["translator"] == f"model:scripted:{path}"


def test_an_answer_without_an_end_is_no_translation(tmp_path: Path) -> None:
    path = script(tmp_path, {"English|German|Say it.": " so" * 1000})
    conjugation = parse_conjugation(f"translate:de@model:scripted:{path}")
    assert conjugation.apply("Say it.") == "Say it."
    assert conjugation.flags("Say it.") == ("untranslated line",)


def test_a_real_model_answers_in_batches() -> None:
    translator = load_translator(f"model:hf:{ROSETTA_WEIGHTS / 'base'},dtype=float32")
    answers = translator.translate(["Say it.", "Repeat the input."], "en", "fr")
    assert len(answers) == 2
    assert translator.version("en", "fr") == translator.version("fr", "en")
    translator.close()


@pytest.mark.parametrize(
    ("spec", "message"),
    [("model", "needs the model"), ("model:hg:x", "Did you mean 'hf'"), ("model:hf:/no/x", "No")],
)
def test_a_model_that_is_not_there_is_an_error(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_translator(spec).version("en", "de")
