import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from tests.servers import serving

from palimpsest.errors import UserError
from palimpsest.lm.conjugations.specs import parse_conjugation
from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.conjugations.translate import Translate
from palimpsest.lm.translators.json_service import JsonService
from palimpsest.lm.translators.libretranslate import KEY, URL, LibreTranslate
from palimpsest.lm.translators.translator import TranslationError, load_translator

SECRET = "sk-very-secret"
Answer = Callable[[dict[str, Any], int], Response | None]


class FakeServer:
    """Speaks LibreTranslate's protocol: words backwards, and whatever a test wants."""

    def __init__(self, answer: Answer | None = None, *, key: str | None = None) -> None:
        self.requests: list[dict[str, Any]] = []
        self._answer = answer
        self._key = key
        self.app = Starlette(
            routes=[
                Route("/languages", self._languages),
                Route("/spec", lambda _: JSONResponse({"info": {"version": "1.6.2"}})),
                Route("/translate", self._translate, methods=["POST"]),
            ]
        )

    @property
    def asked(self) -> list[Any]:
        return [request["q"] for request in self.requests]

    async def _languages(self, _: Request) -> Response:
        return JSONResponse(
            [
                {"code": "en", "name": "English", "targets": ["es", "zh-Hans"]},
                {"code": "es", "name": "Spanish", "targets": ["en"]},
                {"code": "zh-Hans", "name": "Chinese", "targets": []},
            ]
        )

    async def _translate(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.requests.append(body)
        if self._answer is not None:
            response = self._answer(body, len(self.requests))
            if response is not None:
                return response
        if self._key is not None and body.get("api_key") != self._key:
            return JSONResponse({"error": f"Invalid API key {body.get('api_key')}"}, 403)
        q = body["q"]
        if not q:
            return JSONResponse({"error": "Invalid request: missing q parameter"}, 400)
        return JSONResponse({"translatedText": backwards(q)})


def backwards(q: Any) -> Any:
    return q[::-1] if isinstance(q, str) else [text[::-1] for text in q]


def fail(status: int, said: str = "oh", **headers: str) -> Response:
    return JSONResponse({"error": said}, status, headers=headers)


def close(conjugation: TextConjugation) -> None:
    assert isinstance(conjugation, Translate)
    conjugation.translator.close()


@contextmanager
def translator(
    server: FakeServer, *, key: str | None = None, n_at_once: int = 32, timeout: float = 5
) -> Iterator[tuple[LibreTranslate, list[float]]]:
    waits: list[float] = []
    with serving(server.app) as url:
        service = JsonService(
            url, name="LibreTranslate", timeout_seconds=timeout, sleep=waits.append
        )
        opened = LibreTranslate(service, key=key, n_at_once=n_at_once)
        try:
            yield opened, waits
        finally:
            opened.close()


@pytest.mark.slow
def test_texts_are_sent_in_batches_as_json() -> None:
    server = FakeServer()
    with translator(server, n_at_once=2) as (libre, _):
        assert libre.translate(["ab", "cd", "ef"], "en", "es") == ["ba", "dc", "fe"]
        assert libre.translate([], "en", "es") == []
        assert libre.version("en", "es").endswith("1.6.2")
        assert "AGPL" in libre.describe("en", "es")["licence"]
    assert server.asked == [["ab", "cd"], "ef"]
    assert server.requests[0] == {
        "q": ["ab", "cd"],
        "source": "en",
        "target": "es",
        "format": "text",
    }


@pytest.mark.slow
def test_languages_are_called_what_the_server_calls_them() -> None:
    server = FakeServer()
    with translator(server) as (libre, _):
        libre.translate(["ab"], "eng", "zh-Hans")
        assert server.requests[0]["target"] == "zh-Hans"
        libre.translate(["ab"], "en-GB", "es-MX")
        with pytest.raises(TranslationError, match="no language 'de'"):
            libre.version("en", "de")
        with pytest.raises(TranslationError, match="does not translate from 'es' into 'zh-Hans'"):
            libre.version("es", "zh-Hans")


@pytest.mark.slow
def test_the_key_goes_with_the_request_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, SECRET)
    server = FakeServer(key=SECRET)
    with serving(server.app) as url:
        monkeypatch.setenv(URL, url)
        conjugation = parse_conjugation("translate:es@libretranslate,batch=7")
        assert conjugation.apply("say it") == "ti yas"
        shown = [repr(conjugation), conjugation.name, str(conjugation.parameters)]
        shown += [str(conjugation.facts()), repr(load_translator("libretranslate"))]
        close(conjugation)
    assert server.requests[0]["api_key"] == SECRET
    assert not any(SECRET in text for text in shown)


@pytest.mark.slow
def test_a_refused_key_is_named_but_not_shown() -> None:
    with translator(FakeServer(key="other"), key=SECRET) as (libre, waits):
        with pytest.raises(TranslationError, match="refuses") as caught:
            libre.translate(["ab"], "en", "es")
        assert KEY in str(caught.value)
        assert SECRET not in str(caught.value)
        assert not waits


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_passes_is_waited_for(status: int) -> None:
    server = FakeServer(lambda _, number: fail(status) if number < 3 else None)
    with translator(server) as (libre, waits):
        assert libre.translate(["ab"], "en", "es") == ["ba"]
    assert len(waits) == 2
    assert 0.25 <= waits[0] <= 0.75
    assert 0.5 <= waits[1] <= 1.5


