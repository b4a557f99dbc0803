"""Ensembles of conjugations, asked in one batched call.

The mean over several symmetries does two things: each member leads the prompt away from the fixed
tasks, and the mean averages away what is the model's own noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lab.checks import check_count
from palimpsest.lab.conjugations.transformations import (
    CoordinatePermutation,
    CoordinateSigns,
    PromptChain,
    PromptConjugation,
    Rotation,
    is_symmetry,
)
from palimpsest.lab.predictors import Predictor, fitting_prompts_per_call, in_blocks
from palimpsest.lab.problem import Problem


@dataclass(frozen=True)
class PromptEnsemble:
    """Several conjugations and the mean of the predictions under them.

    Every member's prompts go to the predictor together.

    Args:
        name: What to call it.
        conjugations: At least one.
        prompts_per_call: The largest batch that the predictor is given; by default what fits the
            device of the prompts.

    Raises:
        UserError: No conjugation, or ``prompts_per_call`` below one.
    """

    name: str
    conjugations: tuple[PromptConjugation, ...]
    prompts_per_call: int | None = None

    def __post_init__(self) -> None:
        if not self.conjugations:
            raise UserError("An ensemble needs at least one conjugation; got none.")
        if self.prompts_per_call is not None:
            check_count("prompts_per_call", self.prompts_per_call)

    def __call__(self, predictor: Predictor) -> Predictor:
        """Return the predictor that gives the mean over the conjugations."""

        def asked(
            xs: Float[Tensor, "batch points dims"], ys: Float[Tensor, "batch points"]
        ) -> Float[Tensor, "batch points"]:
            return self.members(predictor, xs, ys).mean(0)

        return asked

    def members(
        self,
        predictor: Predictor,
        xs: Float[Tensor, "batch points dims"],
        ys: Float[Tensor, "batch points"],
    ) -> Float[Tensor, "members batch points"]:
        """Return the predictions under each conjugation, inverted.

        The mean over the first m members is that of the ensemble of size m.

        Raises:
            UserError: The prompts have other dimensions than the conjugations.
        """
        factors = torch.tensor([s.label_factor for s in self.conjugations], dtype=torch.float64)
        moved_xs = self._moved(xs).flatten(0, 1)
        moved_ys = (factors.to(ys)[:, None, None] * ys).flatten(0, 1)
        n = self.prompts_per_call or fitting_prompts_per_call(xs)
        predictions = in_blocks(predictor, moved_xs, moved_ys, n)
        return predictions.view(len(factors), *ys.shape) / factors.to(predictions)[:, None, None]

    def _moved(self, xs: Tensor) -> Tensor:
        """Return the inputs under each conjugation, (members, batch, points, dims)."""
        n_prompts, n_points, n_dims = xs.shape
        if all(s.matrix is None for s in self.conjugations):
            return xs.expand(len(self.conjugations), -1, -1, -1)
        eye = torch.eye(n_dims, dtype=torch.float64)
        matrices = [eye if s.matrix is None else s.matrix for s in self.conjugations]
        for matrix in matrices:
            if len(matrix) != n_dims:
                raise UserError(
                    f"The ensemble '{self.name}' is one of {len(matrix)} dimensions; "
                    f"the prompts have {n_dims}."
                )
        moved = xs.reshape(-1, n_dims) @ torch.stack(matrices).to(xs)
        return moved.view(-1, n_prompts, n_points, n_dims)


class SymmetryKind(NamedTuple):
    """A group of symmetries."""

    draw: Callable[[int, torch.Generator], PromptConjugation]
    """Draws a member, of so many dimensions."""
    size: Callable[[int], float]
    """How many members there are."""


GROUPS = {
    "rotations": SymmetryKind(Rotation.drawn, lambda n_dims: 2 if n_dims == 1 else math.inf),
    "signs": SymmetryKind(CoordinateSigns.drawn, lambda n_dims: 2**n_dims),
    "permutations": SymmetryKind(CoordinatePermutation.drawn, math.factorial),
    "signed-permutations": SymmetryKind(
        lambda n_dims, generator: PromptChain(
            [group.drawn(n_dims, generator) for group in (CoordinateSigns, CoordinatePermutation)]
        ),
        lambda n_dims: 2**n_dims * math.factorial(n_dims),
    ),
}
"""Groups of symmetries, by what :func:`symmetry_ensemble` calls them."""


def symmetry_ensemble(
    n: int, generator: torch.Generator, kind: str, *, n_dims: int
) -> PromptEnsemble:
    """Draw ``n`` members of a group of symmetries: never the identity, none twice.

    The first of them do not depend on ``n``.

    Args:
        n: How many.
        generator: The source of randomness.
        kind: One of :data:`GROUPS`.
        n_dims: d, of the inputs.

    Raises:
        UserError: No such group, a count below one, or more members than the group has.

    Example:
        >>> symmetry_ensemble(16, torch.Generator().manual_seed(0), "signs", n_dims=4)
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: There are 15 signs of 4 dimensions; 16 were asked for.
        The identity does not count.
    """
    check_count("n", n)
    check_count("n_dims", n_dims)
    if kind not in GROUPS:
        raise UserError(
            f"No group of symmetries named '{kind}'.{did_you_mean(kind, GROUPS)}",
            hint=f"There are: {', '.join(GROUPS)}.",
        )
    size = GROUPS[kind].size(n_dims)
    if n > size - 1:
        raise UserError(
            f"There are {size - 1:.0f} {kind} of {n_dims} dimensions; {n} were asked for.",
            hint="The identity does not count.",
        )
    draws = _distinct(lambda: GROUPS[kind].draw(n_dims, generator), n_dims)
    return PromptEnsemble(f"{kind}:{n}", tuple(next(draws) for _ in range(n)))


def default_kind(problem: Problem) -> str:
    """Return the largest of the groups whose members all are symmetries of ``D_cont``.

    Raises:
        UserError: The inputs are skewed, and there is none.

    Example:
        >>> default_kind(Problem(n_dims=4, n_tasks=2, n_exemplars=3, function_class="fourier"))
        'signed-permutations'
    """
    for kind in ("rotations", "signed-permutations", "permutations", "signs"):
        n = int(min(8, GROUPS[kind].size(problem.n_dims) - 1))
        if not n:
            continue
        # Members in general position: what holds for them holds for the group.
        sample = symmetry_ensemble(n, torch.Generator().manual_seed(0), kind, n_dims=problem.n_dims)
        if all(is_symmetry(member, problem, "cont") for member in sample.conjugations):
            return kind
    raise UserError(
        "No group of rotations, signs or permutations leaves inputs of this covariance as they "
        "are.",
        hint="Leave input_covariance out, or make it diagonal.",
    )


def _distinct(draw: Callable[[], PromptConjugation], n_dims: int) -> Iterator[PromptConjugation]:
    """Yield what is drawn, but not the identity and nothing twice."""
    seen = {_key(torch.eye(n_dims, dtype=torch.float64))}
    while True:
        found = draw()
        assert found.matrix is not None
        key = _key(found.matrix)
        if key not in seen:
            seen.add(key)
            yield found


def _key(matrix: Tensor) -> tuple[float, ...]:
    # Rounding also makes −0 and 0 one.
    return tuple(round(value, 6) + 0.0 for value in matrix.flatten().tolist())
