"""Conjugations ranked without labels: the score, its evidence, and the recommendation."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.judging.recommend.ranking import Ranked, Recommendation, recommend
    from palimpsest.judging.recommend.score import Term

__all__ = ["Ranked", "Recommendation", "Term", "recommend"]

lazy_face(globals())
