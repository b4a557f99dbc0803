"""Law: asked plainly, every sample's metric is what the harness itself says of the same model."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from palimpsest.judging.evaluation import evaluate, settings_for
from palimpsest.judging.via import parse_via
from palimpsest.lm.continuations import choice_scores
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.suites import load_suite
from palimpsest.records import AnswerRow, AnswerStore

TASKS = [
    *("plain_words", "two_filters,filter=whole", "two_filters,filter=lower-word", "repeated"),
    *("several_targets", "described", "unstopped", "own_results", "index_target", "choice"),
    *("choice,metric=acc_norm", "choice,metric=acc_bytes", "choice_fewshot,metric=acc_norm"),
    *("choice_function", "sentences", "sentences,metric=acc_norm", "choice_results"),
    *("several_right", "last_word", "described,num_fewshot=1"),
    *("described,apply_chat_template=true", "plain_words,apply_chat_template=true"),
    "described,apply_chat_template=true,system_instruction=Be brief.",
    "described,apply_chat_template=true,fewshot_as_multiturn=false",
    *("choice,apply_chat_template=true", "choice_fewshot,apply_chat_template=true"),
]
FEW = ("plain_words", "choice,metric=acc_norm")

TIE = 1e-5
"""Nats: choices nearer to each other than this may be ranked either way by two programs."""


@pytest.fixture(scope="module")
def harness_model(weights: Path) -> LM:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(weights), device="cpu", batch_size=8)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    # Asks a dozen programs about the machine, which takes longer than our tests.
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)
    monkeypatch.setattr("datasets.config.HF_UPDATE_DOWNLOAD_COUNTS", False)  # over the network


def answers(spec: str, weights: Path, tmp_path: Path) -> list[AnswerRow]:
    suite = load_suite(spec)
    model = load_model(f"hf:{weights}")
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        return evaluate(
            model,
            suite,
            [parse_via("identity", suite)],
            store=store,
            role="tuned",
            settings=settings_for(suite, [model]),
        )


def samples(model: LM, folder: Path, options: dict[str, str], task: str) -> list[dict[str, Any]]:
    few = options.get("num_fewshot")
    results: Any = lm_eval.simple_evaluate(
        model=model,
        tasks=[task],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        num_fewshot=None if few is None else int(few),
        apply_chat_template="apply_chat_template" in options,
        fewshot_as_multiturn=options.get("fewshot_as_multiturn") != "false",
        system_instruction=options.get("system_instruction"),
    )
    logged = results["samples"][task]
    wanted = options.get("filter", logged[0]["filter"])
    return [sample for sample in logged if sample["filter"] == wanted]


def ties(row: AnswerRow) -> bool:
    """Say whether the two likeliest choices are as good as equally likely."""
    if row.finish != "chosen":
        return False
    scores = sorted(choice_scores(row.raw, list(json.loads(row.raw))))
    return math.isclose(scores[-1], scores[-2], abs_tol=TIE)


@pytest.mark.parametrize(
    "spec", [pytest.param(each, marks=() if each in FEW else pytest.mark.slow) for each in TASKS]
)
def test_every_sample_has_the_metric_that_the_harness_gives_it(
    spec: str, harness_model: LM, weights: Path, task_folder: Path, tmp_path: Path
) -> None:
    task, *written = spec.split(",")
    options = dict(each.split("=") for each in written)
    rows = answers(f"lm-eval:{spec},include_path={task_folder}", weights, tmp_path)
    logged = samples(harness_model, task_folder, options, task)
    assert len(rows) == len(logged) > 0
    metric = options.get("metric", _first_metric(logged))
    differing = [
        (row.key.source_id, row.score, sample[metric], row.raw, sample["resps"])
        for row, sample in zip(rows, logged, strict=True)
        if row.score != pytest.approx(sample[metric], abs=1e-6) and not ties(row)
    ]
    assert differing == []
    assert _likelihoods_agree(rows, logged)


def _first_metric(logged: Sequence[dict[str, Any]]) -> str:
    names = [name for name in logged[0]["metrics"] if name != "perplexity"]
    return str(names[0])


def _likelihoods_agree(rows: Sequence[AnswerRow], logged: Sequence[dict[str, Any]]) -> bool:
    for row, sample in zip(rows, logged, strict=True):
        if row.finish == "chosen":
            theirs = [resp[0][0] for resp in sample["resps"]]
            ours = list(json.loads(row.raw).values())
            assert ours == pytest.approx(theirs, abs=1e-3), row.raw
    return True
