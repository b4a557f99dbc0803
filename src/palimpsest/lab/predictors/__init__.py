"""Predictors of the next label: exact Bayes estimators and transformers, called alike."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lab.predictors.discrete import DiscreteEstimator
    from palimpsest.lab.predictors.mixture import MixtureEstimator, MixturePass
    from palimpsest.lab.predictors.predictor import (
        OnFeatures,
        Predictor,
        Prompt,
        fitting_prompts_per_call,
        in_blocks,
        predict,
        predict_zero,
    )
    from palimpsest.lab.predictors.ridge import OrdinaryLeastSquares, RidgeEstimator
    from palimpsest.lab.predictors.transformer import (
        Transformer,
        TransformerConfig,
        load_transformer,
        new_transformer,
        save_transformer,
    )

__all__ = [
    "DiscreteEstimator", "MixtureEstimator", "MixturePass", "OnFeatures", "OrdinaryLeastSquares",
    "Predictor", "Prompt", "RidgeEstimator", "Transformer", "TransformerConfig",
    "fitting_prompts_per_call", "in_blocks", "load_transformer", "new_transformer", "predict",
    "predict_zero", "save_transformer",
]  # fmt: skip

lazy_face(globals())
