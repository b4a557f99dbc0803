"""Families of models: what lies between a base and a tuned model, asked as one network."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.families.checkpoints import SavedStep, saved_steps
    from palimpsest.families.family import Family
    from palimpsest.families.member import (
        Member,
        MemberChain,
        Rows,
        TensorPair,
        fraction,
        scaled,
        shortest,
    )
    from palimpsest.families.specs import MEMBERS, parse_members

__all__ = [
    "MEMBERS", "Family", "Member", "MemberChain", "Rows", "SavedStep", "TensorPair", "fraction",
    "parse_members", "saved_steps", "scaled", "shortest",
]  # fmt: skip

lazy_face(globals())
