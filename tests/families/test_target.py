from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.families.target import Target, load_target, together
from palimpsest.judging import evaluate, parse_via
from palimpsest.lm import Prompt
from palimpsest.lm.models import ScoringUnavailableError, ScriptedModel, load_model
from palimpsest.lm.suites import Suite
from palimpsest.records import AnswerRow, AnswerStore

ROWS = [
    {"prompt": "Input: What is 5 plus 7?\nOutput:", "completion": " 12"},
    {"text": "The baker sells fresh bread at the market every day."},
    {"prompt": "Give the answer.\n", "answer": "Dogs"},
]


def asked(path: Path, model: str) -> tuple[Target, list[AnswerRow]]:
    file = path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)), "utf-8")
    target = load_target(f"text:{file}")
    opened = load_model(model)
    with AnswerStore(path / "answers.sqlite") as store:
        vias = [parse_via("identity", target.suite)]
        settings = target.settings([opened])
        rows = evaluate(opened, target.suite, vias, store=store, role="base", settings=settings)
    return target, rows


@pytest.mark.slow
def test_bits_a_byte_are_the_models_own_likelihood(tmp_path: Path) -> None:
    target, rows = asked(tmp_path, "rosetta:base")
    scores = target.scores(rows)
    prompts = [row.get("prompt", "") for row in ROWS]
    texts = [" 12", ROWS[1]["text"], "Dogs"]
    nats = load_model("rosetta:base").score(prompts, [[text] for text in texts])
    direct = [-value / math.log(2) / len(text) for [value], text in zip(nats, texts, strict=True)]
    # The same network in batches of another shape: sums in another order.
    assert [scores[name] for name in sorted(scores)] == pytest.approx(direct, rel=1e-4)
    bits = sum(-value for [value] in nats) / math.log(2)
    assert target.mean(scores) == pytest.approx(bits / sum(map(len, texts)), rel=1e-4)


def test_a_text_that_does_not_fit_has_no_score(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"id": "a", "text": "b"}), "utf-8")
    target = load_target(f"text:{file}")
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        vias = [parse_via("identity", target.suite)]
        rows = evaluate(NoRoom(), target.suite, vias, store=store, role="base")
    assert [json.loads(row.raw) for row in rows] == [{"b": None}]
    assert target.scores(rows) == {}


class NoRoom(ScriptedModel):
    """A model in whose context no text fits."""

    def __init__(self) -> None:
        super().__init__(lambda prompt: "")

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        return [[-math.inf] * len(texts) for texts in candidates]


class Mute(ScriptedModel):
    """A model that gives answers alone."""

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        raise ScoringUnavailableError("no likelihoods")


def test_gains_are_differences_of_accuracy_and_shares_of_bits() -> None:
    suite = Suite(name="t", examples=())
    assert Target(suite).gain(0.9, 0.4) == pytest.approx(0.5)
    assert Target(suite, is_text=True).gain(0.5, 2.0) == pytest.approx(0.75)


def test_scores_are_compared_on_the_examples_that_all_have() -> None:
    found = together({"one": {"b": 1.0, "a": 0.0}, "two": {"c": 1.0, "b": 0.5}})
    assert found.names == ["b"]
    assert found.of("two") == pytest.approx([0.5])
    assert found.among(["a"]).values.shape == (0, 2)


def test_a_model_that_gives_no_likelihoods_cannot_be_measured_on_text(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"text": "b"}), "utf-8")
    with pytest.raises(UserError, match="a model gives answers alone"):
        load_target(f"text:{file}").settings([Mute(lambda prompt: "x")])
