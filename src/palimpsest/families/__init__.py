"""Families of models: what lies between a base and a tuned model, asked as one network."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.families.checkpoints import SavedStep, saved_steps
    from palimpsest.families.family import Family
    from palimpsest.families.member import Member, Rows, TensorPair, fraction, shortest
    from palimpsest.families.specs import MEMBERS, parse_members

__all__ = [
    "MEMBERS", "Family", "Member", "Rows", "SavedStep", "TensorPair", "fraction", "parse_members",
    "saved_steps", "shortest",
]  # fmt: skip

lazy_face(globals())
