"""lm-evaluation-harness under a conjugation: any of its models, wrapped in :class:`ConjugateLM`.

Importing this registers the model's name, ``conjugate``, with the harness.
"""

from palimpsest.errors import MissingExtraError

try:
    from palimpsest.integrations.lm_eval.model import ConjugateLM
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "lm_eval":
        raise
    raise MissingExtraError(
        "Tasks of lm-evaluation-harness", package="lm_eval", extra="lm-eval"
    ) from error

__all__ = ["ConjugateLM"]
