r"""Tuning towards the model's own samples, reweighted: what stands for reverse KL in regression.

A prompt's labels are a sequence, and the divergence of two distributions over sequences is a sum
over positions, along sequences *of the first one*:

.. math:: KL(q ‖ p) = E_{y ∼ q} \sum_k KL(q_k ‖ p_k)

A model that answers with a number is taken for :math:`q_k = N(f_k, s^2)`, and the target for
:math:`N(m_k, s^2)` with its predictive mean :math:`m_k`. Then each term is
:math:`(f_k - m_k)^2 / 2s^2` in either direction, and forward and reverse KL differ in *whose labels
the prompts hold* alone: the target's (imitation), or the model's own. As is usual, no gradient goes
through the sampling.

The model's own labels are those of the mixture of tasks that it was pretrained on: a base that has
converged *is* that mixture, prior included. They are not sampled from its answers one by one, as a
mean has no second mode to sample from. The target is :math:`p ∝ q \exp(r)` with a reward r for
every sequence of a discrete task, the optimum of rewarded tuning that is held to the base by KL:
the Bayes mixture with the prior

.. math:: α', \qquad \operatorname{logit} α' = \operatorname{logit} α + r

At α' = 1 it is the discrete set alone.

Source: Balasubramanian and Kasiviswanathan, 2026 (arXiv 2603.12163), for two Gaussian modes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from palimpsest.lab.checks import check_share
from palimpsest.lab.problem import Batch
from palimpsest.lab.training.loop import Source
from palimpsest.lab.training.remedies import Remedy, Tuning


@dataclass(frozen=True)
class OwnSamples(Remedy):
    """Prompts as the base would continue them, answered by the Bayes mixture of another prior.

    They take the place of all other prompts.

    Raises:
        UserError: The share lies outside 0 to 1.
    """

    share: float
    """α', the share of the discrete tasks in the target."""

    def __post_init__(self) -> None:
        check_share("own_samples", self.share)

    def source(self, tuning: Tuning, source: Source) -> Source:
        """Return prompts of the pretraining's ``D_mix`` with the target's expectation of each y."""
        target = replace(tuning.problem, alpha=self.share).bayes("mix")
        assert target is not None
        size, seed = tuning.training.batch_size, tuning.training.seed

        def draw(step: int) -> Batch:
            return tuning.pretrained_on.batch("mix", size, seed=seed, step=step)

        def answers(step: int, batch: Batch) -> Tensor:
            return target(batch.xs, batch.ys)

        return Source(draw, answers, answers)
