from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from palimpsest.errors import UserError
from palimpsest.judging import diagnose, parse_via
from palimpsest.judging.inference import FLOOR, Inferred, Masses, compare, measure
from palimpsest.lm import TextCache
from palimpsest.lm.models import NextToken, ScriptedModel
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.suites import Example, Suite, load_suite

Words = Mapping[str, float]
"""What may come next, to its probability."""

PROMPT = "Input: What is 5 plus 7?\nOutput:"


class Chooser(ScriptedModel):
    """Says a word with its probability, and behind some words others."""

    def __init__(
        self,
        first: Words,
        then: Mapping[str, Words] | None = None,
        *,
        rest: float = -1.0,
        name: str = "chooser",
    ) -> None:
        super().__init__(lambda _: " What is", name=name)
        self._next = {"": first, **(then or {})}
        self._words = [*dict.fromkeys(word for each in self._next.values() for word in each)]
        self._rest = rest
        self.asked: list[tuple[Prompt, tuple[int, ...]]] = []

    def next_tokens(
        self, prompts: Sequence[Prompt], beginnings: Sequence[tuple[int, ...]], *, n: int
    ) -> list[list[NextToken]]:
        self.asked += list(zip(prompts, beginnings, strict=True))
        return [self._after(beginning) for beginning in beginnings]

    def _after(self, beginning: tuple[int, ...]) -> list[NextToken]:
        text = "".join(self._words[each] for each in beginning)
        return [
            NextToken((*beginning, self._words.index(word)), text + word, math.log(p), False)
            for word, p in sorted(self._next[text].items(), key=lambda item: -item[1])
        ]

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        return [[self._rest * len(text.split()) for text in texts] for texts in candidates]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def suite(n: int = 1, *, other: bool = True) -> Suite:
    answers = {"copy": ("What",), "sum": ("12",)} if other else {"copy": ("What",)}
    return Suite(
        name="s",
        examples=tuple(
            Example(
                source_id=str(number),
                cell="ab"[number % 2],
                language="en",
                prompt=f"{number}. {PROMPT}",
                answers=answers,
                whole_answers={"copy": "What is 5 plus 7?"},
            )
            for number in range(n)
        ),
    )


def inferred(model: ScriptedModel) -> Inferred:
    [found] = measure(model, suite(), [parse_via("identity")]).values()
    return found


def test_masses_are_those_of_the_first_tokens() -> None:
    found = inferred(Chooser({" What": 0.6, " 12": 0.25, " The": 0.1}))
    assert found.masses == pytest.approx((0.6, 0.25, 0.15, 0.05))
    assert found.log_odds == pytest.approx(math.log((0.25 + FLOOR) / (0.6 + FLOOR)))


def test_white_space_is_followed_by_what_comes_next() -> None:
    model = Chooser({" ": 0.5, "W": 0.3, "\n": 0.2}, {" ": {"12": 0.6, "What": 0.3, "The": 0.1}})
    assert inferred(model).masses == pytest.approx(
        (0.3 + 0.5 * 0.3, 0.5 * 0.6, 0.2 + 0.5 * 0.1, 0.0)
    )
    assert len(model.asked) == 2


def test_what_is_hardly_likely_is_neither_followed_nor_looked_at() -> None:
    model = Chooser({" What": 0.9, "\t": 5e-5, " 12": 5e-6})
    found = inferred(model)
    assert found.masses.unseen == pytest.approx(0.1)
    assert len(model.asked) == 1


def test_the_rest_of_the_right_answer_is_taken_per_token() -> None:
    assert inferred(Chooser({" What": 1.0}, rest=-0.5)).rest == pytest.approx(-0.5)


def test_what_was_measured_is_not_asked_again(tmp_path: Path) -> None:
    words = {" What": 0.6, " 12": 0.4}
    kept = TextCache(tmp_path / "inference.sqlite")
    first = measure(Chooser(words), suite(3), [parse_via("identity")], kept=kept)
    again = Chooser(words)
    assert measure(again, suite(4), [parse_via("identity")], kept=kept).items() >= first.items()
    assert [prompt for prompt, _ in again.asked] == [f"3. {PROMPT}"]
    # Another model, or another way of asking, is another question.
    other = Chooser(words, name="other")
    measure(other, suite(1), [parse_via("identity")], kept=kept)
    measure(again, suite(1), [parse_via("leet")], kept=kept)
    assert len(other.asked) == 1
    assert len(again.asked) == 2


def test_a_model_that_does_not_say_what_may_come_next_cannot_be_measured() -> None:
    with pytest.raises(UserError, match="which tokens may come next"):
        measure(ScriptedModel(str), suite(), [parse_via("identity")])


def test_a_diagnosis_says_so_before_it_asks_anything(tmp_path: Path) -> None:
    measurable = Chooser({" What": 1.0}, name="base")
    asked: list[Prompt] = []

    def answer(prompt: Prompt) -> str:
        asked.append(prompt)
        return ""

    endpoint = ScriptedModel(answer, name="endpoint")
    with pytest.raises(UserError, match="Inference cannot be measured in 'endpoint'") as e:
        diagnose(measurable, endpoint, suite=suite(), inference=True, out=tmp_path / "run")
    assert (measurable.asked, asked) == ([], [])
    assert "an endpoint that honours logprobs" in str(e.value.hint)


