"""A part of the change: some kinds of tensors, or some layers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from palimpsest.errors import UserError, did_you_mean
from palimpsest.families.member import Member, Rows, TensorPair, scaled
from palimpsest.families.parts import KINDS, kind_of, layer_of

if TYPE_CHECKING:
    from palimpsest.specs import Spec

_LAYERS = re.compile(r"layers=(\d+)(?:-(\d+))?")


@dataclass(frozen=True)
class PartOfChange(Member):
    """The change in some tensors alone: only:attention, mlp, norms, embeddings, layers=0-5, or a+b.

    Example:
        >>> member = PartOfChange(("mlp", "layers=0-1"))
        >>> [member.has(f"model.layers.{n}.{part}.weight") for n, part in
        ...  ((0, "self_attn.q_proj"), (2, "self_attn.q_proj"), (2, "mlp.up_proj"))]
        [True, False, True]
    """

    parts: tuple[str, ...]
    """Kinds of tensors, and ``layers=FIRST-LAST`` from 0; a tensor of any of them is tuned."""

    name: ClassVar[str] = "only"
    examples: ClassVar[tuple[str, ...]] = ("only:attention", "only:layers=2-3+norms")
    everything: ClassVar[str] = "only:attention+mlp+norms+embeddings"
    source: ClassVar[str] = "a part of the change, as in layer-wise ablations"
    formula: ClassVar[str] = "W = W_tuned where the tensor is of the part, else W = W_base"
    scales: ClassVar[bool] = True

    @property
    def spec(self) -> str:  # noqa: D102
        return f"{self.name}:{'+'.join(self.parts)}"

    @property
    def title(self) -> str:  # noqa: D102
        return f"the change of {' and '.join(self.parts).replace('layers=', 'layers ')} alone"

    @classmethod
    def parse(cls, spec: Spec) -> tuple[Member, ...]:
        """Return a member for each part; parts joined by ``+`` are one.

        Raises:
            UserError: No such part.
        """
        # After a comma, layers=A-B looks like an option.
        texts = [spec.target, *(f"{name}={value}" for name, value in spec.options.items())]
        wanted = [text.strip() for text in ",".join(texts).split(",")]
        return tuple(cls(_checked(text.split("+"), spec)) for text in wanted)

    def has(self, name: str) -> bool:
        """Return whether a tensor belongs to the part."""
        return any(
            kind_of(name) == part if part in KINDS else _is_within(layer_of(name), part)
            for part in self.parts
        )

    def rows(self, pair: TensorPair) -> Rows:
        """Return all of the change or nothing of it."""
        return scaled(1.0 if self.has(pair.name) else 0.0)


def _is_within(layer: int | None, part: str) -> bool:
    match = _LAYERS.fullmatch(part)
    assert match is not None
    return layer is not None and int(match[1]) <= layer <= int(match[2] or match[1])


def _checked(parts: list[str], spec: Spec) -> tuple[str, ...]:
    for part in parts:
        match = _LAYERS.fullmatch(part)
        if part not in KINDS and match is None:
            raise UserError(
                f"The member '{spec.text}' names no part of a network: '{part}'."
                f"{did_you_mean(part, KINDS)}",
                hint=f"Write only: with {', '.join(KINDS)} or layers=0-5; joined by + they are one "
                "member, with commas several.",
            )
        if match and match[2] and int(match[2]) < int(match[1]):
            raise UserError(
                f"The member '{spec.text}' has no layer in '{part}'.", hint="Write layers=0-5."
            )
    return tuple(dict.fromkeys(parts))
