"""Laws of every distribution of tasks that is registered, plugins included."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from palimpsest.lab.problem.problem import (
    DISTRIBUTIONS,
    Problem,
    TaskDistribution,
    exact_predictors,
)

PROBLEM = Problem(n_dims=3, n_tasks=4, n_exemplars=8, noise_std=0.5, weight_std=1.3)
PAGE = Path(__file__).parents[3] / "docs" / "adding" / "distribution.md"
every = pytest.mark.parametrize("name", list(DISTRIBUTIONS))


def changes() -> dict[str, Tensor]:
    """Orthogonal changes of three inputs, from nothing to a rotation."""
    generator = torch.Generator().manual_seed(5)
    normal = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    return {
        "identity": torch.eye(3).double(),
        "signs": torch.diag(torch.tensor([1.0, -1.0, 1.0])).double(),
        "order": torch.eye(3).double()[:, [2, 0, 1]],
        "rotation": torch.linalg.qr(normal).Q,
    }


def check_draws(tasks: TaskDistribution, problem: Problem) -> None:
    draw = tasks.draw(500, torch.Generator().manual_seed(0))
    again = tasks.draw(500, torch.Generator().manual_seed(0))
    assert draw.weights.shape == (500, problem.features.n_features)
    assert draw.weights.dtype == torch.float64
    assert draw.is_discrete.shape == (500,)
    assert torch.equal(draw.weights, again.weights)
    assert bool(draw.weights.isfinite().all())


def check_symmetries(tasks: TaskDistribution, problem: Problem) -> None:
    assert tasks.keeps(changes()["identity"])
    weights = tasks.draw(20_000, torch.Generator().manual_seed(1)).weights
    predictor = tasks.bayes(problem.noise_std)
    batch = problem.batch("mix", 20, seed=1, dtype=torch.float64)
    for change in changes().values():
        if tasks.keeps(change):
            moved = weights @ change
            # Fourth moments of 20 000 weights of size 1.3 are known to about a tenth.
            torch.testing.assert_close((moved**4).mean(0), (weights**4).mean(0), atol=0.6, rtol=0)
            if predictor is not None:
                found = predictor(batch.xs @ change, batch.ys)
                # Sums of a few hundred terms in another order.
                torch.testing.assert_close(
                    found, predictor(batch.xs, batch.ys), rtol=1e-9, atol=1e-9
                )


@every
def test_weights_are_a_function_of_the_generator_one_for_each_feature(name: str) -> None:
    for function_class in ("linear", "quadratic"):
        problem = replace(PROBLEM, function_class=function_class)
        check_draws(problem.tasks(name), problem)


@every
def test_what_keeps_the_tasks_leaves_their_moments_and_their_bayes_predictor(name: str) -> None:
    check_symmetries(PROBLEM.tasks(name), PROBLEM)


@pytest.mark.slow
@every
def test_no_predictor_is_better_on_its_prompts_than_its_bayes_predictor(name: str) -> None:
    best = PROBLEM.bayes(name)
    if best is None:
        pytest.skip("no closed form is known")
    batch = PROBLEM.batch(name, 1500, seed=3, dtype=torch.float64)

    def loss(predictor: Any) -> float:
        return float((predictor(batch.xs, batch.ys) - batch.targets).square().mean())

    # A mixture whose parts agree on most prompts is better by a hair; rounding is finer.
    others = [*exact_predictors(PROBLEM).values(), *map(PROBLEM.bayes, DISTRIBUTIONS)]
    assert loss(best) <= min(loss(one) for one in others if one is not None) + 1e-12


def test_the_distribution_of_the_page_keeps_the_laws(monkeypatch: pytest.MonkeyPatch) -> None:
    code, *_ = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    module = ModuleType("sphere")
    monkeypatch.setitem(sys.modules, "sphere", module)  # where dataclasses look up their types
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    tasks = module.SphereTasks.of(PROBLEM)
    check_draws(tasks, PROBLEM)
    check_symmetries(tasks, PROBLEM)
    lengths = tasks.draw(50, torch.Generator().manual_seed(2)).weights.norm(dim=1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, 1.3 * 3**0.5))
    assert tasks.bayes(0.5) is None
