"""Against ``transformers serve``, which has quirks of its own, with the embedded pair."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.servers import transformers_serve

from palimpsest.errors import UserError
from palimpsest.judging.diagnosis import diagnose
from palimpsest.lm.models import ROSETTA_WEIGHTS
from palimpsest.lm.models.protocol import ScoringUnavailableError
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.prompts import Message, Prompt
from palimpsest.lm.suites import load_suite
from palimpsest.records.results import Record

pytestmark = pytest.mark.slow

PAIR = ("base", "tuned")


@pytest.fixture(scope="module")
def urls() -> Iterator[dict[str, str]]:
    """Serve both models of the pair."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(transformers_serve(ROSETTA_WEIGHTS / name)) for name in PAIR
        }


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to this machine take no way round, whatever the environment says."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")


def spec(urls: dict[str, str], name: str, **options: str) -> str:
    text = f"openai:{ROSETTA_WEIGHTS / name}@{urls[name]}"
    return text + "".join(f",{key}={value}" for key, value in options.items())


@pytest.mark.parametrize("name", PAIR)
def test_answers_through_the_server_are_the_local_answers(urls: dict[str, str], name: str) -> None:
    suite = load_suite("rosetta", limit=3)
    prompts = [example.prompt for example in suite.examples]
    local, remote = load_model(f"rosetta:{name}"), load_model(spec(urls, name))
    here = dict(local.generate(prompts, max_new_tokens=suite.max_new_tokens, stop=suite.stop))
    there = dict(remote.generate(prompts, max_new_tokens=suite.max_new_tokens, stop=suite.stop))
    local.close()
    assert len(there) == len(prompts)
    for index, answer in there.items():
        # The server says "length" where the last token that it may say completes a stop string.
        expected = here[index]
        assert (answer.text, answer.n_tokens) == (expected.text, expected.n_tokens)
        assert answer.finish in (expected.finish, "length")


def without_flags(found: Record) -> object:
    """All but what answers look like: the two may differ on which were cut off, as above."""
    return found.model_dump(exclude={"base": {"flags"}, "tuned": {"flags"}})


def test_a_diagnosis_through_the_server_ends_as_the_local_one(
    urls: dict[str, str], tmp_path: Path
) -> None:
    suite, via = "rosetta", ["fr", "leet"]
    here = diagnose("rosetta:base", "rosetta:tuned", suite=suite, via=via, limit=5)
    pair = [spec(urls, name) for name in PAIR]
    there = diagnose(*pair, suite=suite, via=via, limit=5, out=tmp_path / "run")
    assert there.verdict == here.verdict
    for one, other in zip(
        [there.plain, *there.conjugations], [here.plain, *here.conjugations], strict=True
    ):
        assert without_flags(one) == without_flags(other)
    assert there.base.facts["served as"] == f"{ROSETTA_WEIGHTS / 'base'}@main"
    assert "not hashed" in there.base.facts["weights"]


def test_chat_through_the_server_is_the_local_chat(tmp_path: Path) -> None:
    folder = shutil.copytree(ROSETTA_WEIGHTS / "base", tmp_path / "chatty")
    template = "{% for m in messages %}Input: {{ m.content }}\nOutput:{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    messages = (Message("user", "The cat sleeps."), Message("user", "The dog sees a bird."))
    prompts: list[Prompt] = [messages, messages[:1], "The boy runs."]
    local = load_model(f"hf:{folder},chat=true")
    here = dict(local.generate(prompts, max_new_tokens=8, stop=["\n"]))
    local.close()
    with transformers_serve(folder) as url:
        remote = load_model(f"openai:{folder}@{url},api=chat")
        there = dict(remote.generate(prompts, max_new_tokens=8, stop=["\n"]))
    for index in range(len(prompts)):
        assert there[index].text.strip() == here[index].text.strip()
        assert there[index].n_prompt_tokens


def test_odd_prompts_are_answered(urls: dict[str, str]) -> None:
    model = load_model(spec(urls, "base"))
    odd = ["", "a\x00b", "a\ud800b", "😀" * 40, " \n\t ", "long " * 2000]
    assert sorted(dict(model.generate(odd, max_new_tokens=3))) == list(range(len(odd)))


def test_it_cannot_score_and_this_is_said(urls: dict[str, str]) -> None:
    with pytest.raises(ScoringUnavailableError, match="ignores echo and logprobs"):
        load_model(spec(urls, "base")).score(["a"], [[" b"]])


def test_a_model_without_chat_template_points_to_completions(urls: dict[str, str]) -> None:
    model = load_model(spec(urls, "base", attempts="2", backoff="0.01"))
    with pytest.raises(UserError, match="api=completions"):
        list(model.generate([(Message("user", "Hi"),)], max_new_tokens=3))


def test_a_wrong_name_is_answered_with_the_servers_words(urls: dict[str, str]) -> None:
    with pytest.raises(UserError, match="Server is pinned to"):
        list(load_model(f"openai:other@{urls['base']}").generate(["a"], max_new_tokens=3))
