import pytest
import torch
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.problem.features import FUNCTION_CLASSES, FourierFeatures, features_of


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def rotation(n_dims: int) -> Tensor:
    matrix: Tensor = torch.linalg.qr(normal(n_dims, n_dims, seed=5)).Q
    return matrix


def signed_permutation(n_dims: int) -> Tensor:
    signs = torch.tensor([(-1.0) ** i for i in range(n_dims)]).double()
    return torch.eye(n_dims).double().roll(1, 0) * signs


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTION_CLASSES)
def test_features_carry_as_much_signal_as_the_inputs(name: str) -> None:
    n_dims = 5
    features = features_of(name, n_dims)
    found = features(normal(100_000, n_dims))
    assert found.shape == (100_000, features.n_features)
    # The quadratic ones vary most: standard deviation of ‖φ‖² about 6, so 0.08 is four errors.
    assert float(found.square().sum(-1).mean()) == pytest.approx(n_dims, abs=0.08)


def test_quadratic_features_reproduce_quadratic_forms() -> None:
    features = features_of("quadratic", 3)
    xs, form = normal(50, 3), normal(3, 3, seed=2)
    form = form + form.T
    weights = torch.linalg.lstsq(features(xs), ((xs @ form) * xs).sum(-1)[:, None]).solution
    new = normal(20, 3, seed=3)
    torch.testing.assert_close((features(new) @ weights).squeeze(-1), ((new @ form) * new).sum(-1))


def test_fourier_features_reproduce_sums_of_waves() -> None:
    features = FourierFeatures(2, n_frequencies=2, half_period=3.0)
    xs = normal(50, 2)

    def wave(x: Tensor) -> Tensor:
        return torch.sin(2 * torch.pi * x[:, 1] / 3) - 4 * torch.cos(torch.pi * x[:, 0] / 3)

    weights = torch.linalg.lstsq(features(xs), wave(xs)[:, None]).solution
    new = normal(20, 2, seed=3)
    torch.testing.assert_close((features(new) @ weights).squeeze(-1), wave(new))


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        ("linear", rotation(4)),
        ("quadratic", rotation(4)),
        ("quadratic", signed_permutation(4)),
        ("fourier", signed_permutation(4)),
        ("fourier", torch.eye(4).double()),
    ],
)
def test_the_induced_matrix_moves_the_features_as_the_inputs_move_and_is_orthogonal(
    name: str, matrix: Tensor
) -> None:
    features = features_of(name, 4)
    induced = features.induced(matrix)
    assert induced is not None
    xs = normal(30, 4)
    torch.testing.assert_close(features(xs @ matrix), features(xs) @ induced)
    torch.testing.assert_close(induced @ induced.T, torch.eye(features.n_features).double())


def test_a_rotation_is_no_linear_change_of_waves() -> None:
    features = features_of("fourier", 4)
    assert features.induced(rotation(4)) is None
    assert features.induced(torch.ones(4, 4).double()) is None


def test_an_unknown_function_class_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"named 'quadratc'. Did you mean 'quadratic'"):
        features_of("quadratc", 3)


def test_numbers_out_of_range_are_errors() -> None:
    with pytest.raises(UserError, match="n_dims is 0"):
        features_of("linear", 0)
    with pytest.raises(UserError, match="n_frequencies is 0"):
        features_of("fourier", 2, n_frequencies=0)
    with pytest.raises(UserError, match="half_period is 0; it must be more than zero"):
        FourierFeatures(2, half_period=0.0)
