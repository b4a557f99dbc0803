"""LiNeS: the change of early layers kept in part, that of late ones wholly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from palimpsest.errors import UserError
from palimpsest.families.member import Member, Rows, TensorPair, fraction, scaled, shortest
from palimpsest.families.parts import is_input_embedding, layer_of, n_layers

if TYPE_CHECKING:
    from palimpsest.specs import Spec


@dataclass(frozen=True)
class LayerScaling(Member):
    r"""The change scaled by depth, from a share in the first layer to all in the last: lines:0.

    With layers :math:`l = 1, …, L`, :math:`λ_l = α + (1 - α) (l - 1) / (L - 1)`. Embeddings
    that are read count to the first layer, whatever comes after the last one to the last.

    Example:
        >>> config = {"num_hidden_layers": 5}
        >>> LayerScaling(0.5).share_of("model.layers.2.mlp.up_proj.weight", config)
        0.75
    """

    first: float = 0.0
    """Share of the change that the first layer keeps, α."""

    name: ClassVar[str] = "lines"
    examples: ClassVar[tuple[str, ...]] = ("lines", "lines:0.25")
    everything: ClassVar[str] = "lines:1"
    source: ClassVar[str] = "LiNeS, Wang et al. 2024, arXiv 2410.17146"
    formula: ClassVar[str] = (
        "W = W_base + λ_l (W_tuned − W_base), λ_l = α + (1 − α)(l − 1)/(L − 1) in layer l of L"
    )
    scales: ClassVar[bool] = True

    @property
    def spec(self) -> str:  # noqa: D102
        return f"{self.name}:{shortest(self.first)}"

    @property
    def title(self) -> str:  # noqa: D102
        return f"change growing with depth, from {self.first:.0%}"

    @classmethod
    def parse(cls, spec: Spec) -> tuple[Member, ...]:
        """Return a member for each share of the first layer; without one it is 0."""
        spec.allow([])
        texts = spec.target.split(",") if spec.target else ["0"]
        return tuple(cls(fraction(text, spec, what="share in the first layer")) for text in texts)

    def share_of(self, name: str, config: object) -> float:
        """Return the share of the change of a tensor, by its name.

        Raises:
            UserError: The configuration does not say how many layers there are.
        """
        n = n_layers(config)  # type: ignore[arg-type]
        if n is None:
            raise UserError(
                "The configuration does not say how many layers the model has, by which 'lines' "
                "scales its change.",
                hint="Leave the member out; expected num_hidden_layers in config.json.",
            )
        layer = layer_of(name)
        if layer is None:
            depth = 0.0 if is_input_embedding(name) else 1.0
        else:
            depth = layer / (n - 1) if n > 1 else 1.0
        return self.first + (1 - self.first) * depth

    def rows(self, pair: TensorPair) -> Rows:
        """Return a function that is exact where all of the change is kept."""
        return scaled(self.share_of(pair.name, pair.config))
