"""The member ``clip``: no number of the change is larger than a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from palimpsest.families import Member, Rows, TensorPair, fraction, shortest

if TYPE_CHECKING:
    import torch

    from palimpsest.specs import Spec


@dataclass(frozen=True)
class ClippedChange(Member):
    """The change with its largest numbers cut off: clip:0.01, or several: clip:0.01,0.02.

    Example:
        >>> import torch
        >>> ClippedChange(0.5).tensor(torch.zeros(3), torch.tensor([0.25, 2.0, -1.0])).tolist()
        [0.25, 0.5, -0.5]
    """

    limit: float
    """Of each number's magnitude."""

    name: ClassVar[str] = "clip"
    examples: ClassVar[tuple[str, ...]] = ("clip:0.02",)
    source: ClassVar[str] = "after gradient clipping, Pascanu et al. 2013, arXiv 1211.5063"
    formula: ClassVar[str] = "W = W_base + max(−c, min(c, W_tuned − W_base))"

    @property
    def spec(self) -> str:
        """The text that names it."""
        return f"clip:{shortest(self.limit)}"

    @property
    def title(self) -> str:
        """What a report calls it."""
        return f"the change cut off at {shortest(self.limit)}"

    @classmethod
    def parse(cls, spec: Spec) -> tuple[Member, ...]:
        """Return a member for each limit."""
        spec.allow([])
        limits = spec.target.split(",")
        return tuple(cls(fraction(text, spec, what="limit", above_zero=True)) for text in limits)

    def rows(self, pair: TensorPair) -> Rows:
        """Return a function that needs to know no other rows."""

        def clipped(base: torch.Tensor, tuned: torch.Tensor, first: int) -> torch.Tensor:
            return (tuned - base).clamp_(-self.limit, self.limit).add_(base)

        return clipped
