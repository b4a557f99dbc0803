"""The two ends of a family: ``base`` and ``tuned``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from palimpsest.errors import UserError
from palimpsest.families.member import Member, Rows, TensorPair

if TYPE_CHECKING:
    from palimpsest.specs import Spec


@dataclass(frozen=True)
class _End(Member):
    """A model as it is; it takes no settings."""

    source: ClassVar[str] = "the model as it was given"
    scales: ClassVar[bool] = True
    is_mixture: ClassVar[bool] = False

    @property
    def spec(self) -> str:
        return self.name

    @property
    def title(self) -> str:
        return self.name

    @classmethod
    def parse(cls, spec: Spec) -> tuple[Member, ...]:
        if spec.target:
            raise UserError(
                f"The member '{spec.text}' has '{spec.target}' behind its name.",
                hint=f"Write {spec.name} alone; mixtures are called interpolate:0.5 and the like.",
            )
        spec.allow([])
        return (cls(),)


@dataclass(frozen=True)
class Base(_End):
    """The model before tuning."""

    name: ClassVar[str] = "base"
    examples: ClassVar[tuple[str, ...]] = ("base",)
    formula: ClassVar[str] = "W = W_base"

    def rows(self, pair: TensorPair) -> Rows:
        """Return the base's."""
        return lambda base, tuned, first: base


@dataclass(frozen=True)
class Tuned(_End):
    """The model after tuning."""

    name: ClassVar[str] = "tuned"
    examples: ClassVar[tuple[str, ...]] = ("tuned",)
    everything: ClassVar[str] = "tuned"
    formula: ClassVar[str] = "W = W_tuned"

    def rows(self, pair: TensorPair) -> Rows:
        """Return the tuned model's."""
        return lambda base, tuned, first: tuned
