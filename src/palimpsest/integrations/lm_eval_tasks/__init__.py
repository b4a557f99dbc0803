"""Tasks of lm-evaluation-harness as a suite: its prompts and metrics, our way of asking."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.integrations.lm_eval_tasks.documents import HarnessDocument
    from palimpsest.integrations.lm_eval_tasks.scoring import HarnessScorer
    from palimpsest.integrations.lm_eval_tasks.suite import build

__all__ = ["HarnessDocument", "HarnessScorer", "build"]

lazy_face(globals())
