from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.conjugations.transformations import LabelNegation, conjugated
from palimpsest.lab.measuring.evaluation import evaluate, evaluation_batch, squared_errors
from palimpsest.lab.predictors.estimators import RidgeEstimator
from palimpsest.lab.predictors.predictor import predict, predict_zero
from palimpsest.lab.problem.problem import Problem

PROBLEM = Problem(3, 4, 10, noise_std=0.5, alpha=0.4)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_errors_are_squared_distances_from_the_targets_without_noise() -> None:
    batch = evaluation_batch(PROBLEM, "cont", 20, seed=0)
    found = squared_errors(predict_zero, batch)
    np.testing.assert_allclose(found, batch.targets.double().square().numpy())


def test_each_closed_form_is_best_on_its_own_distribution() -> None:
    found = evaluate({}, PROBLEM, with_exact=True, distributions=("disc", "cont", "mix"))
    for distribution, best in (("disc", "discrete"), ("cont", "ridge"), ("mix", "mixture")):
        losses = {name: found[distribution].loss(name) for name in found[distribution].errors}
        assert min(losses, key=lambda name: losses[name]) == best


def test_predictors_are_asked_the_same_prompts_in_any_company() -> None:
    ridge = RidgeEstimator(0.5)
    alone = evaluate({"mine": ridge}, PROBLEM, n_prompts=50)
    among = evaluate(
        {"mine": ridge, "turned": conjugated(ridge, LabelNegation())},
        PROBLEM,
        n_prompts=50,
        with_exact=True,
    )
    for distribution in ("disc", "cont"):
        expected = alone[distribution].of("mine")
        np.testing.assert_array_equal(among[distribution].of("mine"), expected)
        np.testing.assert_allclose(among[distribution].of("turned"), expected, atol=1e-12)
        np.testing.assert_allclose(among[distribution].of("ridge"), expected, atol=1e-12)


def test_the_loss_by_prefix_averages_to_the_loss_within_its_interval() -> None:
    found = evaluate({"ridge": RidgeEstimator(0.5)}, PROBLEM, n_prompts=300)["cont"]
    curve = found.by_prefix("ridge", rng=rng(), n_resamples=400)
    assert curve.values.mean() == pytest.approx(found.loss("ridge"))
    assert np.all((curve.low < curve.values) & (curve.values < curve.high))
    low, high = found.interval("ridge", rng=rng(), n_resamples=400)
    assert low < found.loss("ridge") < high
    # Without exemplars the error is the square of ⟨w, x⟩, d on average.
    assert curve.low[0] < 3 < curve.high[0]


def test_a_model_that_gives_other_numbers_of_answers_is_an_error() -> None:
    def last_only(xs: Tensor, ys: Tensor) -> Tensor:
        return ys[:, -1:]

    with pytest.raises(UserError, match=r"one number for each y, \(2, 4\); this one gave \(2, 1\)"):
        predict(last_only, torch.zeros(2, 4, 3), torch.zeros(2, 4))


def test_predictions_do_not_depend_on_how_prompts_are_batched_and_keep_no_gradient() -> None:
    batch = evaluation_batch(PROBLEM, "cont", 20, seed=0)
    layer = torch.nn.Linear(3, 1)

    def model(xs: Tensor, ys: Tensor) -> Tensor:
        found: Tensor = layer(xs).squeeze(-1)
        return found

    whole = predict(model, batch.xs, batch.ys)
    assert not whole.requires_grad
    assert whole.dtype == torch.float64
    torch.testing.assert_close(whole, predict(model, batch.xs, batch.ys, prompts_per_call=7))


def test_names_that_do_not_exist_are_errors() -> None:
    found = evaluate({"tuned": predict_zero}, PROBLEM, n_prompts=5)["cont"]
    with pytest.raises(UserError, match=r"named 'tund' was evaluated. Did you mean 'tuned'"):
        found.loss("tund")
    with pytest.raises(UserError, match="No distribution named 'gauss'"):
        evaluate({}, PROBLEM, distributions=("gauss",))
    with pytest.raises(UserError, match="size is 0"):
        evaluate({}, PROBLEM, n_prompts=0)
