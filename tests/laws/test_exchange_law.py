"""The same prompt, stop strings and raw answer give the same text, whoever asks the model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from gc import collect  # before a fixture for all tests replaces it
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from tests.integrations.inspect_ai.conftest import BORNE
from tests.loops import run_to_end
from tests.tiers import slow

from palimpsest.integrations.lm_eval.model import ConjugateLM
from palimpsest.judging.evaluation import evaluate
from palimpsest.judging.prompt import ask
from palimpsest.judging.questions import Settings
from palimpsest.judging.recommend.evidence import send
from palimpsest.judging.via import parse_via
from palimpsest.lm.conjugations import CONJUGATIONS, parse_conjugation
from palimpsest.lm.exchange import Exchange
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.store import AnswerStore
from palimpsest.serve.app import create_app
from palimpsest.serve.settings import ServeSettings
from palimpsest.serve.upstream_local import LocalUpstream

if TYPE_CHECKING:
    from inspect_ai.model import GenerateConfig, ModelOutput

SPECS = [*CONJUGATIONS, "leet|rot13", "pig-latin|upper", "protect(leet)", "protect(upper,numbers)"]
QUICK = ("identity", "leet", "pig-latin", "protect(leet)")
PROMPT = "Input: What is 5 plus 7?\nOutput:"
STOPS: tuple[list[str], ...] = ([], ["END"], ["\n", "User:"], ["<|im_end|>", "7"], ["ab", "·"])
PLAIN = ("yes END more", " No. 7 of 12\nUser: ab", "It·is <|im_end|> so", "a\\b ab", "")

Caller = Callable[[str, str, list[str]], str]
"""From a conjugation, the model's raw answer to every prompt and stop strings to the text read."""


def model(raw: str, asked: list[Prompt] | None = None) -> ScriptedModel:
    def answer(prompt: Prompt) -> str:
        if asked is not None:
            asked.append(prompt)
        return raw

    return ScriptedModel(answer)


def one(prompt: str) -> Suite:
    return Suite("one", (Example("1", "qa", "en", prompt, {"qa": ("Yes",), "other": ("No",)}),))


def diagnosed(via: str, raw: str, stops: list[str]) -> str:
    settings = Settings(max_new_tokens=99, stop=tuple(stops), stop_when_decided=False)
    with TemporaryDirectory() as folder, AnswerStore(Path(folder) / "answers.sqlite") as store:
        suite = one(PROMPT)
        [row] = evaluate(
            model(raw), suite, [parse_via(via)], store=store, role="base", settings=settings
        )
    return row.answer


def prompted(via: str, raw: str, stops: list[str]) -> str:
    return ask(model(raw), PROMPT, via=via, max_new_tokens=99, stop=stops).answer


def served(via: str, raw: str, stops: list[str], *, stream: bool = False) -> str:
    settings = ServeSettings(upstream="scripted:none", name="m", offer=(via,))
    app = create_app(settings, LocalUpstream(settings, model(raw)))
    body = {"model": f"m@{via}", "prompt": PROMPT, "max_tokens": 99, "stop": stops}

    async def asked() -> str:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
        ) as client:
            response = await client.post("/v1/completions", json={**body, "stream": stream})
        assert response.status_code == 200, response.text
        if not stream:
            return str(response.json()["choices"][0]["text"])
        events = [line[6:] for line in response.text.splitlines() if line.startswith("data: {")]
        choices = (choice for event in events for choice in json.loads(event)["choices"])
        return "".join(choice["text"] for choice in choices)

    return run_to_end(asked())


def streamed(via: str, raw: str, stops: list[str]) -> str:
    return served(via, raw, stops, stream=True)


