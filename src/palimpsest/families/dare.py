"""DARE: most of the change dropped at random, and the rest made larger."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from palimpsest.families.member import Member, Rows, TensorPair, fraction, shortest

if TYPE_CHECKING:
    import torch

    from palimpsest.specs import Spec

_BLOCK = 2**16
"""Numbers that one seed serves. A member's rows come in pieces of any size, and must be the same
whatever the pieces: the generator of a block is told by the place of the block in its tensor."""


@dataclass(frozen=True)
class DropAndRescale(Member):
    """A random share of the change's numbers, made larger in return: dare:0.5, dare:0.5,seed=1."""

    density: float
    """Share of the numbers that are kept."""

    seed: int = 0

    name: ClassVar[str] = "dare"
    examples: ClassVar[tuple[str, ...]] = ("dare:0.4", "dare:0.4,seed=7")
    everything: ClassVar[str] = "dare:1"
    source: ClassVar[str] = "DARE, Yu et al. 2023, arXiv 2311.03099, with one tuned model"
    formula: ClassVar[str] = (
        "W = W_base + M ∘ (W_tuned − W_base)/d, with independent M_ij = 1 of probability d"
    )

    @property
    def spec(self) -> str:  # noqa: D102
        seed = f",seed={self.seed}" if self.seed else ""
        return f"{self.name}:{shortest(self.density)}{seed}"

    @property
    def title(self) -> str:  # noqa: D102
        return f"a random {self.density:.0%} of the change's numbers (seed {self.seed})"

    @classmethod
    def parse(cls, spec: Spec) -> tuple[Member, ...]:
        """Return a member for each density."""
        spec.allow(["seed"])
        seed = spec.whole_number("seed", 0)
        texts = spec.target.split(",")
        densities = [fraction(text, spec, what="density", above_zero=True) for text in texts]
        return tuple(cls(density, seed) for density in densities)

    def rows(self, pair: TensorPair) -> Rows:
        """Return a function that draws by the place in the tensor."""
        import torch

        n_row = math.prod(pair.shape[1:])
        name = pair.name

        def thinned(base: torch.Tensor, tuned: torch.Tensor, first: int) -> torch.Tensor:
            kept = self._kept(name, first * n_row, tuned.numel()).view(tuned.shape)
            # Exactly the tuned model's where the density is 1.
            grown = torch.lerp(base, tuned, 1 / self.density)
            return torch.where(kept, grown, base)

        return thinned

    def _kept(self, name: str, start: int, n: int) -> torch.Tensor:
        """Return which of ``n`` numbers of a tensor are kept, from its number ``start``."""
        import numpy as np
        import torch

        found = np.empty(n, dtype=bool)
        for block in range(start // _BLOCK, -(-(start + n) // _BLOCK)):
            key = hashlib.sha256(f"{self.seed} {block} {name}".encode()).digest()
            generator = np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "little")))
            drawn = generator.random(_BLOCK, dtype=np.float32) < self.density
            low, high = block * _BLOCK - start, (block + 1) * _BLOCK - start
            found[max(low, 0) : min(high, n)] = drawn[max(-low, 0) : _BLOCK - max(high - n, 0)]
        return torch.from_numpy(found)
