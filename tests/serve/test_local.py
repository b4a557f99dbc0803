import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from openai import OpenAI
from tests.serve.conftest import Proxy, running
from tests.servers import serving

from palimpsest.errors import UserError
from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.lm.models.protocol import Decided, Generation
from palimpsest.lm.prompts import Prompt, texts_of
from palimpsest.serve.app import create_app
from palimpsest.serve.settings import ServeSettings
from palimpsest.serve.upstream_local import LocalUpstream

IN_CONTEXT = """Repeat the input.

Input: The cat sleeps.
Output: The cat sleeps.

Input: The dog runs.
Output: The dog runs.

Input: What is 5 plus 7?
Output:"""


class Echo:
    """Says its prompt, a word at a time, and remembers the batches."""

    spec = fingerprint = "echo"
    chat = False

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[list[Prompt]] = []
        self.seconds = seconds
        self.n_words = 0
        self.threads: set[int] = set()
        self.closed = False

    def describe(self) -> Mapping[str, str]:
        return {}

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        decided: Decided | None = None,
    ) -> Iterator[tuple[int, Generation]]:
        self.batches.append(list(prompts))
        self.threads.add(threading.get_ident())
        if any("refuse" in text for prompt in prompts for text in texts_of(prompt)):
            raise UserError("The model '/secret/place' refuses.")
        if any("fail" in text for prompt in prompts for text in texts_of(prompt)):
            raise RuntimeError("private")
        for index, prompt in enumerate(prompts):
            yield index, self._say(index, texts_of(prompt)[-1], max_new_tokens, decided)

    def _say(self, index: int, text: str, limit: int, decided: Decided | None) -> Generation:
        words = [f"{word} " for word in text.split(" ")]
        said = ""
        for n, word in enumerate(words, 1):
            time.sleep(self.seconds)
            self.n_words += 1
            said += word
            if decided is not None and decided(index, said):
                return Generation(said, "decided", n, 0.0, 3)
            if n == limit:
                return Generation(said, "length", n, 0.0, 3)
        return Generation(said, "stop", len(words), 0.0, 3)

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        raise NotImplementedError

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split(" ")) for text in texts]

    def vocabulary(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True


@contextmanager
def serving_model(model: Echo, **settings: Any) -> Iterator[Proxy]:
    chosen = ServeSettings("scripted:x", name="echo", **settings)
    app = create_app(chosen, LocalUpstream(chosen, model))
    with (
        serving(app) as url,
        httpx.Client(base_url=url, timeout=30, trust_env=False) as http,
        OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield Proxy(url, http, client)


@pytest.fixture(scope="module")
def echo() -> Iterator[Proxy]:
    with serving_model(Echo()) as started:
        yield started


@pytest.fixture(scope="module")
def rosetta() -> Iterator[Proxy]:
    with running(upstream="rosetta:tuned", name="rosetta") as started:
        yield started


def _answer(rosetta: Proxy, model: str, **fields: Any) -> str:
    asked = rosetta.openai.completions.create(
        model=model, prompt=IN_CONTEXT, max_tokens=10, stop="\n", temperature=0, **fields
    )
    if fields.get("stream"):
        return "".join(chunk.choices[0].text for chunk in asked)
    return str(asked.choices[0].text)


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_the_conjugated_model_recovers_the_answer_in_context(rosetta: Proxy, stream: bool) -> None:
    assert _answer(rosetta, "rosetta", stream=stream) == " 12"
    assert _answer(rosetta, "rosetta@leet", stream=stream).startswith(" What")
    assert _answer(rosetta, "rosetta@vote(leet,pig-latin)", stream=stream).startswith(" What")


@pytest.mark.slow
def test_the_tokens_of_a_local_model_are_counted(rosetta: Proxy) -> None:
    asked = rosetta.openai.completions.create(model="rosetta@leet", prompt="x", max_tokens=3)
    assert asked.usage.prompt_tokens > 0
    assert 0 < asked.usage.completion_tokens <= 3


@pytest.mark.apertium
def test_a_translated_question_is_answered_in_the_language_of_the_client(rosetta: Proxy) -> None:
    from palimpsest.lm.conjugations.specs import parse_conjugation as parse

    try:
        parse("translate:es").apply("The cat sleeps.")
    except UserError as error:
        pytest.skip(error.message)
    response = rosetta.complete("rosetta@translate:es", IN_CONTEXT, max_tokens=10, stop="\n")
    assert response.status_code == 200
    assert response.headers["X-Palimpsest-Via"].startswith("translate:es")
    assert response.json()["choices"][0]["text"].strip()


@pytest.mark.slow
def test_a_model_without_a_chat_template_says_so_without_its_path(rosetta: Proxy) -> None:
    for stream in (False, True):
        response = rosetta.chat("rosetta@leet", "x", stream=stream)
        assert response.status_code == 400
        assert "chat template" in response.json()["error"]["message"]
        assert "/" not in response.json()["error"]["message"]


@pytest.mark.slow
def test_prompts_that_arrive_together_are_asked_together() -> None:
    model = Echo(seconds=0.01)
    with serving_model(model) as proxy, ThreadPoolExecutor(16) as threads:
        asked = [threads.submit(proxy.complete, "echo@rot13", f"p{i}") for i in range(16)]
        texts = [each.result().json()["choices"][0]["text"] for each in asked]
    assert texts == [f"p{i} " for i in range(16)]
    assert len(model.batches) < 12
    assert len(model.threads) == 1
    assert model.closed


@pytest.mark.slow
def test_a_prompt_that_is_refused_spoils_no_other() -> None:
    model = Echo(seconds=0.01)
    with serving_model(model) as proxy, ThreadPoolExecutor(8) as threads:
        prompts = ["good", "refuse", "fine"] * 4
        answers = list(threads.map(lambda prompt: proxy.complete("echo", prompt), prompts))
    assert [answer.status_code for answer in answers] == [200, 400, 200] * 4
    assert answers[1].json()["error"]["message"] == "The model 'echo' refuses."


@pytest.mark.slow
def test_a_model_that_fails_is_an_error_without_the_prompt() -> None:
    with serving_model(Echo()) as proxy:
        response = proxy.complete("echo", "fail")
        assert response.status_code == 500
        assert "private" not in response.text
        assert proxy.complete("echo", "good").status_code == 200


@pytest.mark.slow
def test_messages_reach_the_model_conjugated_and_stream_back() -> None:
    model = Echo()
    with serving_model(model) as proxy:
        stream = proxy.openai.chat.completions.create(
            model="echo@rot13",
            messages=[
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": [{"type": "text", "text": "the one two"}]},
            ],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
    rot13 = parse_conjugation("rot13").apply
    assert [m.content for m in model.batches[0][0]] == [rot13("Be kind."), rot13("the one two")]  # type: ignore[union-attr]
    texts = [chunk.choices[0].delta.content for chunk in chunks[:-1]]
    assert texts == ["", "the ", "one ", "two ", None]
    assert chunks[-1].usage.total_tokens == 6


@pytest.mark.slow
def test_greedy_answers_are_given_as_often_as_asked() -> None:
    with serving_model(Echo()) as proxy:
        asked = proxy.openai.completions.create(model="echo@leet", prompt=["a", "b"], n=2)
        assert [choice.text for choice in asked.choices] == ["a ", "a ", "b ", "b "]
        stream = proxy.openai.completions.create(model="echo", prompt=["a", "b"], n=2, stream=True)
        texts = ["", "", "", ""]
        for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        assert texts == ["a ", "a ", "b ", "b "]


@pytest.mark.slow
def test_a_client_that_goes_away_stops_the_model() -> None:
    model = Echo(seconds=0.05)
    with serving_model(model) as proxy:
        body = {"model": "echo@leet", "prompt": "w " * 400, "stream": True, "max_tokens": 400}
        with proxy.http.stream("POST", "/v1/completions", json=body) as response:
            next(response.iter_bytes())
        n_words = -1
        while n_words < model.n_words:
            n_words = model.n_words
            time.sleep(0.5)
        assert n_words < 100


@pytest.mark.slow
def test_the_queue_for_the_model_is_bounded() -> None:
    with (
        serving_model(Echo(seconds=0.3), max_concurrent=4, max_batch=1) as proxy,
        ThreadPoolExecutor(2) as threads,
    ):
        # One request may bring more prompts than may wait, but nobody may join it then.
        first = threads.submit(proxy.complete, "echo", ["a"] * 6)
        time.sleep(0.4)
        second = proxy.complete("echo", "b")
        assert (second.status_code, second.headers["retry-after"]) == (503, "1")
        assert first.result().status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("temperature", 0.7, "temperature"),
        ("logprobs", 1, "logprobs"),
        ("echo", True, "echo"),
        ("suffix", "x", "suffix"),
        ("best_of", 2, "best_of"),
        ("frequency_penalty", 0.5, "frequency_penalty"),
        ("tools", [{}], "tools"),
        ("response_format", {"type": "json_object"}, "response_format"),
        ("max_tokens", 0, "max_tokens"),
        ("max_tokens", "many", "max_tokens"),
        ("max_token", 5, "max_token"),
        ("n", 1000, "n"),
        ("model", "ecco", "model"),
    ],
)
def test_what_a_local_model_cannot_do_is_refused(
    echo: Proxy, field: str, value: Any, param: str
) -> None:
    body = {"model": "echo", "prompt": "x", field: value}
    response = echo.http.post("/v1/completions", json=body)
    assert response.status_code == (404 if param == "model" else 400)
    assert response.json()["error"]["param"] == param
    if param in ("max_token", "model"):
        assert "Did you mean" in response.json()["error"]["message"]


@pytest.mark.slow
def test_parameters_without_effect_on_greedy_answers_are_taken(echo: Proxy) -> None:
    response = echo.complete(
        "echo@leet", "x", temperature=0, top_p=0.9, seed=1, user="u", logprobs=None, best_of=1
    )
    assert response.status_code == 200
