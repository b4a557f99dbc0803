"""Members of a family: models between a base and a tuned one, tensor by tensor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from palimpsest.errors import UserError

if TYPE_CHECKING:
    import torch

    from palimpsest.families.family import Family
    from palimpsest.specs import Spec

Rows = Callable[["torch.Tensor", "torch.Tensor", int], "torch.Tensor"]
"""Given some rows of a tensor in the base and in the tuned model, in float32, and the number of the
first of them: the member's rows. Those of the tuned model may be overwritten, and the result may be
one of the arguments."""


SMALL_SIDE = 1536
"""Of matrices up to this size on their smaller side, each core takes one of its own: what they need
is 40 MB at most. A larger one has all cores."""


class TensorPair(Protocol):
    """One tensor of the base and of the tuned model, read by rows as often as needed."""

    @property
    def name(self) -> str:
        """Its name in the tuned model."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes, the same in both."""

    @property
    def config(self) -> Mapping[str, Any]:
        """What the tuned model's ``config.json`` says."""

    def pieces(self) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Yield the number of the first row, and some rows of both, in float32."""


class Member(ABC):
    """A model between base and tuned, and beyond: a way of making each of its tensors.

    Subclasses are frozen dataclasses of their settings.
    """

    name: ClassVar[str]
    """What it is registered as."""

    source: ClassVar[str]
    """Who proposed it."""

    formula: ClassVar[str]
    """What it does with a tensor, in one line."""

    version: ClassVar[int] = 1
    """Counts the changes of the formula; stored answers are found by it."""

    examples: ClassVar[tuple[str, ...]] = ()
    """Specs of members of this kind, which the tests hold to the laws of mixtures."""

    everything: ClassVar[str] = ""
    """The spec of the member that keeps all of the change, where there is one."""

    is_mixture: ClassVar[bool] = True
    """Whether its tensors are made of those of base and tuned model, and are none of a file."""

    looks_at_whole: ClassVar[bool] = False
    """Whether all of a tensor must have been read before any of it can be made."""

    scales: ClassVar[bool] = False
    """Whether it multiplies the change of each tensor by one number, so that of an adapter's change
    it makes one that is an adapter."""

    is_trained: ClassVar[bool] = False
    """Whether something besides the two models has been trained for it."""

    @property
    @abstractmethod
    def spec(self) -> str:
        """The text that names it and nothing else, whatever the user wrote."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What a report calls it."""

    @classmethod
    @abstractmethod
    def parse(cls, spec: Spec) -> tuple[Member, ...]:
        """Return the members that a spec stands for.

        Raises:
            UserError: Something about it is wrong.
        """

    @abstractmethod
    def rows(self, pair: TensorPair) -> Rows:
        """Look at a tensor as a whole, if need be, and return the function of its rows."""

    def identity(self) -> object:
        """Return what tells its weights from others, of the same base and tuned model."""
        return [self.spec, self.version]

    def trained_on(self) -> frozenset[str]:
        """Return the digests of prompts of the target that nobody may judge it by."""
        return frozenset()

    def check(self, family: Family) -> None:  # noqa: B027 - most belong to any family
        """Check that it belongs to a family.

        Raises:
            UserError: It was made for another one.
        """

    def notes(self, family: Family) -> tuple[str, ...]:
        """Return what a user should know of it in a family, in sentences."""
        return ()

    def expected_seconds(self, shapes: Sequence[tuple[int, ...]]) -> float:
        """Return about how long the arithmetic for tensors of these shapes takes on this machine.

        Zero where it is no more than reading them.
        """
        return 0.0

    def tensor(
        self,
        base: torch.Tensor,
        tuned: torch.Tensor,
        name: str = "",
        config: Mapping[str, Any] | None = None,
    ) -> torch.Tensor:
        """Return the member's tensor, in float32; what is given stays as it is.

        Args:
            base: The tensor of the base.
            tuned: The tensor of the tuned model.
            name: Of the tensor.
            config: What ``config.json`` says.
        """
        pair = LoadedPair(name, base, tuned, config or {})
        rows = self.rows(pair)
        [(first, before, after)] = pair.pieces()
        return rows(before, after, first).view(base.shape)


@dataclass(frozen=True, eq=False)
class LoadedPair:
    """A tensor of both models in memory."""

    name: str
    base: torch.Tensor
    tuned: torch.Tensor
    config: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes."""
        return tuple(self.base.shape)

    def pieces(self) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Yield all of it at once, in copies."""
        rows = self.shape if self.shape else (1,)
        base, tuned = (each.float().clone().view(rows) for each in (self.base, self.tuned))
        yield 0, base, tuned


