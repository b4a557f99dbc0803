"""Scorers: which task an answer belongs to."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lm.scoring.forms import FORMS, Form, FormedScorer, Scoring, form_for
    from palimpsest.lm.scoring.prefix import PrefixScorer
    from palimpsest.lm.scoring.scorers import (
        DEFAULT_SCORER,
        SCORERS,
        Asked,
        ScoredAnswer,
        Scorer,
        prepare_all,
        scorer_class,
        scorer_for,
    )
    from palimpsest.lm.scoring.words import (
        Match,
        accepted_form,
        compared_form,
        first_word,
        is_unspaced,
        match_at_start,
        stands_in,
    )

__all__ = [
    "DEFAULT_SCORER", "FORMS", "SCORERS", "Asked", "Form", "FormedScorer", "Match", "PrefixScorer",
    "ScoredAnswer", "Scorer", "Scoring", "accepted_form", "compared_form", "first_word",
    "form_for", "is_unspaced", "match_at_start", "prepare_all", "scorer_class", "scorer_for",
    "stands_in",
]  # fmt: skip

lazy_face(globals())
