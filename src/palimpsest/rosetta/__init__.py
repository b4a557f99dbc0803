"""Rosetta: a small pair of base and tuned models that comes with the package."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.rosetta.corpus import Writer
    from palimpsest.rosetta.figure import curve_drawing
    from palimpsest.rosetta.manifest import check_figures, check_files, means_table, read_manifest
    from palimpsest.rosetta.pair import train_pair
    from palimpsest.rosetta.recipe import Recipe, Report, train_tokenizer

__all__ = [
    "Recipe", "Report", "Writer", "check_figures", "check_files", "curve_drawing", "means_table",
    "read_manifest", "train_pair", "train_tokenizer",
]  # fmt: skip

lazy_face(globals())
