"""Inspect AI: models, solvers, tasks and a scorer, as :mod:`..inspect_registry` offers them."""

from typing import TYPE_CHECKING

from palimpsest.errors import from_extra
from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.integrations.inspect_ai.host import PACKAGE, in_package, typed
    from palimpsest.integrations.inspect_ai.model import ConjugateAPI
    from palimpsest.integrations.inspect_ai.scoring import build_scorer
    from palimpsest.integrations.inspect_ai.solving import build_solver
    from palimpsest.integrations.inspect_ai.tasks import plan

__all__ = ["PACKAGE", "ConjugateAPI", "build_scorer", "build_solver", "in_package", "plan", "typed"]

lazy_face(globals())

with from_extra("Models, solvers and tasks for Inspect", package="inspect_ai", extra="inspect"):
    import inspect_ai

del inspect_ai
