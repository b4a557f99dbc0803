"""Engines: where work is done."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.engines.crew import Crew, Event, Hand
    from palimpsest.engines.engine import Done, Engine, Work, attempt, make_engine

__all__ = ["Crew", "Done", "Engine", "Event", "Hand", "Work", "attempt", "make_engine"]

lazy_face(globals())