@dataclass(frozen=True)
class MemberChain(Member):
    """Members one after the other: the next acts on the base and what the one before made."""

    links: tuple[Member, ...]

    name: ClassVar[str] = "chain"

    @property
    def looks_at_whole(self) -> bool:  # type: ignore[override]  # noqa: D102
        return any(link.looks_at_whole for link in self.links)

    @property
    def scales(self) -> bool:  # type: ignore[override]  # noqa: D102
        return all(link.scales for link in self.links)

    @property
    def is_trained(self) -> bool:  # type: ignore[override]  # noqa: D102
        return any(link.is_trained for link in self.links)

    @property
    def spec(self) -> str:  # noqa: D102
        return "|".join(link.spec for link in self.links)

    @property
    def title(self) -> str:  # noqa: D102
        return ", then ".join(link.title for link in self.links)

    @property
    def source(self) -> str:  # type: ignore[override]  # noqa: D102
        return "; ".join(dict.fromkeys(link.source for link in self.links))

    @property
    def formula(self) -> str:  # type: ignore[override]  # noqa: D102
        return "; then ".join(link.formula for link in self.links)

    @classmethod
    def parse(cls, spec: Spec) -> tuple[Member, ...]:  # noqa: D102
        raise NotImplementedError

    def identity(self) -> object:
        """Return that of every link."""
        return [link.identity() for link in self.links]

    def trained_on(self) -> frozenset[str]:
        """Return those of all links."""
        return frozenset().union(*(link.trained_on() for link in self.links))

    def check(self, family: Family) -> None:
        """Check every link."""
        for link in self.links:
            link.check(family)

    def notes(self, family: Family) -> tuple[str, ...]:
        """Return those of all links."""
        return tuple(dict.fromkeys(note for link in self.links for note in link.notes(family)))

    def expected_seconds(self, shapes: Sequence[tuple[int, ...]]) -> float:
        """Return the sum over the links."""
        return sum(link.expected_seconds(shapes) for link in self.links)

    def rows(self, pair: TensorPair) -> Rows:
        """Let every link look at what the one before it made."""
        links: list[Rows] = []
        for link in self.links:
            links.append(link.rows(_Made(pair, tuple(links)) if links else pair))

        def chained(base: torch.Tensor, tuned: torch.Tensor, first: int) -> torch.Tensor:
            return _apply(links, base, tuned, first)

        return chained


@dataclass(frozen=True)
class _Made:
    """A tensor of the base, and what some links made of it."""

    pair: TensorPair
    links: tuple[Rows, ...]

    @property
    def name(self) -> str:
        return self.pair.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pair.shape

    @property
    def config(self) -> Mapping[str, Any]:
        return self.pair.config

    def pieces(self) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        for first, base, tuned in self.pair.pieces():
            yield first, base, _apply(self.links, base, tuned, first)


def _apply(
    links: list[Rows] | tuple[Rows, ...], base: torch.Tensor, tuned: torch.Tensor, first: int
) -> torch.Tensor:
    for link in links:
        made = link(base, tuned, first)
        # The next link may overwrite what it is given, but not the base.
        tuned = tuned.copy_(made) if made is base else made
    return tuned


def scaled(share: float) -> Rows:
    """Return the function of a tensor whose change is multiplied; exact where that is by 0 or 1."""
    import torch

    def rows(base: torch.Tensor, tuned: torch.Tensor, first: int) -> torch.Tensor:
        if share in (0, 1):
            return tuned if share else base
        return torch.lerp(base, tuned, share, out=tuned)

    return rows


def fraction(text: str, spec: Spec, *, what: str, above_zero: bool = False) -> float:
    """Return a number from 0 to 1 that stands in a spec.

    Args:
        text: As the user wrote it.
        spec: Of the member, for the message.
        what: What the number is, such as ``share of the change``.
        above_zero: Whether zero is refused.

    Raises:
        UserError: It is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1 or (above_zero and value == 0):
        least = "above 0" if above_zero else "0"
        raise UserError(
            f"The member '{spec.text}' has '{text}' for its {what}; expected a number from "
            f"{least} to 1.",
            hint=f"Write {spec.name}:0.5, or several with commas: {spec.name}:0.2,0.4.",
        )
    return value


def shortest(value: float) -> str:
    """Return a number as people write it.

    Example:
        >>> shortest(1.0), shortest(0.25), shortest(1 / 3)
        ('1', '0.25', '0.3333333333333333')
    """
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
