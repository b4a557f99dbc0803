"""Scorers: which task an answer belongs to."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lm.scoring.prefix import PrefixScorer
    from palimpsest.lm.scoring.scorers import DEFAULT_SCORER, SCORERS, Scorer, scorer_for
    from palimpsest.lm.scoring.words import stands_in

__all__ = ["DEFAULT_SCORER", "SCORERS", "PrefixScorer", "Scorer", "scorer_for", "stands_in"]

lazy_face(globals())
