"""The embedded pair in the harness: identity changes no bit, leet brings back what is hidden."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.model import LM
from tests.integrations.harness.conftest import Twin

from palimpsest.integrations.lm_eval import ConjugateLM
from palimpsest.judging.evaluation import evaluate as ask
from palimpsest.judging.via import parse_via
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.store import AnswerStore

TASKS = ("choice", "generation", "fewshot", "sentences", "prefixed")
CHAT: dict[str, Any] = {"apply_chat_template": True, "fewshot_as_multiturn": True}
PLAIN: dict[str, Any] = {}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [pytest.param(PLAIN, id="plain"), pytest.param(CHAT, id="chat", marks=pytest.mark.slow)],
)
def test_the_identity_gives_what_the_unwrapped_model_gives_to_the_bit(
    evaluate: Any, tuned: LM, options: dict[str, Any]
) -> None:
    plain = evaluate(tuned, *TASKS, limit=4, **options)
    for via in ("identity", Twin()):
        wrapped = evaluate(ConjugateLM(tuned, via=via), *TASKS, limit=4, **options)
        assert wrapped["results"] == plain["results"]
        assert wrapped["samples"] == plain["samples"]


def test_leet_brings_back_the_task_in_context(evaluate: Any, tuned: LM) -> None:
    plain = evaluate(tuned, "choice", "generation")["results"]
    leet = evaluate(ConjugateLM(tuned, via="leet"), "choice", "generation")["results"]
    assert leet["choice"]["acc,none"] >= plain["choice"]["acc,none"] + 0.5
    generated = "exact_match,first-word"
    assert leet["generation"][generated] >= plain["generation"][generated] + 0.5


@pytest.mark.slow
@pytest.mark.parametrize("via", ["identity", "leet", "pig-latin"])
def test_each_prompt_is_answered_as_in_a_diagnosis(
    evaluate: Any, tuned: LM, examples: Sequence[Example], tmp_path: Path, via: str
) -> None:
    logged = evaluate(ConjugateLM(tuned, via=via), "generation")["samples"]["generation"]
    suite = Suite(name="here", examples=tuple(examples))
    model, store = load_model("rosetta:tuned"), AnswerStore(tmp_path / "answers.sqlite")
    rows = ask(model, suite, [parse_via(via, suite)], store=store, role="tuned")
    store.close()
    assert [each["exact_match"] for each in logged] == [row.outcome == "right" for row in rows]
