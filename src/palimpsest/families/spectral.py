r"""DG-Hard: singular values of the change that random numbers would have too are set to zero.

Only a fifth or so of the singular vectors is kept, so no singular value decomposition is made. The
squares of the singular values are the eigenvalues of the change's Gram matrix on its smaller side,
summed up in float64, where squaring costs no digit that counts: a singular value at the threshold
keeps ten digits even if the largest is a thousand times as large. Reflections make the Gram matrix
tridiagonal, once. All eigenvalues of that are cheap, their median gives the threshold, and only the
eigenvectors above it, never more than half of them, are found by inverse iteration and turned back.
The change is multiplied by the projector on them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, lru_cache
from math import cos, pi, sin, sqrt
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from palimpsest.errors import UserError
from palimpsest.families.member import SMALL_SIDE, Member, Rows, TensorPair
from palimpsest.families.one_core import one_blas_core

if TYPE_CHECKING:
    import numpy as np
    import torch

    from palimpsest.families.family import Family
    from palimpsest.families.matching import MatchedTensor
    from palimpsest.specs import Spec

_FEWEST_NUMBERS = 1024
"""Tensors with fewer numbers pass unchanged, as in the published method."""


_TRIED = 512
"""Side of the matrix that is decomposed to tell how long others take."""

_CLOSE = 1e-9
"""How far eigenvectors may be off; float32, in which they are used, has seven digits."""

_N_CHECKED = 64
"""Eigenvectors that are checked together."""


@dataclass(frozen=True)
class SpectralDenoising(Member):
    """The change of each matrix without the singular values that noise would have: dg-hard.

    Tensors of another number of dimensions than two, or with fewer than 1,024 numbers, are the
    tuned model's. So is an adapter's change: of rank below half of the matrix, its median singular
    value is zero, and so is the threshold.
    """

    name: ClassVar[str] = "dg-hard"
    examples: ClassVar[tuple[str, ...]] = ("dg-hard",)
    source: ClassVar[str] = (
        "DG-Hard, Spectral Unforgetting 2026, arXiv 2605.20296; threshold of Gavish and Donoho "
        "2014, arXiv 1305.5870"
    )
    formula: ClassVar[str] = (
        "W = W_base + Σ σ_i u_i v_iᵀ over the singular values σ_i of W_tuned − W_base above "
        "ω(β) · median(σ)"
    )
    looks_at_whole: ClassVar[bool] = True

    @property
    def spec(self) -> str:  # noqa: D102
        return self.name

    @property
    def title(self) -> str:  # noqa: D102
        return "the change without its noise"

    @classmethod
    def parse(cls, spec: Spec) -> tuple[Member, ...]:
        """Return the one member; it takes no settings."""
        spec.allow([])
        if spec.target:
            raise UserError(
                f"The member '{spec.text}' has '{spec.target}' behind its name; its threshold "
                "follows from the matrices.",
                hint="Write dg-hard alone.",
            )
        return (cls(),)

    def notes(self, family: Family) -> tuple[str, ...]:
        """Say of an adapter that it keeps its change."""
        if not family.is_adapter:
            return ()
        changed = [each for each in family.whole_tensors if each.base is not None]
        kept = [each for each in changed if is_low_rank(each)]
        if not kept:
            return ()
        which = (
            "the change" if len(kept) == len(changed) else f"{len(kept)} of {len(changed)} tensors"
        )
        return (
            f"'{self.name}' leaves {which} of this adapter as it is: where the rank is so low, the "
            "median singular value is zero, and so is the threshold below which singular values "
            "are taken for noise.",
        )

    def expected_seconds(self, shapes: Sequence[tuple[int, ...]]) -> float:
        """Return about how long the decompositions take, by one of a small matrix."""
        wanted = [shape for shape in shapes if is_denoised(shape)]
        if not wanted:
            return 0.0
        seconds = _seconds_of_one()
        return seconds * sum(_work(shape) for shape in wanted) / _work((_TRIED, _TRIED))

    def rows(self, pair: TensorPair) -> Rows:
        """Find which part of the change is kept, and return the function of its rows."""
        if not is_denoised(pair.shape):
            return lambda base, tuned, first: tuned
        with one_blas_core() if min(pair.shape) <= SMALL_SIDE else nullcontext():
            spectrum = spectrum_of(gram(pair))
            vectors = spectrum.above(threshold(spectrum.values, pair.shape))
        if pair.shape[0] < pair.shape[1]:
            return _projected_from_left(pair, vectors)
        return _projected_from_right(vectors)


def is_low_rank(matched: MatchedTensor) -> bool:
    """Return whether an adapter's change of a tensor has more singular values of zero than not."""
    factor = getattr(matched.tuned, "a", None)
    shape = matched.place.shape
    return factor is not None and len(shape) == 2 and 2 * len(factor) < min(shape)


