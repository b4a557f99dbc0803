"""Folders that 0.1.0 wrote: today's code continues them and asks no prompt again.

``run-0.1.0`` is what ``palimpsest diagnose rosetta:base rosetta:tuned --suite rosetta --limit 5
--via leet --via fr --via upper`` left; in ``run-0.1.0-chosen``, from the prompts beside it, most
answers were chosen by likelihood.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from palimpsest.judging.diagnosis import diagnose
from palimpsest.lm.models.protocol import Generation
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.prompts import Prompt
from palimpsest.records.results import Results

pytestmark = pytest.mark.usefixtures("empty_figures")

DATA = Path(__file__).parents[1] / "data"
RUNS: dict[str, dict[str, Any]] = {
    "run-0.1.0": {"suite": "rosetta", "via": ["leet", "fr", "upper"], "limit": 5},
    "run-0.1.0-chosen": {"suite": "jsonl:prompts.jsonl", "via": ["leet", "upper"]},
}


class Known(ScriptedModel):
    """Has the name, the fingerprint and the facts of a model of an earlier run."""

    def __init__(self, results: Results, role: str) -> None:
        info = results.base if role == "base" else results.tuned
        super().__init__(lambda prompt: "", name=info.spec, fingerprint=info.fingerprint)
        self.facts = info.facts
        self.asked: list[Prompt] = []

    def describe(self) -> dict[str, str]:
        return dict(self.facts)

    def generate(
        self, prompts: Sequence[Prompt], **options: Any
    ) -> Iterator[tuple[int, Generation]]:
        self.asked += prompts
        return super().generate(prompts, **options)

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        self.asked += prompts
        return super().score(prompts, candidates)


def continued(folder: Path, name: str) -> Path:
    """Return a copy of one of the folders, with its prompts beside it."""
    copy = folder / name
    shutil.copytree(DATA / name, copy)
    for prompts in copy.glob("*.jsonl"):
        prompts.rename(folder / prompts.name)
    return copy


def results_of(run: Path) -> Results:
    return Results.model_validate_json((run / "results.json").read_bytes())


def comparable(results: Results) -> Any:
    """All but time, command and versions, and what answers look like: that was not known then."""
    young = {"intruded", "attempted", "broken", "flags", "pooled", "n_fell", "n_returned"}

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: without(each) for name, each in value.items() if name not in young}
        return [without(each) for each in value] if isinstance(value, list) else value

    return without(results.model_dump(mode="json", exclude={"provenance"}))


@pytest.mark.parametrize("name", RUNS)
def test_an_old_folder_says_the_same_again_and_no_prompt_is_asked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = continued(tmp_path, name)
    before = results_of(run)
    base, tuned = (Known(before, role) for role in ("base", "tuned"))
    diagnose(base, tuned, **RUNS[name], out=run)
    assert (base.asked, tuned.asked) == ([], [])
    after = results_of(run)
    assert comparable(after) == comparable(before)
    assert after.plain.tuned.intruded >= before.plain.tuned.intruded


@pytest.mark.slow
def test_with_more_examples_only_what_is_missing_is_asked(tmp_path: Path) -> None:
    run = continued(tmp_path, "run-0.1.0")
    before = results_of(run)
    base, tuned = (Known(before, role) for role in ("base", "tuned"))
    diagnose(base, tuned, **{**RUNS["run-0.1.0"], "limit": 6}, out=run, n_resamples=100)
    n_vias, n_cells = 1 + len(before.conjugations), len(before.cells)
    assert len(base.asked) == len(tuned.asked) == n_cells * n_vias
    assert results_of(run).plain.base.n == 6 * n_cells


@pytest.mark.parametrize("role", ["base", "tuned"])
def test_the_embedded_pair_is_still_the_one_that_was_asked(role: str) -> None:
    marker = json.loads((DATA / "run-0.1.0" / "run.json").read_text("utf-8"))
    assert load_model(f"rosetta:{role}").fingerprint == marker["config"]["fingerprints"][role]
