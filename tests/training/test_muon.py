import pytest
import torch
from torch import nn

from palimpsest.training.muon import Muon, orthogonalised

SHAPES = ((6, 3), (3, 6), (4, 4), (6, 3))
COEFFICIENTS = (3.4445, -4.775, 2.0315)


def matrices(seed: int) -> list[nn.Parameter]:
    drawn = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=drawn)) for shape in SHAPES]


def steps(optimiser: torch.optim.Optimizer, weights: list[nn.Parameter], n: int) -> None:
    for step in range(n):
        for weight, gradient in zip(weights, matrices(100 + step), strict=True):
            weight.grad = gradient.detach()
        optimiser.step()


@pytest.mark.parametrize("nesterov", [True, False])
def test_its_steps_are_those_of_torch_but_for_what_bfloat16_rounds(nesterov: bool) -> None:
    ours, theirs = matrices(0), matrices(0)
    steps(Muon(ours, lr=0.1, weight_decay=0.1, nesterov=nesterov), ours, 5)
    steps(torch.optim.Muon(theirs, lr=0.1, weight_decay=0.1, nesterov=nesterov), theirs, 5)
    moved = [(a - b).detach().abs().max() for a, b in zip(ours, matrices(0), strict=True)]
    assert max(moved) > 0.4
    for own, peer in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, peer, rtol=0, atol=0.05)


def test_matrices_of_a_shape_have_nothing_to_do_with_each_other() -> None:
    together, alone = matrices(0), matrices(0)
    steps(Muon(together, lr=0.1, weight_decay=0.0), together, 3)
    for number, weight in enumerate(alone):
        optimiser = Muon([weight], lr=0.1, weight_decay=0.0)
        for step in range(3):
            weight.grad = matrices(100 + step)[number].detach()
            optimiser.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other)


def test_what_torch_remembers_can_be_carried_on_with_and_the_other_way_round() -> None:
    ours, theirs = matrices(0), matrices(0)
    first, second = Muon(ours, lr=0.1), torch.optim.Muon(theirs, lr=0.1)
    steps(second, theirs, 2)
    first.load_state_dict(second.state_dict())
    for weight, theirs_of_it in zip(ours, theirs, strict=True):
        weight.data.copy_(theirs_of_it)
    steps(first, ours, 1)
    steps(second, theirs, 1)
    for own, peer in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, peer, rtol=0, atol=0.05)
    second.load_state_dict(first.state_dict())


def test_a_matrix_without_a_gradient_stays() -> None:
    weights = matrices(0)
    optimiser = Muon(weights, lr=0.1, weight_decay=0.5)
    weights[0].grad = torch.ones_like(weights[0])
    optimiser.step()
    assert not torch.equal(weights[0], matrices(0)[0])
    for weight, before in zip(weights[1:], matrices(0)[1:], strict=True):
        assert torch.equal(weight, before)


@pytest.mark.parametrize("shape", [(5, 3, 7), (5, 7, 3), (1, 4, 4)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, ...]) -> None:
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found = orthogonalised(drawn, COEFFICIENTS, 5, 1e-7)
    left, before, right = torch.linalg.svd(drawn, full_matrices=False)
    within = left.mT @ found @ right.mT
    values = within.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(within, torch.diag_embed(values), rtol=0, atol=1e-4)
    sharp = before > 0.1 * before[:, :1]  # the smallest take more steps to grow
    assert values[sharp].min() > 0.5
    assert values.max() < 1.5
    assert torch.equal(
        orthogonalised(torch.zeros(shape), COEFFICIENTS, 5, 1e-7), torch.zeros(shape)
    )
