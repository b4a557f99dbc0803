"""The laboratory: implicit inference measured exactly, on in-context regression."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lab.checks import check_count
    from palimpsest.lab.streams import stream

__all__ = ["check_count", "stream"]

lazy_face(globals())