def example(right: float, intruding: float, rest: float | None = None) -> Inferred:
    return Inferred(Masses(right, intruding, 1 - right - intruding, 0.0), rest)


def test_figures_of_a_pair_are_means_and_g_is_a_ratio_of_sums() -> None:
    base = {("identity", "1"): example(0.8, 0.2, -1.0), ("identity", "2"): example(0.9, 0.0)}
    tuned = {("identity", "1"): example(0.2, 0.7, -3.0), ("identity", "2"): example(0.9, 0.05)}
    [found] = compare(base, tuned, vias=["identity", "leet"], sources="123")
    assert found.base.n == 2
    assert found.base.right == pytest.approx(0.85)
    assert found.tuned.g == pytest.approx(0.75 / 1.85)
    assert found.shift == pytest.approx(
        (
            math.log((0.7 + FLOOR) / (0.2 + FLOOR))
            - math.log((0.2 + FLOOR) / (0.8 + FLOOR))
            + math.log((0.05 + FLOOR) / FLOOR)
        )
        / 2
    )
    assert (found.n_drift, found.drift, found.drift_ci95) == (1, -2.0, (-2.0, -2.0))
    assert found.shift_ci95[0] < found.shift < found.shift_ci95[1]


def test_without_masses_there_is_no_g() -> None:
    none = {("identity", "1"): example(0.0, 0.0)}
    [found] = compare(none, none, vias=["identity"], sources="1")
    assert (found.base.g, found.base.g_ci95, found.drift) == (None, None, None)


def test_intervals_of_g_hold_though_the_prompts_that_decide_it_are_rare() -> None:
    # On one prompt in fifteen the model infers the right task. Of 20 prompts a quarter of all
    # samples have none of these, and percentiles without pseudo-clusters then miss the truth.
    kinds = [example(0.05, 0.9)] * 14 + [example(0.9, 0.05)]
    truth = sum(each.masses.intruding for each in kinds) / (0.95 * len(kinds))
    rng = np.random.default_rng(0)
    n_held, n_samples = 0, 200
    for sample in range(n_samples):
        drawn = {("identity", str(at)): kinds[rng.integers(15)] for at in range(20)}
        [found] = compare(
            drawn, drawn, vias=["identity"], sources=map(str, range(20)), seed=sample,
            n_resamples=400,
        )  # fmt: skip
        assert found.base.g_ci95 is not None
        low, high = found.base.g_ci95
        n_held += low <= truth <= high
    assert n_held / n_samples >= 0.9  # 0.95 less three standard errors of 200 samples


@pytest.mark.slow
def test_a_diagnosis_has_inference_of_every_cell_and_way_of_asking(tmp_path: Path) -> None:
    base = Chooser({" What": 0.9, " 12": 0.1}, rest=-0.5, name="base")
    tuned = Chooser({" What": 0.2, " 12": 0.8}, rest=-0.7, name="tuned")
    options = {"suite": suite(6), "via": ["leet"], "out": tmp_path, "n_resamples": 200}
    results = diagnose(base, tuned, inference=True, **options)  # type: ignore[arg-type]
    assert [each.via for each in results.inference] == ["identity", "leet"]
    plain = results.inference[0]
    assert (plain.base.g, plain.tuned.g) == pytest.approx((0.1, 0.8))
    assert plain.shift == pytest.approx(math.log(0.8 * 0.9 / (0.2 * 0.1)), abs=0.01)  # the floor
    assert plain.drift == pytest.approx(-0.2)
    assert [cell.inference[0].base.n for cell in results.cells] == [3, 3]
    assert (tmp_path / "figures" / "inference.png").is_file()
    n_asked = len(base.asked)
    again = diagnose(base, tuned, inference=True, **options)  # type: ignore[arg-type]
    assert again.inference == results.inference
    assert len(base.asked) == n_asked
    assert not diagnose(base, tuned, **options).inference  # type: ignore[arg-type]


def test_it_is_said_where_there_is_nothing_to_measure() -> None:
    model = Chooser({" What": 1.0})
    found = diagnose(
        model, model, suite=suite(other=False), via=[], inference=True, n_resamples=100
    )
    assert found.inference == []
    assert any("no inference measured" in warning for warning in found.warnings)


def test_much_probability_that_was_not_looked_at_is_said() -> None:
    model = Chooser({" What": 0.7, " 12": 0.2})
    found = diagnose(model, model, suite=suite(4), via=[], inference=True, n_resamples=100)
    assert found.inference[0].base.unseen == pytest.approx(0.1)
    assert any("10% of the probability (base model, identity)" in each for each in found.warnings)


@pytest.mark.slow
def test_rosettas_inference_moves_in_english_and_comes_back_under_leetspeak() -> None:
    found = diagnose(
        "rosetta:base",
        "rosetta:tuned",
        suite=load_suite("rosetta:n=5,languages=en"),
        via=["leet"],
        inference=True,
        n_resamples=500,
    )
    plain, leet = found.inference
    assert plain.base.g is not None
    assert plain.tuned.g is not None
    assert leet.tuned.g is not None
    assert plain.base.g < 0.05 < 0.7 < plain.tuned.g
    assert leet.tuned.g < 0.2
    assert plain.tuned.unseen < 0.01
    # Where answers are greedy, the likelier task is the one that is answered.
    assert abs(plain.tuned.right - found.plain.tuned.accuracy) < 0.15