@pytest.mark.slow
def test_retry_after_is_honoured_within_reason() -> None:
    answers = {1: {"Retry-After": "7"}, 2: {"Retry-After": "99999"}, 3: {"Retry-After": "soon"}}
    server = FakeServer(lambda _, n: fail(429, **answers[n]) if n in answers else None)
    with translator(server) as (libre, waits):
        assert libre.translate(["ab"], "en", "es") == ["ba"]
    assert waits[:2] == [7.0, 30.0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "message"),
    [(400, "answered 400: oh"), (429, "allows no more requests"), (503, "answered 503")],
)
def test_what_does_not_pass_is_an_error(status: int, message: str) -> None:
    server = FakeServer(lambda *_: fail(status))
    with translator(server) as (libre, _), pytest.raises(TranslationError, match=message):
        libre.translate(["ab", "cd"], "en", "es")


@pytest.mark.slow
def test_a_text_that_the_server_fails_at_costs_only_itself() -> None:
    def answer(body: dict[str, Any], _: int) -> Response | None:
        return fail(500, "Cannot translate text") if "bad" in str(body["q"]) else None

    with translator(FakeServer(answer)) as (libre, _):
        assert libre.translate(["ab", "bad", "cd"], "en", "es") == ["ba", "", "dc"]
        with pytest.raises(TranslationError, match="answered 500"):
            libre.translate(["bad", "bad!"], "en", "es")


@pytest.mark.slow
def test_a_server_that_takes_fewer_texts_gets_fewer() -> None:
    def answer(body: dict[str, Any], _: int) -> Response | None:
        if isinstance(body["q"], list) and len(body["q"]) > 2:
            return fail(400, "Invalid request: request (4) exceeds text limit (2)")
        return None

    server = FakeServer(answer)
    with translator(server) as (libre, _):
        assert libre.translate(["ab", "cd", "ef", "gh"], "en", "es") == ["ba", "dc", "fe", "hg"]
    assert [len(q) for q in server.asked] == [4, 2, 2]


@pytest.mark.slow
def test_a_server_that_knows_no_lists_gets_strings() -> None:
    def answer(body: dict[str, Any], _: int) -> Response | None:
        if isinstance(body["q"], list):
            return JSONResponse({"translatedText": "".join(body["q"])})
        return None

    with translator(FakeServer(answer)) as (libre, _):
        assert libre.translate(["ab", "cd"], "en", "es") == ["ba", "dc"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "response",
    [
        PlainTextResponse("<html>"),
        JSONResponse([1]),
        JSONResponse({"translatedText": 5}),
        JSONResponse({"translatedText": ["a", "b", "c"]}),
        JSONResponse({"translatedText": [None]}),
        PlainTextResponse("[" * 100_000),
    ],
)
def test_an_answer_that_is_no_translation_is_an_error(response: Response) -> None:
    server = FakeServer(lambda *_: response)
    with translator(server) as (libre, _), pytest.raises(TranslationError, match="no translation"):
        libre.translate(["ab"], "en", "es")


@pytest.mark.slow
def test_a_server_that_stalls_is_given_up_in_time() -> None:
    def answer(*_: object) -> None:
        time.sleep(0.6)

    server, too_long = FakeServer(answer), pytest.raises(TranslationError, match="took too long")
    with translator(server, timeout=0.2) as (libre, waits), too_long:
        libre.translate(["ab"], "en", "es")
    assert len(waits) == 3


def test_without_a_server_the_error_says_how_to_start_one() -> None:
    service = JsonService(
        "http://127.0.0.1:9", name="LibreTranslate", n_attempts=2, sleep=lambda _: None
    )
    with pytest.raises(TranslationError, match="no connection") as caught:
        LibreTranslate(service).version("en", "es")
    assert "pip install libretranslate" in str(caught.value)


@pytest.mark.slow
def test_nothing_failed_is_kept_and_nothing_flagged_is_trusted() -> None:
    server = FakeServer(lambda body, _: JSONResponse({"translatedText": body["q"]}))
    with serving(server.app) as url:
        conjugation = parse_conjugation(f"translate:es@libretranslate:{url}")
        assert conjugation.apply("say it") == "say it"
        assert conjugation.flags("say it") == ("unchanged line",)
        close(conjugation)


@pytest.mark.parametrize("url", ["ftp://x", "nowhere", "http://", "file:///etc/passwd"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="no address"):
        load_translator(f"libretranslate:{url}")


def test_a_password_in_the_address_is_never_shown() -> None:
    libre = load_translator(f"libretranslate:http://me:{SECRET}@localhost:9/x?key={SECRET}")
    assert libre.spec == "libretranslate:http://localhost:9/x"
