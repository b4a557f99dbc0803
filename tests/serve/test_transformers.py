"""Against ``transformers serve``: a server that is not ours, with ways of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import BadRequestError
from tests.serve.conftest import Proxy, running
from tests.serve.test_local import IN_CONTEXT
from tests.servers import transformers_serve

from palimpsest.lm.models import ROSETTA_WEIGHTS

pytestmark = pytest.mark.slow

MODEL = str(ROSETTA_WEIGHTS / "tuned")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with transformers_serve(Path(MODEL)) as url, running(upstream=f"{url}/v1") as started:
        yield started


@pytest.mark.parametrize("stream", [False, True])
def test_the_conjugated_model_recovers_the_answer_in_context(proxy: Proxy, stream: bool) -> None:
    def ask(model: str) -> str:
        asked = proxy.openai.completions.create(
            model=model, prompt=IN_CONTEXT, max_tokens=10, stop=["\n"], temperature=0, stream=stream
        )
        if stream:
            return "".join(chunk.choices[0].text for chunk in asked if chunk.choices)
        assert asked.usage.prompt_tokens > 0
        return str(asked.choices[0].text)

    assert ask(f"{MODEL}@leet").startswith(" What is")
    assert ask(MODEL).startswith(" 12")


def test_a_stream_ends_with_the_count_and_done_though_the_upstream_ends_otherwise(
    proxy: Proxy,
) -> None:
    response = proxy.complete(
        f"{MODEL}@leet",
        IN_CONTEXT,
        max_tokens=10,
        stop="\n",
        stream=True,
        stream_options={"include_usage": True},
    )
    assert response.status_code == 200
    *_, usage, done = response.text.strip().split("\n\n")
    assert '"choices":[]' in usage
    assert '"total_tokens"' in usage
    assert done == "data: [DONE]"
    plain = proxy.complete(MODEL, IN_CONTEXT, max_tokens=10, stream=True)
    assert plain.text.endswith("data: [DONE]\n\n")


def test_what_it_refuses_is_told_in_the_form_of_openai(proxy: Proxy) -> None:
    for model in (MODEL, f"{MODEL}@leet"):
        response = proxy.complete(model, "x", nonsense=1)
        assert response.status_code == 422
        assert "nonsense" in response.json()["error"]["message"]


def test_fields_that_ask_for_nothing_do_not_reach_it(proxy: Proxy) -> None:
    asked = proxy.openai.completions.create(
        model=f"{MODEL}@leet", prompt=IN_CONTEXT, max_tokens=5, n=1, echo=False, best_of=1
    )
    assert asked.choices[0].text
    with pytest.raises(BadRequestError, match="logprobs"):
        proxy.openai.completions.create(model=f"{MODEL}@leet", prompt="x", logprobs=1)


def test_models_work_even_if_the_upstream_cannot_list_them(proxy: Proxy) -> None:
    response = proxy.http.get("/v1/models")
    # Without a cache folder of the Hub, this release answers with 500 and plain text.
    assert response.is_success or response.json()["error"]["message"] == "Internal Server Error"
