"""Engines: where work is done."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.engines.crew import Crew, Death, Event, Hand, Place
    from palimpsest.engines.engine import Done, Engine, Work, attempt, make_engine, n_cores

__all__ = [
    "Crew", "Death", "Done", "Engine", "Event", "Hand", "Place", "Work", "attempt", "make_engine",
    "n_cores",
]  # fmt: skip

lazy_face(globals())