def inspected(via: str, raw: str, stops: list[str]) -> str:
    from inspect_ai.model import (
        ChatMessageUser,
        GenerateConfig,
        ModelOutput,
        ModelUsage,
        get_model,
    )

    def answer(input: Any, tools: Any, choice: Any, config: GenerateConfig) -> ModelOutput:
        [(_, said)] = model(raw).generate([""], max_new_tokens=99, stop=config.stop_seqs or [])
        output = ModelOutput.from_content("mockllm/model", said.text)
        output.usage = ModelUsage()  # else tokens are counted, by a file from the network
        return output

    asked = get_model("conjugate/mockllm/model", custom_outputs=answer, memoize=False, via=via)
    config = GenerateConfig(stop_seqs=stops or None)
    output = run_to_end(asked.api.generate([ChatMessageUser(content=PROMPT)], [], "none", config))
    assert isinstance(output, tuple)
    assert isinstance(output[0], ModelOutput)
    return output[0].completion


class Harnessed(LM):  # type: ignore[misc]  # the harness is untyped
    def __init__(self, raw: str) -> None:
        super().__init__()
        self.raw = raw

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        stops = [request.args[1].get("until") or [] for request in requests]
        said = [model(self.raw).generate([""], max_new_tokens=99, stop=each) for each in stops]
        return [text for [(_, (text, *_))] in said]

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


def harnessed(via: str, raw: str, stops: list[str]) -> str:
    request = Instance("generate_until", {}, (PROMPT, {"until": stops}), 0, ("a task", 0, 1))
    return ConjugateLM(Harnessed(raw), via=via).generate_until([request])[0]


CALLERS: dict[str, Caller] = {
    "diagnose": diagnosed,
    "prompt": prompted,
    "serve": served,
    "serve, as a stream": streamed,
    "inspect": inspected,
    "lm-eval": harnessed,
}


pytestmark = [pytest.mark.filterwarnings(warned) for warned in BORNE]


@pytest.fixture(autouse=True, scope="module")
def nothing_left_to_other_tests() -> Iterator[None]:
    """Free what Inspect leaves open, lest it is found in the tests of others."""
    yield
    collect()


@pytest.fixture(autouse=True)
def _inspect_stays_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))


def read_alike(via: str, cases: Iterable[tuple[list[str], str]]) -> None:
    for stops, raw in cases:
        read = Exchange(parse_conjugation(via), stops).read(raw).text
        for name, caller in CALLERS.items():
            if not (name == "inspect" and via == "identity"):  # passed on untouched
                assert caller(via, raw, stops) == read, (name, stops, raw)


def raws(via: str) -> list[str]:
    return list(dict.fromkeys((*PLAIN, *map(parse_conjugation(via).apply, PLAIN))))


@pytest.mark.parametrize("via", [via if via in QUICK else slow(via) for via in SPECS])
def test_every_caller_reads_an_answer_as_the_exchange_does(via: str) -> None:
    read_alike(via, zip(itertools.cycle(STOPS[1:4]), raws(via), strict=False))


@pytest.mark.slow
@pytest.mark.parametrize("via", SPECS)
def test_every_caller_reads_every_answer_with_any_stops_alike(via: str) -> None:
    read_alike(via, itertools.product(STOPS, raws(via)))


@pytest.mark.slow
@pytest.mark.parametrize("via", SPECS)
def test_every_caller_sends_the_same(via: str) -> None:
    sent = Exchange(parse_conjugation(via)).send(PROMPT)
    asked: list[Prompt] = []
    ask(model("", asked), PROMPT, via=via)
    with TemporaryDirectory() as folder, AnswerStore(Path(folder) / "answers.sqlite") as store:
        evaluate(model("", asked), one(PROMPT), [parse_via(via)], store=store, role="base")
    assert asked == [sent, sent]
    assert send(parse_via(via), one(PROMPT)).prompts == [sent]


@pytest.mark.slow
def test_a_stop_that_a_lossy_conjugation_cannot_give_back_cuts_all_the_same() -> None:
    for name, caller in CALLERS.items():
        assert caller("upper", " YES END MORE", ["END"]) == " yes ", name
