from __future__ import annotations

import pytest
import torch
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.predictors.predictor import predict
from palimpsest.lab.problem.problem import Problem

PROBLEM = Problem(3, 4, 10, noise_std=0.5, alpha=0.4)


def test_a_model_that_gives_other_numbers_of_answers_is_an_error() -> None:
    def last_only(xs: Tensor, ys: Tensor) -> Tensor:
        return ys[:, -1:]

    with pytest.raises(UserError, match=r"one number for each y, \(2, 4\); this one gave \(2, 1\)"):
        predict(last_only, torch.zeros(2, 4, 3), torch.zeros(2, 4))


def test_predictions_do_not_depend_on_how_prompts_are_batched_and_keep_no_gradient() -> None:
    batch = PROBLEM.batch("cont", 20, seed=0)
    layer = torch.nn.Linear(3, 1)

    def model(xs: Tensor, ys: Tensor) -> Tensor:
        found: Tensor = layer(xs).squeeze(-1)
        return found

    whole = predict(model, batch.xs, batch.ys)
    assert not whole.requires_grad
    assert whole.dtype == torch.float64
    torch.testing.assert_close(whole, predict(model, batch.xs, batch.ys, prompts_per_call=7))
