"""lm-evaluation-harness under a conjugation: any of its models, wrapped in :class:`ConjugateLM`.

Importing this registers the model's name, ``conjugate``, with the harness.
"""

from palimpsest.errors import from_extra

with from_extra("Tasks of lm-evaluation-harness", package="lm_eval", extra="lm-eval"):
    from palimpsest.integrations.lm_eval.model import ConjugateLM

__all__ = ["ConjugateLM"]
