from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.servers import serving

from palimpsest.errors import UserError
from palimpsest.lm.conjugations.specs import parse_conjugation
from palimpsest.lm.conjugations.translate import Translate
from palimpsest.lm.translators.deepl import KEY, DeepL
from palimpsest.lm.translators.translator import TranslationError, load_translator

SECRET = "very-secret:fx"


class FakeDeepL:
    """Speaks DeepL's protocol: words backwards."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.requests: list[dict[str, Any]] = []
        self.authorizations: list[str] = []
        self.app = Starlette(routes=[Route("/v2/translate", self._translate, methods=["POST"])])

    async def _translate(self, request: Request) -> Response:
        self.requests.append(await request.json())
        self.authorizations.append(request.headers["authorization"])
        if self.status != 200:
            return JSONResponse({"message": f"no, not with {SECRET}"}, self.status)
        texts = self.requests[-1]["text"]
        billed = {"detected_source_language": "EN", "billed_characters": 1}
        return JSONResponse({"translations": [{"text": each[::-1], **billed} for each in texts]})


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET)


@pytest.mark.slow
def test_texts_are_translated_fifty_at_a_time() -> None:
    server = FakeDeepL()
    with serving(server.app) as url:
        translator = load_translator(f"deepl:{url}")
        texts = [f"text {number}" for number in range(60)]
        assert translator.translate(texts, "en", "es") == [text[::-1] for text in texts]
        translator.translate(["x"], "pt-BR", "en")
        translator.close()
        facts = translator.describe("en", "es")
    assert [len(request["text"]) for request in server.requests] == [50, 10, 1]
    languages = [(each["source_lang"], each["target_lang"]) for each in server.requests]
    assert languages[0] == ("EN", "ES")
    assert languages[-1] == ("PT", "EN-US")
    assert server.authorizations[0] == f"DeepL-Auth-Key {SECRET}"
    assert SECRET not in str(facts)
    assert SECRET not in repr(translator)
    assert "proprietary" in facts["licence"]


@pytest.mark.slow
def test_a_prompt_goes_there_and_back() -> None:
    with serving(FakeDeepL().app) as url:
        conjugation = parse_conjugation(f"translate:es@deepl:{url}")
        assert conjugation.apply("Input: say it\n") == "Input: ti yas\n"
        assert conjugation.invert("Input: ti yas\n") == "Input: say it\n"
        assert isinstance(conjugation, Translate)
        conjugation.translator.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "does not accept the key"),
        (456, "are used up"),
        (429, "no more requests"),
        (400, "did not translate"),
        (404, "did not translate"),
    ],
)
def test_every_failure_says_what_to_do_and_shows_no_key(status: int, message: str) -> None:
    with serving(FakeDeepL(status).app) as url:
        translator = DeepL(url=url, n_attempts=1)
        with pytest.raises(TranslationError, match=message) as caught:
            translator.translate(["x"], "en", "es")
        translator.close()
        assert SECRET not in str(caught.value)
        assert caught.value.hint


def test_no_answer_is_a_failure_too() -> None:
    with pytest.raises(TranslationError, match="does not answer"):
        DeepL(url="http://127.0.0.1:9", n_attempts=1).translate(["x"], "en", "es")


@pytest.mark.slow
def test_an_answer_that_is_no_translation_is_a_failure() -> None:
    async def nothing(_: Request) -> Response:
        return JSONResponse({"translations": [{"texts": "x"}]})

    app = Starlette(routes=[Route("/v2/translate", nothing, methods=["POST"])])
    with serving(app) as url:
        translator = load_translator(f"deepl:{url}")
        with pytest.raises(TranslationError, match="is no translation"):
            translator.translate(["x"], "en", "es")
        translator.close()


def test_without_a_key_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY)
    with pytest.raises(UserError, match=f"the environment variable {KEY} is not set"):
        load_translator("deepl").translate(["x"], "en", "es")
