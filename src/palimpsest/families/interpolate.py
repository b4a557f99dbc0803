"""Interpolation between base and tuned model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from palimpsest.families.member import Member, Rows, TensorPair, fraction, scaled, shortest

if TYPE_CHECKING:
    from palimpsest.specs import Spec


@dataclass(frozen=True)
class WeightInterpolation(Member):
    """The base with a share of the change: interpolate:0.5, or several: interpolate:0.2,0.4."""

    share: float
    """Of the change that is kept, α."""

    name: ClassVar[str] = "interpolate"
    examples: ClassVar[tuple[str, ...]] = ("interpolate:0.3", "interpolate:0.8")
    everything: ClassVar[str] = "interpolate:1"
    source: ClassVar[str] = "WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903"
    formula: ClassVar[str] = "W = W_base + α (W_tuned − W_base)"

    scales: ClassVar[bool] = True

    @property
    def spec(self) -> str:  # noqa: D102
        return f"{self.name}:{shortest(self.share)}"

    @property
    def title(self) -> str:  # noqa: D102
        return f"{self.share:.0%} of the change"

    @classmethod
    def parse(cls, spec: Spec) -> tuple[Member, ...]:
        """Return a member for each share."""
        spec.allow([])
        texts = spec.target.split(",")
        return tuple(cls(fraction(text, spec, what="share of the change")) for text in texts)

    def rows(self, pair: TensorPair) -> Rows:
        """Return a function that is exact at both ends."""
        return scaled(self.share)
