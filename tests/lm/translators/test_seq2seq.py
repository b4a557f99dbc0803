from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.lm.translators.tiny import SENTENCES, save_m2m100, save_marian, save_nllb

from palimpsest.errors import MissingExtraError, UserError
from palimpsest.lm.conjugations.specs import parse_conjugation
from palimpsest.lm.translators.languages import codes_of
from palimpsest.lm.translators.seq2seq import Seq2Seq, Seq2SeqSettings
from palimpsest.lm.translators.translator import TranslationError, load_translator


@pytest.fixture(autouse=True, scope="module")
def _one_core() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_marian(tmp_path_factory.mktemp("marian") / "en-es", "en", "es")


@pytest.fixture(scope="module")
def marian_back(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_marian(tmp_path_factory.mktemp("marian") / "es-en", "es", "en")


@pytest.fixture(scope="module", params=["nllb", "m2m100"])
def many_to_many(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "model"
    return save_nllb(folder) if request.param == "nllb" else save_m2m100(folder)


@pytest.mark.slow
def test_a_marian_model_translates_its_direction(marian: Path) -> None:
    translator = Seq2Seq(str(marian))
    assert translator.translate(SENTENCES["en"], "en", "es") == list(SENTENCES["es"])
    assert translator.translate([], "en", "es") == []
    facts = translator.describe("en", "es")
    assert facts["architecture"] == "marian"
    assert "model card" in facts["licence"]


@pytest.mark.slow
def test_a_marian_model_needs_another_for_the_way_back(marian: Path, marian_back: Path) -> None:
    with pytest.raises(UserError, match="from 'en' into 'es' only") as caught:
        parse_conjugation(f"translate:es@seq2seq:{marian}").fingerprint  # noqa: B018
    assert "back=OTHER" in str(caught.value)
    both = parse_conjugation(f"translate:es@seq2seq:{marian},back={marian_back}")
    prompt = "Input: The cat sleeps.\n\n- She eats an apple.\n"
    sent = both.apply(prompt)
    assert sent == "Input: El gato duerme.\n\n- Ella come una manzana.\n"
    assert both.invert(sent) == prompt
    assert both.flags(prompt) == ()
    assert parse_conjugation(both.name).fingerprint == both.fingerprint


@pytest.mark.slow
def test_a_model_of_many_languages_goes_every_way(many_to_many: Path) -> None:
    translator = Seq2Seq(str(many_to_many), settings=Seq2SeqSettings(batch=3))
    for source, target in [("en", "es"), ("en", "fr"), ("fr", "es"), ("es", "en")]:
        answers = translator.translate(SENTENCES[source], source, target)
        assert answers == list(SENTENCES[target])


@pytest.mark.slow
def test_long_text_is_cut_at_sentences(many_to_many: Path) -> None:
    translator = Seq2Seq(str(many_to_many))
    text = " ".join([*SENTENCES["en"]] * 6)
    [answer] = translator.translate([text], "en", "es")
    # Parts of several sentences are nothing that the tiny model learned; it is asked in parts.
    [model] = translator._models
    assert len(model._parts(text, "")) > 1
    assert all(part.endswith((".", "?")) for part in model._parts(text, ""))
    assert isinstance(answer, str)


@pytest.mark.slow
def test_a_translation_without_an_end_is_none(many_to_many: Path) -> None:
    translator = Seq2Seq(str(many_to_many))
    [model] = translator._models
    network = model._open()
    network.generation_config.eos_token_id = None
    model._tokenizer.eos_token = "<unk>"
    assert translator.translate(["The cat sleeps."], "en", "es") == [""]


@pytest.mark.parametrize(
    ("language", "nearest"), [("de", ""), ("spa_Latm", "spa_Latn"), ("eng_Cyrl", "eng_Latn")]
)
def test_unknown_codes_are_refused_with_the_nearest(
    tmp_path_factory: pytest.TempPathFactory, language: str, nearest: str
) -> None:
    tokenizer = SimpleNamespace(
        src_lang="eng_Latn",
        get_vocab=lambda: {"eng_Latn": 5, "spa_Latn": 6, "zho_Hans": 7, "zho_Hant": 8},
    )
    codes = codes_of("x", "m2m_100", tokenizer)  # type: ignore[arg-type]
    with pytest.raises(TranslationError, match=f"no language '{language}'") as caught:
        codes.pair("en", language)
    assert nearest in str(caught.value)
    assert codes.pair("en-GB", "spa_Latn").target_id == codes.pair("en", "es-MX").target_id == 6
    assert codes.pair("en", "zh").target_id == codes.pair("en", "zho_Hans").target_id == 7
    assert codes.pair("en", "zh-Hant").target_id == 8


def test_a_marian_model_of_several_languages_is_told_which() -> None:
    tokenizer = SimpleNamespace(
        source_lang="en", target_lang="ROMANCE", get_vocab=lambda: {">>spa<<": 1, ">>fra<<": 2}
    )
    codes = codes_of("x", "marian", tokenizer)  # type: ignore[arg-type]
    assert codes.pair("en", "es").prefix == ">>spa<< "
    with pytest.raises(TranslationError, match="not from 'fr'"):
        codes.pair("fr", "en")
    with pytest.raises(TranslationError, match="no language 'de'"):
        codes.pair("en", "de")


def test_a_model_that_names_no_languages_is_refused() -> None:
    tokenizer = SimpleNamespace(get_vocab=lambda: {"a": 1}, source_lang=None, target_lang=None)
    for architecture in ("t5", "marian"):
        with pytest.raises(TranslationError, match="languages"):
            codes_of("x", architecture, tokenizer)  # type: ignore[arg-type]


@pytest.mark.slow
def test_another_model_or_way_of_decoding_is_another_version(
    marian: Path, marian_back: Path
) -> None:
    one = Seq2Seq(str(marian)).version("en", "es")
    assert one == Seq2Seq(str(marian), settings=Seq2SeqSettings(batch=2)).version("en", "es")
    assert one != Seq2Seq(str(marian), settings=Seq2SeqSettings(beams=2)).version("en", "es")
    assert one != Seq2Seq(str(marian_back)).version("es", "en")


@pytest.mark.slow
def test_only_safetensors_are_opened(marian: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    for path in marian.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    with pytest.raises(TranslationError, match="only pickle weights"):
        Seq2Seq(str(folder)).version("en", "es")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("seq2seq", "needs a checkpoint"),
        ("seq2seq:/no/such/folder", "No model at"),
        ("seq2seq:x,speed=1", "no option 'speed'"),
        ("seq2seq:x,batch=0", "no number from 1 to 1024"),
        ("seq2seq:x,dtype=int8", "No dtype named 'int8'"),
    ],
)
def test_a_spec_that_cannot_work_says_why(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_translator(spec).version("en", "es")


def test_a_model_that_continues_texts_is_sent_to_the_right_translator() -> None:
    from palimpsest.lm.models import ROSETTA_WEIGHTS

    with pytest.raises(TranslationError, match="no encoder-decoder") as caught:
        Seq2Seq(str(ROSETTA_WEIGHTS / "base")).version("en", "es")
    assert "model:hf:" in str(caught.value)


def test_a_tokenizer_without_its_package_names_the_extra(
    marian: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("MarianTokenizer requires the SentencePiece library.")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'sacremoses"):
        load_translator(f"seq2seq:{marian}").translate(["Hello."], "en", "es")
