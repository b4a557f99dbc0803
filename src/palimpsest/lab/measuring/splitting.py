r"""Excess loss on ``D_cont``, split into inference shift, bias and variance.

Ridge, c, is the posterior mean there, so a model's excess over it is the mean of
:math:`(f - c)^2`. A model f has as many equivalents as there are symmetries s of ``D_cont`` (and
seeds to train it with): :math:`f_s = s^{-1} \circ f \circ s` has the same loss. With the discrete
answers :math:`e_s` likewise,

.. math::
   f_s - c = \hat g (e_s - c) + r_s, \qquad
   E(f_s - c)^2 = \underbrace{\hat g^2 E(e_s - c)^2}_{\text{inference}}
   + \underbrace{2 \hat g E(e_s - c) r_s}_{\text{overlap}}
   + \underbrace{E \bar r^2}_{\text{bias}} + \underbrace{E(r_s - \bar r)^2}_{\text{variance}}

ĝ is the slope of :math:`f_s` on :math:`e_s` *over the symmetries of one prompt*, at each prefix. A
slope over prompts, :func:`~palimpsest.lab.measuring.inference.discrete_share`, takes a model that
merely shrinks ridge's answer for one that leans to the discrete one, as both go against c; over
symmetries, shrinkage does not vary. So the variance is what differs between equivalents of the
model for no reason of inference: noise, that an ensemble averages away. The bias is what they
share. The overlap is negative where bias and shift make up for each other.

Of finitely many members, :math:`\bar r^2` holds a part of the variance, which is taken off; with
several seeds, the variance is a nested analysis of variance. The parts add up exactly; an estimate
of one can fall below zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from palimpsest.errors import UserError
from palimpsest.lab.measuring.inference import N_RESAMPLES, Curve, outer_quantiles
from palimpsest.stats import Array, Interval, bootstrap_means, percentile_interval


class ExcessPart(NamedTuple):
    """One part of the excess loss."""

    value: float
    """Mean over prefixes."""
    interval: Interval
    """95 %, by bootstrap over prompts."""
    by_prefix: Curve


class ExcessSplit(NamedTuple):
    """The parts of the excess; all the others add up to it."""

    excess: ExcessPart
    """Mean of (f − c)², over all members."""
    inference: ExcessPart
    """Of a model that gives ridge's answer but for a share ĝ of the discrete one."""
    overlap: ExcessPart
    """Twice the product of that shift and the bias."""
    bias: ExcessPart
    """Shared by all members. With one seed, it holds what other seeds would have in other ways."""
    variance_symmetries: ExcessPart
    """Differs between the symmetries, within a seed."""
    variance_seeds: ExcessPart | None
    """Differs between the seeds; ``None`` for one seed."""
    share: Float[np.ndarray, " points"]
    """ĝ at each prefix; zero where the symmetries leave the discrete answers as they are."""


class _Moments(NamedTuple):
    """Means over seeds i and symmetries s of u = f − c and v = e − c; each (…, points)."""

    uu: Array
    uv: Array
    vv: Array
    mean_uu: Array
    """Of the squares of each seed's mean of u."""
    mean_uv: Array
    mean_vv: Array
    grand_uu: Array
    """Square of the mean of u over everything."""


def split_excess(
    predictions: Float[Tensor, "seeds members batch points"],
    ridge: Float[Tensor, "batch points"],
    discrete: Float[Tensor, "members batch points"],
    *,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
) -> ExcessSplit:
    """Split the excess loss of a model, or of one model trained with several seeds.

    Args:
        predictions: f_s of each seed under each symmetry, inverted; see
            :meth:`palimpsest.lab.conjugations.ensembles.PromptEnsemble.members`.
        ridge: c.
        discrete: e_s under the same symmetries, of ``D_cont`` but not of ``D_disc``. The Bayes
            mixture at α̂ may stand in its place: the inference part is then what that prior
            explains, prompt by prompt.
        rng: The source of randomness of the bootstrap.
        n_resamples: Bootstrap resamples.

    Raises:
        UserError: Fewer than two symmetries, or shapes that do not fit.
    """
    n_seeds, n_members = predictions.shape[:2]
    if n_members < 2:
        raise UserError("Bias and variance need at least two symmetries; got one.")
    if discrete.shape != predictions.shape[1:] or ridge.shape != predictions.shape[2:]:
        raise UserError(
            f"Predictions of {tuple(predictions.shape)} need discrete answers of "
            f"{tuple(predictions.shape[1:])} and ridge answers of {tuple(predictions.shape[2:])}; "
            f"got {tuple(discrete.shape)} and {tuple(ridge.shape)}."
        )
    moments = _moments(predictions, ridge, discrete)
    n_prompts, n_points = moments.uu.shape
    means = bootstrap_means(
        np.column_stack(moments), range(n_prompts), rng=rng, n_resamples=n_resamples
    )
    resampled = _Moments(*(means.reshape(n_resamples, -1, n_points).swapaxes(0, 1)))
    whole = _Moments(*(moment.mean(0) for moment in moments))
    found, spread = (_split(part, n_seeds, n_members) for part in (whole, resampled))
    parts = [
        ExcessPart(
            value=float(value.mean()),
            interval=percentile_interval(values.mean(1)),
            by_prefix=Curve(value, *outer_quantiles(values)),
        )
        for value, values in zip(found, spread, strict=True)
    ]
    return ExcessSplit(
        excess=parts[0],
        inference=parts[1],
        overlap=parts[2],
        bias=parts[3],
        variance_symmetries=parts[4],
        variance_seeds=parts[5] if n_seeds > 1 else None,
        share=_share(whole),
    )


def _moments(predictions: Tensor, ridge: Tensor, discrete: Tensor) -> _Moments:
    """Return the moments of each prompt, (prompts, points)."""
    u = (predictions.double() - ridge.double()).numpy()
    v = (discrete.double() - ridge.double()).numpy()
    mean_u, mean_v = u.mean(1), v.mean(0)
    return _Moments(
        uu=(u**2).mean((0, 1)),
        uv=(u * v).mean((0, 1)),
        vv=(v**2).mean(0),
        mean_uu=(mean_u**2).mean(0),
        mean_uv=mean_u.mean(0) * mean_v,
        mean_vv=mean_v**2,
        grand_uu=mean_u.mean(0) ** 2,
    )


def _share(of: _Moments) -> Array:
    """Return ĝ, the slope within prompts."""
    varies = of.vv - of.mean_vv
    # Where the answers do not vary, rounding leaves a hair.
    is_clear = varies > 1e-12 * of.vv
    return np.divide(of.uv - of.mean_uv, varies, out=np.zeros_like(varies), where=is_clear)


def _split(of: _Moments, n_seeds: int, n_members: int) -> tuple[Array, ...]:
    """Return excess, inference, overlap, bias, and the variances over symmetries and seeds."""
    g = _share(of)
    residual = of.uu - 2 * g * of.uv + g**2 * of.vv
    seed_means = of.mean_uu - 2 * g * of.mean_uv + g**2 * of.mean_vv
    grand_mean = of.grand_uu - 2 * g * of.mean_uv + g**2 * of.mean_vv
    within = (residual - seed_means) * n_members / (n_members - 1)
    if n_seeds == 1:
        between = np.zeros_like(within)
    else:
        between = (seed_means - grand_mean) * n_seeds / (n_seeds - 1) - within / n_members
    bias = grand_mean - between / n_seeds - within / (n_seeds * n_members)
    overlap = 2 * g * (of.uv - g * of.vv)
    return of.uu, g**2 * of.vv, overlap, bias, within, between
