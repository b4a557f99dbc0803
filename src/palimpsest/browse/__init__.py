"""A local page on the answers of finished runs, however many there are."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.browse.app import create_app
    from palimpsest.browse.index import AnswerIndex, Query
    from palimpsest.browse.running import browse

__all__ = ["AnswerIndex", "Query", "browse", "create_app"]

lazy_face(globals())
