"""Inspect AI: models, solvers, tasks and a scorer, as :mod:`..inspect_registry` offers them."""

from palimpsest.errors import MissingExtraError

try:
    import inspect_ai
except ModuleNotFoundError as error:
    if error.name != "inspect_ai":
        raise
    raise MissingExtraError(
        "Models, solvers and tasks for Inspect", package="inspect_ai", extra="inspect"
    ) from error

del inspect_ai
