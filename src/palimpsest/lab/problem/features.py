r"""Function classes that are linear in features φ(x), so that the exact predictors carry over.

Each is scaled so that :math:`E‖φ(x)‖^2 = d` for :math:`x ∼ N(0, I_d)`, as for linear functions:
the signal has the same size, and a noise level means the same, in every class.

Each also knows which linear changes of x it turns into orthogonal changes of φ(x). That decides
what is a symmetry of its tasks (:mod:`palimpsest.lab.conjugations.transformations`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lab.checks import check_count, check_positive

FUNCTION_CLASSES: Final = ("linear", "quadratic", "fourier")
"""The names that :func:`features_of` takes."""


@dataclass(frozen=True)
class Features(ABC):
    """The map φ of a function class."""

    n_dims: int
    """d, the length of x."""

    def __post_init__(self) -> None:
        check_count("n_dims", self.n_dims)

    @property
    @abstractmethod
    def n_features(self) -> int:
        """Length of φ(x)."""

    @abstractmethod
    def __call__(self, xs: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch features"]:
        """Return φ(x)."""

    @abstractmethod
    def induced(
        self, matrix: Float[Tensor, "dims dims"]
    ) -> Float[Tensor, "features features"] | None:
        r"""Return the R with :math:`φ(x A) = φ(x) R` for every row x, or ``None`` if there is none.

        Args:
            matrix: A, an orthogonal matrix.
        """


@dataclass(frozen=True)
class LinearFeatures(Features):
    """The inputs themselves: f(x) = ⟨w, x⟩.

    Example:
        >>> LinearFeatures(3).n_features
        3
    """

    @property
    def n_features(self) -> int:
        """As many as inputs, d."""
        return self.n_dims

    def __call__(self, xs: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch features"]:
        """Return x."""
        return xs

    def induced(
        self, matrix: Float[Tensor, "dims dims"]
    ) -> Float[Tensor, "features features"] | None:
        """Return A itself."""
        return matrix


@dataclass(frozen=True)
class QuadraticFeatures(Features):
    r"""All products of two inputs: :math:`f(x) = x^\top W x`, W symmetric.

    .. math:: φ(x) = (x_i^2, \; \sqrt 2 x_i x_j)_{i<j} \,/\, \sqrt{d+2}

    The factor √2 makes ‖φ(x)‖ = ‖x‖² / √(d+2): a rotation of x rotates φ(x).

    Example:
        >>> QuadraticFeatures(4).n_features
        10
    """

    @property
    def n_features(self) -> int:
        """As many as symmetric matrices have free entries, d(d+1)/2."""
        return self.n_dims * (self.n_dims + 1) // 2

    def __call__(self, xs: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch features"]:
        """Return the scaled products of two inputs."""
        row, column = torch.triu_indices(self.n_dims, self.n_dims, device=xs.device)
        return xs[..., row] * xs[..., column] * self._scales(xs)

    def induced(
        self, matrix: Float[Tensor, "dims dims"]
    ) -> Float[Tensor, "features features"] | None:
        """Return the action of A on symmetric matrices, in the basis of the features."""
        row, column = torch.triu_indices(self.n_dims, self.n_dims, device=matrix.device)
        a, b, c, d = (matrix[i][:, j] for i in (row, column) for j in (row, column))
        # (x A)_k (x A)_l = Σ_ij x_i x_j A_ik A_jl; for i < j, ij and ji fall together.
        products = a * d + b * c
        scales = self._scales(matrix)
        halved = torch.where(row == column, 0.5, 1.0).to(matrix)
        return halved[:, None] * products * scales[None, :] / scales[:, None]

    def _scales(self, like: Tensor) -> Float[Tensor, " features"]:
        row, column = torch.triu_indices(self.n_dims, self.n_dims, device=like.device)
        scales = like.new_full(row.shape, math.sqrt(2.0))
        scales[row == column] = 1.0
        return scales / math.sqrt(self.n_dims + 2)


@dataclass(frozen=True)
class FourierFeatures(Features):
    r"""Waves along each coordinate: f is a sum over i of Fourier series in :math:`x_i`.

    .. math:: φ(x) = (\cos(πkx_i/L), \; \sin(πkx_i/L))_{k=1…K,\, i=1…d} \,/\, \sqrt K

    A rotation of x is no linear change of φ(x); signs and permutations of coordinates are.

    Example:
        >>> FourierFeatures(4, n_frequencies=3).n_features
        24
    """

    n_frequencies: int = 3
    """K."""
    half_period: float = 4.0
    """L; inputs seldom lie beyond ±4 standard deviations, so the slowest wave does not repeat."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("n_frequencies", self.n_frequencies)
        check_positive("half_period", self.half_period)

    @property
    def n_features(self) -> int:
        """A cosine and a sine for each frequency and input, 2Kd."""
        return 2 * self.n_frequencies * self.n_dims

    def __call__(self, xs: Float[Tensor, "*batch dims"]) -> Float[Tensor, "*batch features"]:
        """Return all cosines, then all sines; within each, frequency by frequency."""
        frequencies = torch.arange(1, self.n_frequencies + 1, device=xs.device, dtype=xs.dtype)
        phases = (math.pi / self.half_period) * frequencies[:, None] * xs[..., None, :]
        waves = torch.stack([phases.cos(), phases.sin()], dim=-3)
        return waves.flatten(-3) / math.sqrt(self.n_frequencies)

    def induced(
        self, matrix: Float[Tensor, "dims dims"]
    ) -> Float[Tensor, "features features"] | None:
        """Return the signed permutation of the waves, if A is one of the coordinates."""
        moved = matrix.abs()
        # Every entry 0 or 1, and one 1 in each row and column.
        if not bool(((moved == 0) | (moved == 1)).all()):
            return None
        ones = moved.new_ones(self.n_dims)
        if not (torch.equal(moved.sum(0), ones) and torch.equal(moved.sum(1), ones)):
            return None
        cosines = [moved] * self.n_frequencies  # which do not see the sign
        sines = [matrix] * self.n_frequencies
        blocks: Tensor = torch.block_diag(*cosines, *sines)
        return blocks


def features_of(function_class: str, n_dims: int, *, n_frequencies: int = 3) -> Features:
    """Return the features of a function class.

    Args:
        function_class: One of :data:`FUNCTION_CLASSES`.
        n_dims: d.
        n_frequencies: K of ``fourier``.

    Raises:
        UserError: No class of that name, or a number out of range.

    Example:
        >>> features_of("fourrier", 4)
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: No function class named 'fourrier'. Did you mean 'fourier'?
        There are: linear, quadratic, fourier.
    """
    if function_class == "linear":
        return LinearFeatures(n_dims)
    if function_class == "quadratic":
        return QuadraticFeatures(n_dims)
    if function_class == "fourier":
        return FourierFeatures(n_dims, n_frequencies)
    raise UserError(
        f"No function class named '{function_class}'."
        f"{did_you_mean(function_class, FUNCTION_CLASSES)}",
        hint=f"There are: {', '.join(FUNCTION_CLASSES)}.",
    )
