"""Families of models: what lies between a base and a tuned model, asked as one network."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.families.checkpoints import SavedStep, saved_steps
    from palimpsest.families.family import Family
    from palimpsest.families.finished import (
        read_restoration,
        read_trace,
        rewrite_family_reports,
    )
    from palimpsest.families.healing import (
        Healing,
        HealingRecipe,
        HealingRecord,
        parse_recipe,
    )
    from palimpsest.families.member import (
        Member,
        MemberChain,
        Rows,
        TensorPair,
        fraction,
        scaled,
        shortest,
    )
    from palimpsest.families.restoration import DEFAULT_MEMBERS, MARGIN, restore
    from palimpsest.families.restored import check_new_folder, write_member
    from palimpsest.families.short_training import heal
    from palimpsest.families.specs import MEMBERS, parse_members
    from palimpsest.families.target import Target, load_target
    from palimpsest.families.tracing import trace

__all__ = [
    "DEFAULT_MEMBERS", "MARGIN", "MEMBERS", "Family", "Healing", "HealingRecipe", "HealingRecord",
    "Member", "MemberChain", "Rows", "SavedStep", "Target", "TensorPair", "check_new_folder",
    "fraction", "heal", "load_target", "parse_members", "parse_recipe", "read_restoration",
    "read_trace", "restore", "rewrite_family_reports", "saved_steps", "scaled", "shortest", "trace",
    "write_member",
]  # fmt: skip

lazy_face(globals())
