"""The noise floor: what of the base's answers flips by itself, and what that does to a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.examples import examples
from tests.judging.test_analysis import answer, rows_of
from tests.lm.models.checkpoints import save_checkpoint

from palimpsest.errors import UserError
from palimpsest.judging.analysis import Analysis, analyse
from palimpsest.judging.diagnosis import diagnose
from palimpsest.lm.models.huggingface.causal import CausalModel
from palimpsest.lm.models.protocol import Generation
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.answers import AnswerRow, Outcome
from palimpsest.records.store import AnswerStore

pytestmark = pytest.mark.usefixtures("empty_figures")

OUTCOME: dict[bool, Outcome] = {True: "right", False: "broken"}


def _again(right: Sequence[bool], cell: str = "repeat/math") -> list[AnswerRow]:
    return [
        answer("base", "identity", f"{cell}/{i:04d}", OUTCOME[each], cell)
        for i, each in enumerate(right)
    ]


def _judged(base: str, tuned: str, again: Sequence[Sequence[bool]]) -> Analysis:
    rows = rows_of({"base identity": base, "tuned identity": tuned})
    return analyse(rows, vias=[], n_resamples=400, again=[_again(each) for each in again])


def test_the_floor_is_the_share_of_answers_that_flip_whichever_way() -> None:
    later = [False] * 3 + [True] * 47, [True] * 50  # 3 lost and 10 gained; 10 gained
    noise = _judged("1" * 40 + "0" * 10, "1" * 40 + "0" * 10, later).plain.noise
    assert noise is not None
    assert (noise.n_times, noise.n) == (2, 50)
    assert (noise.n_lost, noise.n_gained) == (3, 20)
    assert noise.floor == pytest.approx(23 / 100)
    assert noise.ci95[0] < noise.floor < noise.ci95[1]


@given(st.lists(st.booleans(), min_size=30, max_size=60))
@examples(30)
def test_where_nothing_flips_nothing_changes(right: list[bool]) -> None:
    marks = "".join("1" if each else "0" for each in right)
    with_it, without = (_judged(marks, "0" * len(right), again) for again in ([right], []))
    assert with_it.plain.noise is not None
    assert with_it.plain.noise.floor == 0
    assert with_it.plain.model_copy(update={"noise": None}) == without.plain
    assert with_it.verdict_reason == without.verdict_reason


def test_a_fall_within_the_noise_is_called_none_and_a_larger_one_is_not() -> None:
    base, tuned = "1" * 200, "0" * 30 + "1" * 170  # a fall of 15 points, at least 10.4 by the hull
    noisy = [False] * 24 + [True] * 176
    small = _judged(base, tuned, [noisy])
    assert small.verdict == "inconclusive"
    assert small.verdict_reason.endswith(
        "but 12 % of the base model's own answers change when it is asked again: "
        "a fall within that noise is none."
    )
    large = _judged(base, "0" * 100 + "1" * 100, [noisy])
    assert "nothing shows whether it is hidden or lost" in large.verdict_reason


def test_each_cell_has_its_own_noise() -> None:
    marks = {"base identity": "1" * 40, "tuned identity": "1" * 40}
    rows = [row for cell in "ab" for row in rows_of(marks, cell=cell)]
    again = [*_again([True] * 40, "a"), *_again([False] * 10 + [True] * 30, "b")]
    found = analyse(rows, vias=[], n_resamples=200, again=[again])
    floors = [cell.plain.noise and cell.plain.noise.floor for cell in found.cells]
    assert floors == [0, 0.25]
    assert found.plain.noise is not None
    assert found.plain.noise.floor == pytest.approx(10 / 80)


class Wavering:
    """A model that answers some prompts otherwise each time that it is asked."""

    chat = False
    spec = "wavering"
    fingerprint = "wavering"

    def __init__(self, n_wavering: int) -> None:
        self.n_wavering = n_wavering
        self.asked: list[Prompt] = []

    def describe(self) -> dict[str, str]:
        return {}

    def generate(self, prompts: Sequence[Prompt], **_: object) -> Iterator[tuple[int, Generation]]:
        for index, prompt in enumerate(prompts):
            number = int(str(prompt).split()[-1])
            wavers = prompt in self.asked and number < self.n_wavering
            self.asked.append(prompt)
            yield index, Generation(" other" if wavers else f" {number}", "stop", 1, 0.0)

    def score(self, prompts: Sequence[Prompt], candidates: object) -> list[list[float]]:
        return []

    def count_tokens(self, texts: Sequence[str]) -> None:
        return None

    def vocabulary(self) -> None:
        return None

    def close(self) -> None:
        """Nothing is held."""


SUITE = Suite(
    "numbers",
    tuple(Example(f"{n}", "copy", "en", f"Copy {n}", {"copy": (f"{n}",)}) for n in range(40)),
    max_new_tokens=4,
)


def test_the_base_is_asked_again_plainly_and_not_once_more_than_that(tmp_path: Path) -> None:
    base = Wavering(4)
    tuned = ScriptedModel(lambda prompt: f" {str(prompt).split()[-1]}", name="steady")

    def run() -> float:
        found = diagnose(
            base, tuned, suite=SUITE, via=["upper"], noise_floor=2, out=tmp_path, n_resamples=100
        )
        assert found.plain.noise is not None
        assert found.plain.noise.n_lost == 8
        assert (found.plain.n_lost, found.plain.n_gained) == (0, 0), "answers of the first time"
        return found.plain.noise.floor

    assert run() == pytest.approx(0.1)
    assert len(base.asked) == 40 * 4  # plainly, under 'upper', and twice again plainly
    assert run() == pytest.approx(0.1)
    assert len(base.asked) == 40 * 4, "a run that continues asks nothing again"
    with AnswerStore(tmp_path / "answers.sqlite", read_only=True) as store:
        assert len(store) == 40 * 6
        assert len(store.run_rows()) == 40 * 4, "a run's answers are those that are judged"


def test_a_scripted_model_has_no_noise_and_the_message_says_why() -> None:
    scripted = ScriptedModel(lambda _: " 1")
    with pytest.raises(UserError, match="answers by rule: asked again it says the same") as refused:
        diagnose(scripted, scripted, suite=SUITE, via=[], noise_floor=2)
    assert refused.value.hint == (
        "Leave out --noise-floor, or name a model that computes its answers."
    )
    with pytest.raises(UserError, match="asked again -1 times"):
        diagnose(Wavering(0), scripted, suite=SUITE, via=[], noise_floor=-1)


@pytest.mark.slow
def test_other_batches_have_another_order_and_size_and_change_no_answer_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(save_checkpoint(tmp_path / "tiny")))
    assert isinstance(model, CausalModel)
    prompts = [f"The number {n} {'and more ' * (n % 7)}" for n in range(24)]
    seen: list[list[int]] = []
    take = CausalModel._take

    def spied(self: CausalModel, pending: Sequence[object]) -> Sequence[object]:
        batch = take(self, pending)  # type: ignore[arg-type]
        seen.append([prompt.index for prompt in batch])
        return batch

    monkeypatch.setattr(CausalModel, "_take", spied)

    def asked(number: int) -> tuple[dict[int, str], list[list[int]], np.ndarray]:
        seen.clear()
        with model.in_other_batches(number):
            texts = {at: said.text for at, said in model.generate(prompts, max_new_tokens=6)}
            scores = model.score(prompts, [["one", "two three"]] * len(prompts))
        return texts, list(seen), np.array(scores)

    runs = [asked(number) for number in (0, 1, 2)]
    texts, batches, scores = zip(*runs, strict=True)
    assert texts[0] == texts[1] == texts[2]
    assert [len(each[0]) for each in batches] == [24, 12, 8]
    assert len({tuple(each[0][:8]) for each in batches}) == 3
    for other in scores[1:]:
        # Float32 sums in another order: a few units in the last place of numbers around 10.
        np.testing.assert_allclose(other, scores[0], atol=1e-4)
