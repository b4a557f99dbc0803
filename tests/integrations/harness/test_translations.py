"""Translations: lossy, dependent on what stands beside, and made many at once."""

import logging
import shutil

import pytest
from tests.integrations.harness.conftest import Recorder, generating, scoring
from tests.lm.translators.fakes import FakeTranslator, well_behaved

from palimpsest.errors import UserError
from palimpsest.integrations.lm_eval import ConjugateLM
from palimpsest.lm.conjugations.translate import Translate
from palimpsest.lm.translators.translator import TranslationError

WORDS = ["rain", "snow", "wind", "hail", "fog", "sun", "ice", "dew"]


def test_a_hundred_requests_take_a_handful_of_the_translators() -> None:
    translator = well_behaved()
    inner = Recorder(say=lambda context: context)
    model = ConjugateLM(inner, via=Translate(translator, target="es"))
    model.loglikelihood(
        scoring(*((f"Say {a}.\nAnswer:", f" the {b}") for a in WORDS for b in WORDS))
    )
    assert len(translator.requests) <= 3
    translator.requests.clear()
    texts = [f"Now say {a} and {b}." for a in WORDS for b in WORDS]
    answers = model.generate_until([generating(text, until=["\n"]) for text in texts])
    assert answers == texts
    assert [len(request) for request in translator.requests] == [64, 64]


def test_sentences_that_a_choice_completes_are_translated_as_far_as_they_stay() -> None:
    answers = {"It is": "Eso es", "It is cold.": "Eso es frío.", "It is going.": "Él va."}
    answers["going."] = "yendo."
    translator = FakeTranslator(lambda text, _: answers[text])
    inner = Recorder()
    model = ConjugateLM(inner, via=Translate(translator, target="es"))
    model.loglikelihood(scoring(("It is", " cold."), ("It is", " going.")))
    assert [each.args for each in inner.asked] == [("Eso es", " frío."), ("Eso es", " yendo.")]


def test_prompts_and_answers_that_stay_untranslated_are_counted(
    caplog: pytest.LogCaptureFixture, harness_log: None
) -> None:
    translator = FakeTranslator(lambda text, _: text)
    model = ConjugateLM(Recorder(), via=Translate(translator, target="es"))
    model.generate_until([generating("Say it.", until=["\n"]), generating("Go.", until=["\n"])])
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert warnings == ["2 of 2 prompts: unchanged line.", "2 of 2 answers: unchanged line."]


def test_a_translator_that_fails_ends_the_run_with_its_reason() -> None:
    translator = well_behaved()
    model = ConjugateLM(Recorder(), via=Translate(translator, target="es"))
    translator.fails = True
    with pytest.raises(TranslationError, match="The fake failed"):
        model.loglikelihood(scoring(("Say it.", " Now")))


def test_a_language_that_no_translator_knows_is_refused_before_a_model_is_opened() -> None:
    with pytest.raises(UserError):
        ConjugateLM("no-such-model", via="translate:eu@apertium")


@pytest.mark.apertium
@pytest.mark.skipif(shutil.which("apertium") is None, reason="Apertium is not installed")
def test_real_translations_go_out_and_come_back() -> None:
    inner = Recorder(say=lambda _: " El perro come.\nFin")
    model = ConjugateLM(inner, via="translate:es")
    model.loglikelihood(scoring(("The capital of France is", " a big city."), ("", " It rains.")))
    assert [each.args for each in inner.asked] == [
        ("El capital de Francia es", " una ciudad grande."),
        ("", " Llueve."),
    ]
    assert model.generate_until([generating("Say it.", until=["\n"])]) == [" The dog eats."]
