"""Language models behind one protocol: Hugging Face checkpoints, endpoints, scripted answers."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lm.models.budget import Budget, Chargeable, PriceTable
    from palimpsest.lm.models.protocol import (
        N_SHARED,
        AsksAsLmEval,
        AsksInOtherBatches,
        Decided,
        Generation,
        Joint,
        LanguageModel,
        Movable,
        NextToken,
        Origin,
        ScoringUnavailableError,
        SharesWeights,
        ShowsTokens,
        SpreadOverGpus,
        TellsIfAsked,
        TellsMargins,
        TellsNextTokens,
        WritesPrompts,
        can_score,
    )
    from palimpsest.lm.models.rosetta import ROSETTA_WEIGHTS
    from palimpsest.lm.models.sampling import CanSample, DrawsAnswers, Sampling
    from palimpsest.lm.models.scripted import ScriptedModel
    from palimpsest.lm.models.specs import in_form, load_model, parse_model_spec

__all__ = [
    "N_SHARED", "ROSETTA_WEIGHTS", "AsksAsLmEval", "AsksInOtherBatches", "Budget", "CanSample",
    "Chargeable", "Decided", "DrawsAnswers", "Generation", "Joint", "LanguageModel", "Movable",
    "NextToken", "Origin", "PriceTable", "Sampling", "ScoringUnavailableError", "ScriptedModel",
    "SharesWeights", "ShowsTokens", "SpreadOverGpus", "TellsIfAsked", "TellsMargins",
    "TellsNextTokens", "WritesPrompts", "can_score", "in_form", "load_model", "parse_model_spec",
]  # fmt: skip

lazy_face(globals())
