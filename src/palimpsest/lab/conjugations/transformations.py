r"""Conjugations of regression prompts: linear changes of x and y that predictions can undo.

.. math:: s(X, y) = (X A, γ y), \quad A \text{ orthogonal}, \qquad s^{-1}(f) = f/γ

The paper has label scaling (A = I): ridge is homogeneous, so it commutes with it. Beyond the paper,
every *symmetry* of ``D_cont`` that is none of ``D_disc``: the conjugated prompt follows ``D_cont``
exactly, so a model need not extrapolate, and the fixed tasks no longer fit it. With φ(x A) = φ(x) R
the weights become :math:`γ R^\top w`; s is a symmetry of the tasks if those are distributed as w,
the inputs X A as X, and the noise as before, |γ| = 1.

Source: Kotha, Springer and Raghunathan, ICLR 2024 (arXiv 2309.10105), Section 2.3, for scaling.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.conjugation import Chain, Conjugation, conjugate
from palimpsest.errors import UserError
from palimpsest.lab.predictors import Predictor, Prompt
from palimpsest.lab.problem import Features, Problem, TaskDistribution, is_same


class PromptConjugation(Conjugation[Prompt, Tensor]):
    """A linear change of inputs and labels.

    Subclasses set ``name``, ``matrix`` and ``label_factor``.
    """

    exact = True
    keeps = "everything, to rounding"

    matrix: Tensor | None = None
    """A, orthogonal and in float64; ``None`` for the identity."""
    label_factor: float = 1.0
    """γ."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """A, row by row, and γ."""
        matrix = None if self.matrix is None else self.matrix.tolist()
        return {"matrix": matrix, "label_factor": self.label_factor}

    def apply(self, prompt: Prompt) -> Prompt:
        """Return the changed inputs and labels.

        Raises:
            UserError: The prompt has another number of dimensions than A.
        """
        xs, ys = prompt
        if self.matrix is not None:
            if xs.shape[-1] != len(self.matrix):
                raise UserError(
                    f"The conjugation '{self.name}' is one of {len(self.matrix)} dimensions; "
                    f"the prompts have {xs.shape[-1]}."
                )
            xs = xs @ self.matrix.to(xs)
        return Prompt(xs, ys if self.label_factor == 1 else self.label_factor * ys)

    def invert(self, answer: Tensor) -> Tensor:
        """Return the predictions for the labels as they were."""
        return answer if self.label_factor == 1 else answer / self.label_factor

    def symmetry_of(
        self,
        tasks: TaskDistribution,
        *,
        features: Features,
        input_covariance: Float[Tensor, "dims dims"] | None = None,
    ) -> bool:
        """Tell whether conjugated prompts for these tasks are distributed as the prompts.

        Args:
            tasks: The distribution of tasks.
            features: φ.
            input_covariance: Σ; the identity if ``None``.
        """
        if abs(self.label_factor) != 1:
            return False
        change: Tensor | None = torch.eye(features.n_features, dtype=torch.float64)
        if self.matrix is not None:
            if input_covariance is not None:
                turned = self.matrix.T @ input_covariance.to(self.matrix) @ self.matrix
                if not is_same(turned, input_covariance.to(self.matrix)):
                    return False
            change = features.induced(self.matrix)
        return change is not None and tasks.keeps(self.label_factor * change)


class LabelScaling(PromptConjugation):
    """Multiply the labels by γ: the paper's conjugation for regression.

    Args:
        gamma: γ, not zero.

    Raises:
        UserError: γ is zero or no finite number.

    Example:
        >>> LabelScaling(2.0).invert(torch.tensor([[3.0]]))
        tensor([[1.5000]])
    """

    def __init__(self, gamma: float) -> None:
        if not math.isfinite(gamma) or gamma == 0:
            raise UserError(f"Labels cannot be scaled by {gamma:g}; take a number other than zero.")
        self.name = f"scale:{gamma:g}"
        self.label_factor = float(gamma)


class LabelNegation(PromptConjugation):
    """Change the sign of the labels."""

    name = "negate"
    label_factor = -1.0


class Rotation(PromptConjugation):
    """Multiply the inputs by an orthogonal matrix; reflections count as rotations here.

    Args:
        matrix: Q, (dims, dims).

    Raises:
        UserError: The matrix is not orthogonal.
    """

    name = "rotation"

    def __init__(self, matrix: Float[Tensor, "rows columns"]) -> None:
        q = matrix.detach().to("cpu", torch.float64)
        eye = torch.eye(len(q), dtype=torch.float64)
        # Q may come in single precision.
        if q.shape != eye.shape or not bool(((q @ q.T - eye).abs() < 1e-5).all()):
            raise UserError(
                f"A rotation needs an orthogonal matrix; got {tuple(q.shape)}, QQᵀ ≠ I."
            )
        self.matrix = q

    @classmethod
    def drawn(cls, n_dims: int, generator: torch.Generator) -> Rotation:
        """Draw Q evenly from all orthogonal matrices (Haar measure).

        Source: Mezzadri, Notices of the AMS 54 (2007), 592–604: the QR decomposition of a
        normal matrix, with the diagonal of R made positive.
        """
        normal = torch.randn(n_dims, n_dims, generator=generator, dtype=torch.float64)
        q, r = torch.linalg.qr(normal)
        return cls(q * r.diagonal().sign())


class CoordinateSigns(PromptConjugation):
    """Change the signs of some coordinates.

    Args:
        signs: 1 or −1 for each dimension.

    Raises:
        UserError: Another number than 1 and −1.
    """

    name = "signs"

    def __init__(self, signs: Sequence[int]) -> None:
        if not signs or any(sign not in (1, -1) for sign in signs):
            raise UserError(f"Signs are 1 or -1, one a dimension; got {list(signs)}.")
        self.matrix = torch.diag(torch.tensor(signs, dtype=torch.float64))

    @classmethod
    def drawn(cls, n_dims: int, generator: torch.Generator) -> CoordinateSigns:
        """Draw every sign by the toss of a coin."""
        bits: list[int] = torch.randint(2, (n_dims,), generator=generator).tolist()
        return cls([1 - 2 * bit for bit in bits])


class CoordinatePermutation(PromptConjugation):
    """Put the coordinates into another order.

    Args:
        order: Which coordinate comes first, second, …

    Raises:
        UserError: A coordinate is missing or comes twice.

    Example:
        >>> swap = CoordinatePermutation([1, 0])
        >>> swap.apply(Prompt(torch.tensor([[[3.0, 4.0]]]), torch.zeros(1, 1))).xs
        tensor([[[4., 3.]]])
    """

    name = "permutation"

    def __init__(self, order: Sequence[int]) -> None:
        if not order or sorted(order) != list(range(len(order))):
            raise UserError(f"An order names every coordinate from 0 once; got {list(order)}.")
        self.matrix = torch.eye(len(order), dtype=torch.float64)[:, list(order)]

    @classmethod
    def drawn(cls, n_dims: int, generator: torch.Generator) -> CoordinatePermutation:
        """Draw evenly from all orders."""
        return cls(torch.randperm(n_dims, generator=generator).tolist())


class PromptChain(Chain[Prompt, Tensor], PromptConjugation):
    """Conjugations of prompts one after the other; again a linear change.

    Whether a chain is a symmetry is a property of the whole: scaling by 2 and by ½ is one.

    Args:
        links: The conjugations, in the order in which they are applied; at least one.
    """

    def __init__(self, links: Sequence[PromptConjugation]) -> None:
        super().__init__(links)
        matrices = [link.matrix for link in links if link.matrix is not None]
        if len({len(matrix) for matrix in matrices}) > 1:
            raise UserError(f"The links of '{self.name}' are of different dimensions.")
        if matrices:
            self.matrix = matrices[0]
            for matrix in matrices[1:]:
                self.matrix = self.matrix @ matrix
        self.label_factor = math.prod(link.label_factor for link in links)


def conjugated(predictor: Predictor, conjugation: Conjugation[Prompt, Tensor]) -> Predictor:
    r"""Return the predictor asked under a conjugation, :math:`s^{-1} \circ f \circ s`."""
    asked = conjugate(lambda prompt: predictor(prompt.xs, prompt.ys), conjugation)
    return lambda xs, ys: asked(Prompt(xs, ys))


def is_symmetry(conjugation: PromptConjugation, problem: Problem, distribution: str) -> bool:
    """Tell whether a conjugation leaves the prompts of a distribution distributed as they are.

    Raises:
        UserError: No such distribution.
    """
    covariance = problem.input_covariance
    return conjugation.symmetry_of(
        problem.tasks(distribution),
        features=problem.features,
        input_covariance=None
        if covariance is None
        else torch.tensor(covariance, dtype=torch.float64),
    )


def symmetry_note(conjugation: PromptConjugation, problem: Problem) -> str:
    """Return what to keep in mind where a conjugation does not do what a symmetry does.

    Returns:
        A sentence; empty for a symmetry of ``D_cont`` that is none of ``D_disc``.

    Example:
        >>> problem = Problem(n_dims=2, n_tasks=3, n_exemplars=4)
        >>> symmetry_note(LabelNegation(), problem)
        ''
        >>> print(symmetry_note(LabelScaling(2.0), problem))
        'scale:2' is no symmetry of D_cont: under it, a model has to extrapolate.
    """
    if not is_symmetry(conjugation, problem, "cont"):
        return (
            f"'{conjugation.name}' is no symmetry of D_cont: under it, a model has to extrapolate."
        )
    if is_symmetry(conjugation, problem, "disc"):
        return (
            f"'{conjugation.name}' is a symmetry of D_disc as well: "
            "under it, the discrete tasks fit a prompt as well as before."
        )
    return ""
