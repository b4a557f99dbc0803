"""What every back end promises. A new one adds a line to ``BACK_ENDS``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fault_server import FaultServer
from tests.lm.models.checkpoints import save_checkpoint

from palimpsest.lm.models.protocol import LanguageModel
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.prompts import Prompt

ODD: list[Prompt] = [
    "",
    "The cat",
    "a\x00b",
    "\u202eשלום\u202c العربية",
    "<script>alert(1)</script> & ]]>",
    "😀" * 40,
    "a\ud800b",
    " \n\t ",
    "long " * 20_000,
    "The cat",
]


def _scripted(folder: Path) -> str:
    rules = [{"contains": "", "answer": " one two\nthree 😀 four five six seven eight nine ten"}]
    (folder / "rules.json").write_text(json.dumps(rules))
    return f"scripted:{folder / 'rules.json'}"


def _openai(folder: Path) -> str:
    server = FaultServer(lambda _: " one two\nthree 😀 four five six seven", scores=True)
    RUNNING.append(server.__enter__())
    return f"openai:{folder.name}@{server.url}"


RUNNING: list[FaultServer] = []
BACK_ENDS: dict[str, Callable[[Path], str]] = {
    "scripted": _scripted,
    "hf": lambda folder: str(save_checkpoint(folder)),
    "openai": _openai,
}


@pytest.fixture(params=BACK_ENDS)
def spec(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Name a model of each back end."""
    yield BACK_ENDS[request.param](tmp_path)
    while RUNNING:
        RUNNING.pop().__exit__()


@pytest.fixture
def model(spec: str) -> LanguageModel:
    """Open a model of each back end."""
    return load_model(spec)


@pytest.mark.slow
def test_every_prompt_gets_one_answer(model: LanguageModel) -> None:
    found = [index for index, _ in model.generate(ODD, max_new_tokens=5)]
    assert sorted(found) == list(range(len(ODD)))


@pytest.mark.slow
def test_an_answer_does_not_depend_on_the_others(model: LanguageModel) -> None:
    together = dict(model.generate(ODD, max_new_tokens=5))
    for index, prompt in enumerate(ODD):
        ((_, alone),) = model.generate([prompt], max_new_tokens=5)
        assert together[index][:3] == alone[:3]


@pytest.mark.slow
def test_no_answer_is_longer_than_allowed(model: LanguageModel) -> None:
    assert all(answer.n_tokens <= 3 for _, answer in model.generate(ODD, max_new_tokens=3))


@pytest.mark.slow
def test_no_answer_holds_a_stop_string(model: LanguageModel) -> None:
    stop = ["o", "\n", "e"]
    for _, answer in model.generate(ODD, max_new_tokens=9, stop=stop):
        assert not any(mark in answer.text for mark in stop)


@pytest.mark.slow
def test_an_answer_that_is_decided_is_the_beginning_of_the_whole(model: LanguageModel) -> None:
    whole = dict(model.generate(ODD, max_new_tokens=9))
    for index, answer in model.generate(ODD, max_new_tokens=9, decided=lambda _, t: len(t) > 2):
        assert whole[index].text.startswith(answer.text)
        assert answer.finish != "decided" or len(answer.text) > 2


def test_every_candidate_gets_a_log_probability(model: LanguageModel) -> None:
    candidates = [[" one", " two"], [" one"], []]
    scores = model.score(["a", "b", "c"], candidates)
    assert [len(row) for row in scores] == [2, 1, 0]
    assert all(score <= 0.0 for row in scores for score in row)


def test_the_fingerprint_is_stable(model: LanguageModel, spec: str) -> None:
    assert model.fingerprint == load_model(spec).fingerprint


def test_a_model_keeps_the_words_that_named_it(model: LanguageModel, spec: str) -> None:
    assert model.spec == spec


def test_the_description_is_text(model: LanguageModel) -> None:
    facts = model.describe()
    assert "architecture" in facts
    assert all(isinstance(part, str) for fact in facts.items() for part in fact)


def test_closing_twice_is_harmless(model: LanguageModel, spec: str) -> None:
    model.close()
    model.close()
    assert model.spec == spec