def _work(shape: tuple[int, ...]) -> float:
    """Return the multiplications for a matrix, about: its Gram matrix, and that made tridiagonal.

    Half of the latter reads the matrix at every step, which counts several times.
    """
    n, m = sorted(shape)
    return float(m * n**2 + 8 * n**3)


@cache
def _seconds_of_one() -> float:
    """Return how long one small matrix takes here."""
    import torch

    from palimpsest.families.member import LoadedPair

    generator = torch.Generator().manual_seed(0)
    change = torch.randn(_TRIED, _TRIED, generator=generator)
    pair = LoadedPair("", torch.zeros_like(change), change, {})
    seconds = []
    for _ in range(3):  # the first warms up
        started = time.perf_counter()
        with one_blas_core():
            spectrum = spectrum_of(gram(pair))
            spectrum.above(float(spectrum.values[-_TRIED // 5]))
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def is_denoised(shape: tuple[int, ...]) -> bool:
    """Return whether a tensor of this shape is a matrix that is large enough."""
    return len(shape) == 2 and shape[0] * shape[1] >= _FEWEST_NUMBERS


@lru_cache(maxsize=256)
def omega(beta: float) -> float:
    r"""Return the factor of the median singular value in the optimal hard threshold.

    .. math:: ω(β) = λ(β) / \sqrt{μ_β}, \quad
        λ(β) = \sqrt{2 (β + 1) + \frac{8 β}{β + 1 + \sqrt{β² + 14 β + 1}}}

    with the median :math:`μ_β` of the Marchenko–Pastur distribution. It is solved for here, not
    taken from the cubic 0.56 β³ − 0.95 β² + 1.82 β + 1.43, which is up to 0.006 off.

    Args:
        beta: The smaller side of the matrix over the larger.

    Example:
        >>> round(omega(1.0), 3)  # the paper's, for square matrices
        2.858
    """
    slope = sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + sqrt(beta**2 + 14 * beta + 1)))
    return slope / sqrt(marchenko_pastur_median(beta))


def marchenko_pastur_median(beta: float) -> float:
    r"""Return the median of the Marchenko–Pastur distribution of variance one.

    Its density is :math:`\sqrt{(b - t)(t - a)} / (2 π β t)` between :math:`a = (1 - \sqrt β)²` and
    :math:`b = (1 + \sqrt β)²`. With :math:`t = 1 + β + 2 \sqrt β \cos θ` the integrand is smooth.
    """
    from scipy.integrate import quad
    from scipy.optimize import brentq

    root = sqrt(beta)

    def density(theta: float) -> float:
        squared = sin(theta) ** 2
        value = 1 + beta + 2 * root * cos(theta)
        # At β = 1 both vanish together, and their ratio at θ = π is 2.
        return 2 / pi * (squared / value if value > 0 else 0.5)

    def above(theta: float) -> float:
        return float(quad(density, 0, theta, epsabs=1e-13, epsrel=1e-13)[0])

    middle = float(brentq(lambda theta: above(theta) - 0.5 * above(pi), 0, pi, xtol=1e-14))
    return 1 + beta + 2 * root * cos(middle)


def threshold(values: np.ndarray, shape: tuple[int, ...]) -> float:
    """Return the singular value above which one is kept: ω(β) times their median."""
    import numpy as np

    return omega(min(shape) / max(shape)) * float(np.median(values))


def gram(pair: TensorPair) -> np.ndarray:
    """Return the Gram matrix of a change on its smaller side, in float64; its lower half alone."""
    import numpy as np
    from scipy.linalg import blas

    n_rows, n_columns = pair.shape
    if n_rows < n_columns:
        change = whole_change(pair).numpy()
        total = np.zeros((n_rows, n_rows), order="F")
        # By columns, so that no more than a part of it is there in float64.
        for start in range(0, n_columns, n_rows):
            part = np.asarray(change[:, start : start + n_rows], dtype=np.float64, order="F")
            total = blas.dsyrk(1.0, part, beta=1.0, c=total, lower=1, overwrite_c=1)
        return total
    total = np.zeros((n_columns, n_columns), order="F")
    for _, base, tuned in pair.pieces():
        part = (tuned - base).double().numpy().T
        total = blas.dsyrk(1.0, part, beta=1.0, c=total, lower=1, overwrite_c=1)
    return total


def whole_change(pair: TensorPair) -> torch.Tensor:
    """Return the change of a tensor as a whole."""
    import torch

    change = torch.empty(pair.shape)
    for first, base, tuned in pair.pieces():
        torch.sub(tuned, base, out=change[first : first + len(base)])
    return change


class Spectrum(NamedTuple):
    """All singular values of a change, and how to come by its singular vectors."""

    values: np.ndarray
    """Ascending."""

    vectors: Callable[[int], np.ndarray]
    """Given how many of the largest, their singular vectors on the smaller side, as columns."""

    def above(self, least: float) -> torch.Tensor:
        """Return the vectors whose singular value is above ``least``, in float32."""
        import numpy as np
        import torch

        n_kept = int(np.count_nonzero(self.values > least))
        if n_kept == 0:
            return torch.empty(len(self.values), 0)
        return torch.from_numpy(np.ascontiguousarray(self.vectors(n_kept))).float()


def spectrum_of(gram: np.ndarray) -> Spectrum:
    """Return the spectrum of a change from the lower half of its Gram matrix, which is used up."""
    import numpy as np
    from scipy.linalg import lapack

    n = len(gram)
    n_work = int(lapack.dsytrd_lwork(n, lower=1)[0])
    reflected, diagonal, off, factors, _ = lapack.dsytrd(gram, lower=1, lwork=n_work, overwrite_a=1)
    squares, _ = lapack.dsterf(diagonal, off)

    def vectors(n_kept: int) -> np.ndarray:
        inner = np.asfortranarray(_inner_vectors(diagonal, off, squares, n_kept))
        below = reflected[1:, : n - 1]
        n_work = int(lapack.dormqr("L", "N", below, factors, inner[1:], lwork=-1)[1][0])
        inner[1:], _, _ = lapack.dormqr("L", "N", below, factors, inner[1:], lwork=n_work)
        return inner

    return Spectrum(np.sqrt(np.maximum(squares, 0)), vectors)


def _inner_vectors(
    diagonal: np.ndarray, off: np.ndarray, values: np.ndarray, n_kept: int
) -> np.ndarray:
    """Return the last eigenvectors of a tridiagonal matrix of known eigenvalues, as columns.

    Inverse iteration takes an eighth of the time of LAPACK's more robust ``stemr``, which is used
    where the vectors come out neither orthogonal nor eigenvectors.
    """
    import numpy as np
    from scipy.linalg import eigh_tridiagonal, lapack

    n = len(diagonal)
    blocks = np.ones(n, dtype=np.int32)
    ends = np.zeros(n, dtype=np.int32)
    ends[0] = n
    wanted = values[n - n_kept :]
    found: np.ndarray
    found, info = lapack.dstein(diagonal, off, wanted, blocks, ends)
    if info == 0 and _are_eigenvectors(found, diagonal, off, wanted, np.abs(values).max()):
        return found
    _, found = eigh_tridiagonal(
        diagonal, off, select="i", select_range=(n - n_kept, n - 1), lapack_driver="stemr"
    )
    return found


def _are_eigenvectors(
    found: np.ndarray, diagonal: np.ndarray, off: np.ndarray, values: np.ndarray, size: float
) -> bool:
    import numpy as np

    for start in range(0, len(values), _N_CHECKED):
        part = found[:, start : start + _N_CHECKED]
        rest = diagonal[:, None] * part - part * values[start : start + _N_CHECKED]
        rest[:-1] += off[:, None] * part[1:]
        rest[1:] += off[:, None] * part[:-1]
        if np.abs(rest).max() > _CLOSE * size:
            return False
    products = found.T @ found
    products[np.diag_indices(len(products))] -= 1
    return bool(np.abs(products).max() < _CLOSE)


def _projected_from_right(vectors: torch.Tensor) -> Rows:
    def projected(base: torch.Tensor, tuned: torch.Tensor, first: int) -> torch.Tensor:
        return ((tuned - base) @ vectors @ vectors.T).add_(base)

    return projected


def _projected_from_left(pair: TensorPair, vectors: torch.Tensor) -> Rows:
    """Project a wide matrix, whose columns must be known as a whole."""
    import torch

    # As many rows as there are vectors, in place of the whole change.
    inner = torch.zeros(vectors.shape[1], pair.shape[1])
    for first, base, tuned in pair.pieces():
        inner.addmm_(vectors[first : first + len(base)].T, tuned - base)

    def projected(base: torch.Tensor, tuned: torch.Tensor, first: int) -> torch.Tensor:
        return (vectors[first : first + len(base)] @ inner).add_(base)

    return projected
