import random

import numpy as np
import pytest
import torch
from torch import nn

from palimpsest.integrations.trainer.network import undisturbed

pytestmark = pytest.mark.slow  # quicker: test_in_short.py


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Sequential(nn.Linear(2, 2)))


def draws() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(()))]  # noqa: NPY002


def test_every_module_is_in_evaluation_mode_inside_and_in_its_own_afterwards() -> None:
    model = network()
    model[2].eval()  # a frozen part
    before = [module.training for module in model.modules()]
    with undisturbed(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == before
    assert len(set(before)) == 2


def test_random_numbers_go_on_as_if_nothing_had_been_drawn() -> None:
    model = network()
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    expected = draws()
    random.setstate(state[0])
    np.random.set_state(state[1])  # noqa: NPY002
    torch.set_rng_state(state[2])
    with undisturbed(model):
        assert draws() == expected
    assert draws() == expected


def test_all_comes_back_after_an_error() -> None:
    model = network()
    state = torch.get_rng_state()

    def fails() -> None:
        with undisturbed(model):
            torch.rand(3)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fails()
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


def test_no_module_is_told_to_change_its_mode() -> None:
    class Merging(nn.Module):
        """Changes its weights when it is told to evaluate, as some adapters do."""

        def train(self, mode: bool = True) -> "Merging":
            raise AssertionError("the module was told")

    model = nn.Sequential(nn.Linear(2, 2))
    model.add_module("adapter", Merging())
    with undisturbed(model):
        assert not model.training


def test_gradients_stay_as_they_are() -> None:
    model = network()
    model(torch.ones(1, 2)).sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    kept = [gradient.clone() for gradient in gradients if gradient is not None]
    with undisturbed(model), torch.inference_mode():
        model(torch.ones(1, 2))
    assert [id(parameter.grad) for parameter in model.parameters()] == list(map(id, gradients))
    assert all(map(torch.equal, kept, gradients))  # type: ignore[arg-type] # none is None
