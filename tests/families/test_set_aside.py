"""Prompts that kill whatever answers them, in a trace, a restoration and a recommendation: they are
set aside, named and counted, and no figure stands on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from tests.mortal_models import POISON, MortalModel, Poisoned

from palimpsest.engines import make_engine
from palimpsest.errors import UserError
from palimpsest.families import restore, trace
from palimpsest.judging import Workers
from palimpsest.judging.inference import measure
from palimpsest.judging.recommend import recommend
from palimpsest.judging.via import parse_via
from palimpsest.lm import texts_of
from palimpsest.lm.models import LanguageModel, ScriptedModel, load_model
from palimpsest.lm.suites import Example, Suite, load_suite

pytestmark = pytest.mark.usefixtures("empty_figures")


def words(n: int, *, bad: tuple[int, ...] = ()) -> Suite:
    """Return a suite whose right answer repeats the prompt; some prompts are poison."""
    examples = [
        Example(f"{i}", "repeat", "en", f"Say {POISON if i in bad else 'word'} {i}",
                {"right": ("Say",), "other": ("No",)})
        for i in range(n)
    ]  # fmt: skip
    return Suite("words", tuple(examples))


class PoisonedWorkers(Workers):
    """Workers that die of a word, whatever model they hold."""

    word = POISON

    def hold(self, model: LanguageModel, *, n_held: int = 1) -> LanguageModel:
        """Hold it, poisoned."""
        return super().hold(cast("LanguageModel", Poisoned(model, self.word)), n_held=n_held)


@pytest.fixture
def workers() -> Iterator[PoisonedWorkers]:
    workers = PoisonedWorkers(make_engine("processes", workers=1))
    with workers:
        yield workers


def traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suite: Suite) -> Any:
    """Trace a scripted base, a checkpoint that forgot, and one that dies of some prompts."""
    models = {
        "base": ScriptedModel(str, name="base", fingerprint="base"),
        "a-1": ScriptedModel(lambda _: "No", name="a-1", fingerprint="1"),
        "a-2": MortalModel(str(tmp_path)),
    }
    monkeypatch.setattr("palimpsest.families.tracing.load_model", models.__getitem__)
    with Workers(make_engine("processes", workers=1)) as workers:
        return trace(
            "base", ["a-1", "a-2"], suite=suite, via=["leet"], n_resamples=200, workers=workers,
            out=tmp_path / "out",
        )  # fmt: skip


def test_a_trace_names_such_an_example_and_stands_on_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_it = traced(tmp_path, monkeypatch, words(31, bad=(7,)))
    [note] = [each for each in with_it.warnings if "left out" in each]
    assert note.startswith("1 example(s) are left out, as 3 workers died")
    assert "'7' (step 2, identity)" in note
    assert [each.plain.base.n for each in with_it.checkpoints] == [30, 30]
    assert with_it.provenance.crew.n_set_aside == 1


def test_a_trace_that_nothing_is_left_of_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"No example of 'words' was answered by all"):
        traced(tmp_path, monkeypatch, words(2, bad=(0, 1)))


@pytest.mark.slow
def test_a_restoration_names_such_an_example_though_nobody_can_answer_it(
    workers: PoisonedWorkers,
) -> None:
    how: Any = {"target": "rosetta-instructions", "members": ["interpolate:0.5"], "via": [],
                "limit": 20, "n_resamples": 300}  # fmt: skip
    suite = load_suite("rosetta", limit=20)
    first = suite.in_language("en")[0]
    workers.word = texts_of(first.prompt)[0]
    found = restore("rosetta:base", "rosetta:tuned", suite=suite, **how, workers=workers)
    [note] = [each for each in found.warnings if "left out" in each]
    assert note.startswith("1 example(s) are left out")
    assert f"'{first.source_id}' (base, identity)" in note
    assert f"'{first.source_id}' (interpolate:0.5, identity)" in note
    assert found.plain.base.n == len(suite.in_language("en")) - 1


def test_a_recommendation_leaves_such_a_prompt_out_and_names_it(tmp_path: Path) -> None:
    suite = words(20, bad=(3,))
    base = ScriptedModel(lambda prompt: f" {prompt}", fingerprint="base")
    with Workers(make_engine("processes", workers=1)) as workers:
        found = recommend(
            MortalModel(str(tmp_path)), base=base, prompts=suite, via=["leet"], workers=workers,
            n_resamples=200,
        )  # fmt: skip
    [note] = [each for each in found.warnings if "left out" in each]
    assert "'3' (tuned, identity)" in note
    # What the tuned model did not say is no answer that is other than the base's.
    assert "both models answer alike" in str(found.candidates[0].excluded)


@pytest.mark.slow
def test_inference_is_not_measured_where_no_token_is_told(workers: PoisonedWorkers) -> None:
    suite = load_suite("rosetta:n=2,languages=en")
    workers.word = texts_of(suite.examples[0].prompt)[0]
    model, vias = load_model("rosetta:tuned"), [parse_via("identity", suite)]
    found = measure(workers.hold(model), suite, vias)
    whole = measure(model, suite, vias)
    gone = {("identity", suite.examples[0].source_id)}
    assert whole.keys() - found.keys() == gone
    assert all(
        found[key].masses.right == pytest.approx(whole[key].masses.right, abs=1e-4) for key in found
    )
