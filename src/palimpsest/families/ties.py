"""TIES with one tuned model: the largest numbers of each tensor's change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from palimpsest.families.member import Member, Rows, TensorPair, fraction, shortest

if TYPE_CHECKING:
    import torch

    from palimpsest.specs import Spec

_HALF = 16
_N_BINS = 2**_HALF


@dataclass(frozen=True)
class LargestChanges(Member):
    """The largest numbers of the change of each tensor, by magnitude: ties:0.2.

    With one tuned model, of TIES's three steps the first is left: of signs there is one, and the
    mean is that of one.

    **A departure from the paper.** Its Algorithm 1, and the authors' code, trim the change of the
    whole model as one vector, so that tensors that the tuning has moved much keep more of their
    numbers and others fewer, perhaps none. Here each tensor keeps the same share, as in mergekit,
    so that a member stays a function of two tensors.
    """

    density: float
    """Share of the numbers that are kept."""

    name: ClassVar[str] = "ties"
    examples: ClassVar[tuple[str, ...]] = ("ties:0.2",)
    everything: ClassVar[str] = "ties:1"
    source: ClassVar[str] = (
        "TIES, Yadav et al. 2023, arXiv 2306.01708, with one tuned model, "
        "trimmed a tensor at a time"
    )
    formula: ClassVar[str] = (
        "W_ij = W_tuned where |W_tuned − W_base| is among the share d of the tensor's largest, "
        "else W_base"
    )
    looks_at_whole: ClassVar[bool] = True

    @property
    def spec(self) -> str:  # noqa: D102
        return f"{self.name}:{shortest(self.density)}"

    @property
    def title(self) -> str:  # noqa: D102
        return f"the largest {self.density:.0%} of the change's numbers"

    @classmethod
    def parse(cls, spec: Spec) -> tuple[Member, ...]:
        """Return a member for each density."""
        spec.allow([])
        texts = spec.target.split(",")
        return tuple(cls(fraction(text, spec, what="density", above_zero=True)) for text in texts)

    def rows(self, pair: TensorPair) -> Rows:
        """Find the magnitude from which on numbers are kept, exactly and without sorting."""
        import torch

        least = smallest_kept(pair, self.density)

        def trimmed(base: torch.Tensor, tuned: torch.Tensor, first: int) -> torch.Tensor:
            return torch.where((tuned.float() - base.float()).abs() >= least, tuned, base)

        return trimmed


def smallest_kept(pair: TensorPair, density: float) -> float:
    """Return the magnitude of the change from which on a share of ``density`` is kept.

    It is the k-th largest in float32, k being the share of the numbers rounded down, at least one.
    Magnitudes are counted by the upper half of their bits, and then those within the half where the
    k-th lies by the lower: two passes, whatever the size.
    """
    import math

    import torch

    n_kept = max(1, math.floor(density * math.prod(pair.shape)))
    upper = 0
    n_above = 0
    for is_lower in (False, True):
        counts = torch.zeros(_N_BINS, dtype=torch.int64)
        for _, base, tuned in pair.pieces():
            # Floats that are not negative are in the order of their bits, read as integers.
            bits = (tuned.float() - base.float()).abs_().view(torch.int32).flatten()
            halves = bits >> _HALF
            bits = bits[halves == upper] & (_N_BINS - 1) if is_lower else halves
            counts += torch.bincount(bits, minlength=_N_BINS)
        from_above = counts.flip(0).cumsum(0) + n_above
        place = int((from_above < n_kept).sum())
        found = _N_BINS - 1 - place
        if not is_lower:
            upper = found
            n_above = int(from_above[place - 1]) if place else 0
    pattern = torch.tensor([upper << _HALF | found], dtype=torch.int32)
    return float(pattern.view(torch.float32))
