"""Specs of members as the user types them: ``interpolate:0.2,0.4``, ``dg-hard|interpolate:0.7``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from palimpsest.errors import UserError
from palimpsest.families.member import Member, MemberChain
from palimpsest.registry import Registry
from palimpsest.specs import parse_spec, split_outside

_HERE = "palimpsest.families"

MEMBERS: Registry[type[Member]] = Registry(
    "member",
    {
        "base": f"{_HERE}.ends:Base",
        "tuned": f"{_HERE}.ends:Tuned",
        "checkpoints": f"{_HERE}.checkpoints:TrainingCheckpoint",
        "interpolate": f"{_HERE}.interpolate:WeightInterpolation",
        "lines": f"{_HERE}.lines:LayerScaling",
        "dg-hard": f"{_HERE}.spectral:SpectralDenoising",
        "ties": f"{_HERE}.ties:LargestChanges",
        "dare": f"{_HERE}.dare:DropAndRescale",
        "only": f"{_HERE}.only:PartOfChange",
        "healing": f"{_HERE}.healing:Healing",
    },
)
"""Names to classes, each with a ``parse``; plugins use ``palimpsest.members``."""


def parse_members(specs: Sequence[str]) -> tuple[Member, ...]:
    """Return the members that specs stand for, each once, in their order.

    A spec is a name with what the member needs, ``interpolate:0.2``; several values with commas
    stand for several members, ``interpolate:0.2,0.4``, and a folder for all checkpoints in it.
    Links of a chain are joined by ``|``: each acts on the base and on what the one before it made.

    Raises:
        UserError: An unknown name, a wrong value, or a chain of what cannot be chained.

    Example:
        >>> [member.spec for member in parse_members(["base", "interpolate:0.2,.40"])]
        ['base', 'interpolate:0.2', 'interpolate:0.4']
    """
    found = {member.spec: member for spec in specs for member in _parse(spec)}
    return tuple(found.values())


def _parse(text: str) -> list[Member]:
    links = [link.strip() for link in split_outside(text, "|")]
    if not all(links):
        raise UserError(
            f"The member '{text}' has an empty link.",
            hint="Write links with a bar between, such as: dg-hard|interpolate:0.7",
        )
    parsed = []
    for link in links:
        spec = parse_spec(link, MEMBERS)
        parsed.append(MEMBERS.get(spec.name).parse(spec))
    if len(parsed) == 1:
        return list(parsed[0])
    for member in (member for members in parsed for member in members):
        if not member.is_mixture:
            raise UserError(
                f"The member '{member.spec}' is a model of its own, and no link of a chain.",
                hint="Name it alone.",
            )
    return [MemberChain(chain) for chain in product(*parsed)]
