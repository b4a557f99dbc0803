"""Families of models: what lies between a base and a tuned model, asked as one network."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.families.checkpoints import SavedStep, saved_steps
    from palimpsest.families.family import Family
    from palimpsest.families.member import Member, Rows, TensorPair, fraction, shortest
    from palimpsest.families.restore import DEFAULT_MEMBERS, MARGIN, restore
    from palimpsest.families.specs import MEMBERS, parse_members
    from palimpsest.families.trace import trace

__all__ = [
    "DEFAULT_MEMBERS", "MARGIN", "MEMBERS", "Family", "Member", "Rows", "SavedStep", "TensorPair",
    "fraction", "parse_members", "restore", "saved_steps", "shortest", "trace",
]  # fmt: skip

lazy_face(globals())
