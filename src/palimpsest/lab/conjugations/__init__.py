"""Conjugations of regression prompts, and ensembles of them."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lab.conjugations.ensembles import (
        GROUPS,
        PromptEnsemble,
        default_kind,
        symmetry_ensemble,
    )
    from palimpsest.lab.conjugations.transformations import (
        LabelNegation,
        LabelScaling,
        PromptConjugation,
        conjugated,
        is_symmetry,
        symmetry_note,
    )

__all__ = [
    "GROUPS", "LabelNegation", "LabelScaling", "PromptConjugation", "PromptEnsemble",
    "conjugated", "default_kind", "is_symmetry", "symmetry_ensemble", "symmetry_note",
]  # fmt: skip

lazy_face(globals())
