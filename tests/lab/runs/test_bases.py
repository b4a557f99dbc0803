"""Bases in folders of their own, the package's among them; and limits that are raised."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.lab.micro import NO_REMEDIES, micro_config

from palimpsest.errors import UserError
from palimpsest.lab.measuring.bench import Bench
from palimpsest.lab.measuring.convergence import measure_convergence
from palimpsest.lab.predictors import load_transformer, predict_zero
from palimpsest.lab.problem import exact_predictors
from palimpsest.lab.runs import load_config
from palimpsest.lab.runs.bases import (
    MANIFEST,
    SHIPPED,
    WEIGHTS,
    base_in,
    pretrain_base,
    read_base_manifest,
    shipped_base,
    why_not_shipped,
)
from palimpsest.lab.runs.running import Stages, run
from palimpsest.lab.runs.sweep import pretrain_job

pytestmark = pytest.mark.usefixtures("empty_figures")

UNTIL = (
    *NO_REMEDIES,
    "pretrain.until=converged",
    "pretrain.schedule=inverse-sqrt",
    "pretrain.average=0.2",
    "pretrain.check_every=4",
)


@pytest.mark.parametrize("alpha", [0.3, 0.5])
def test_the_bayes_mixture_has_converged_and_its_parts_have_not(alpha: float) -> None:
    config = load_config("tiny", [f"problem.alpha={alpha}"])
    bench = Bench(config.problem, config.measure, 7, 200)
    found = {
        name: measure_convergence(one, bench)
        for name, one in exact_predictors(config.problem).items()
    }
    assert [name for name, one in found.items() if one.holds] == ["mixture"]
    assert found["mixture"].share_of_mixture == pytest.approx(0.0, abs=1e-6)  # float32 prompts
    assert found["mixture"].alpha.value == pytest.approx(alpha, abs=1e-3)  # of a search
    assert found["zero"].share_of_mixture == pytest.approx(1.0)
    assert measure_convergence(predict_zero, bench).sentence.startswith("NOT converged: what")


class StoppedError(Exception):
    """Ends a pretraining that has shown what it should."""


def test_a_base_is_made_with_as_many_threads_as_the_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []

    def note(*_: object, **__: object) -> None:
        found.append(torch.get_num_threads())
        raise StoppedError

    monkeypatch.setattr(Stages, "base", note)
    before = torch.get_num_threads()
    try:
        for n in (3, 2):
            config = micro_config(tmp_path, f"n_threads={n}")
            torch.set_num_threads(before)
            with pytest.raises(StoppedError):
                pretrain_base(config, tmp_path / "base")
            torch.set_num_threads(before)
            with pytest.raises(StoppedError):
                pretrain_job(config.to_dict(), None)
    finally:
        torch.set_num_threads(before)
    assert found == [3, 3, 2, 2]


@pytest.mark.slow
def test_a_base_is_made_described_and_started_from(tmp_path: Path) -> None:
    config = micro_config(tmp_path, *NO_REMEDIES)
    made = pretrain_base(config, tmp_path / "base", command="as typed")
    assert made == read_base_manifest(tmp_path / "base")
    assert made.n_steps == made.check.n_steps == 30
    assert not made.check.is_converged
    path = base_in(tmp_path / "base", config)
    results = run(config, tmp_path / "run", base=path, report=False)
    alone = run(config, tmp_path / "alone", report=False)
    assert results.provenance.models == alone.provenance.models
    assert results.check == alone.check == made.check
    assert "pretraining" not in results.provenance.seconds
    with pytest.raises(UserError, match=r"pretrain\.seed is 0 there and 5 here"):
        base_in(tmp_path / "base", micro_config(tmp_path, *NO_REMEDIES, seed=5))
    other = pretrain_base(micro_config(tmp_path, *NO_REMEDIES, "pretrain.seed=4"), tmp_path / "b")
    assert other.sha256 != made.sha256
    with pytest.raises(UserError, match="from another base"):
        run(config, tmp_path / "run", base=tmp_path / "b" / WEIGHTS, report=False)
    (tmp_path / "base" / WEIGHTS).write_bytes((tmp_path / "b" / WEIGHTS).read_bytes())
    with pytest.raises(UserError, match="differs from its manifest"):
        base_in(tmp_path / "base", config)


@pytest.mark.slow
def test_a_limit_met_without_converging_is_raised_and_the_steps_go_on(tmp_path: Path) -> None:
    low = micro_config(tmp_path, *UNTIL, "pretrain.n_steps=8")
    high = micro_config(tmp_path, *UNTIL, "pretrain.n_steps=20")
    first = run(low, tmp_path / "run", report=False)
    assert first.check.n_steps == 8
    assert first.warnings[0].startswith("NOT converged: what follows is about a model that has")
    steps: list[int] = []
    second = run(
        high,
        tmp_path / "run",
        report=False,
        on_stage=lambda name, at: steps.append(at.step) if at and name == "pretraining" else None,
    )
    assert steps == list(range(9, 21))
    whole = run(high, tmp_path / "whole", report=False)
    assert second.provenance.models == whole.provenance.models
    assert second.check == whole.check
    looks = json.loads((tmp_path / "run" / "convergence.json").read_text("utf-8"))
    assert [one["step"] for one in looks] == [4, 8, 12, 16, 20]
    with pytest.raises(UserError, match=r"pretrain\.n_steps is 20 there and 8 here"):
        run(low, tmp_path / "run", report=False)


@pytest.mark.parametrize("name", sorted(path.parent.name for path in SHIPPED.glob("*/" + MANIFEST)))
def test_a_base_of_the_package_has_converged_and_is_what_its_preset_starts_from(name: str) -> None:
    config = load_config(name)
    path = shipped_base(config)
    assert path == SHIPPED / name / WEIGHTS
    made = read_base_manifest(path.parent)
    assert made.check.is_converged
    model = load_transformer(
        path, config=config.transformer, task_fingerprint=config.problem.task_fingerprint
    )
    found = measure_convergence(
        model, Bench(config.problem, config.measure, config.seed, config.measure.n_prompts)
    )
    assert found.holds
    # Another processor rounds otherwise; the interval is some hundred times wider.
    assert found.alpha.value == pytest.approx(made.check.alpha.value, abs=1e-3)
    assert found.share_of_mixture == pytest.approx(made.check.share_of_mixture, abs=1e-4)


def test_other_settings_start_from_no_base_of_the_package_and_it_is_said_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config("tiny", seed=5)
    assert shipped_base(config) is None
    if (SHIPPED / "tiny").exists():
        assert "seed is 31 there and 5 here" in why_not_shipped("tiny", config)
    assert "no base that comes with the package" in why_not_shipped("mine.toml", config)


@pytest.mark.skipif(not (SHIPPED / "tiny").exists(), reason="the package brings no base yet")
def test_a_damaged_base_of_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(SHIPPED, tmp_path / "shipped")
    (tmp_path / "shipped" / "tiny" / WEIGHTS).write_bytes(b"nothing")
    monkeypatch.setattr("palimpsest.lab.runs.bases.SHIPPED", tmp_path / "shipped")
    with pytest.raises(UserError, match="differs from its manifest"):
        shipped_base(load_config("tiny"))
