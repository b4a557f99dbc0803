import pytest
import torch
from torch import nn

from palimpsest.training.optimisers import SCHEDULES, make_optimisers, rate_scale


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_rate_rises_over_the_warm_up_and_never_afterwards(schedule: str) -> None:
    rates = [rate_scale(schedule, step, n_steps=20, n_warmup_steps=4) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] > 0


def test_a_trapezoid_falls_in_the_share_of_the_steps_that_is_asked_for() -> None:
    rates = [
        rate_scale("trapezoid", step, n_steps=6, n_warmup_steps=2, decay_share=0.5)
        for step in range(6)
    ]
    assert [round(rate, 2) for rate in rates] == [0.5, 1, 1, 1, 0.67, 0.33]
    assert rate_scale("trapezoid", 5, n_steps=6, decay_share=0.0) == 1.0


def test_every_weight_has_one_optimiser_and_matrices_of_blocks_have_muon() -> None:
    model = nn.ModuleDict({"layers": nn.Sequential(nn.Linear(3, 3)), "head": nn.Linear(3, 1)})
    rated = make_optimisers(
        model, "muon", learning_rate=0.1, muon_learning_rate=0.2, blocks="layers."
    )
    owners = {
        id(weight): (type(one.optimiser).__name__, one.peak_rate)
        for one in rated
        for group in one.optimiser.param_groups
        for weight in group["params"]
    }
    assert {name: owners[id(weight)] for name, weight in model.named_parameters()} == {
        "layers.0.weight": ("Muon", 0.2),
        "layers.0.bias": ("AdamW", 0.1),
        "head.weight": ("AdamW", 0.1),
        "head.bias": ("AdamW", 0.1),
    }


def test_fused_or_not_the_update_is_one_but_for_rounding() -> None:
    found = []
    for fused in (True, False):
        layer = nn.Linear(2, 2)
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
        layer(torch.ones(1, 2)).sum().backward()
        [rated] = make_optimisers(
            layer, "adamw", learning_rate=0.1, muon_learning_rate=0.0, fused=fused
        )
        rated.optimiser.step()
        found.append(layer.weight.detach())
    torch.testing.assert_close(*found)
