"""Engines: where work is done."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.engines.crew import Crew, Death, Event, Hand, Place
    from palimpsest.engines.engine import (
        ENGINES,
        Done,
        Engine,
        Work,
        attempt,
        make_engine,
        n_cores,
    )
    from palimpsest.engines.local import default_workers

__all__ = [
    "ENGINES", "Crew", "Death", "Done", "Engine", "Event", "Hand", "Place", "Work", "attempt",
    "default_workers", "make_engine", "n_cores",
]  # fmt: skip

lazy_face(globals())
