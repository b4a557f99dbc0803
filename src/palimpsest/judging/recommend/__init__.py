"""Conjugations ranked without labels: the score, its evidence, and the recommendation."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.judging.recommend.evidence import (
        Likelihoods,
        Study,
        plain_text,
        score_texts,
        send,
    )
    from palimpsest.judging.recommend.ranking import Ranked, Recommendation, recommend
    from palimpsest.judging.recommend.score import MIN_FIDELITY, MIN_HANDLING, Gates, Term, terms

__all__ = [
    "MIN_FIDELITY", "MIN_HANDLING", "Gates", "Likelihoods", "Ranked", "Recommendation", "Study",
    "Term", "plain_text", "recommend", "score_texts", "send", "terms",
]  # fmt: skip

lazy_face(globals())
