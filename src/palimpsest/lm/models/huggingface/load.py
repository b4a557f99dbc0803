"""The back end ``hf``: what lists or names it need not load torch and transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.specs import Spec

if TYPE_CHECKING:
    from palimpsest.lm.models.huggingface.model import HuggingFaceModel


def load(spec: Spec) -> HuggingFaceModel:
    """A causal language model in Hugging Face format: a folder, or an id on the Hub."""
    from palimpsest.lm.models.huggingface.model import HuggingFaceModel
    from palimpsest.lm.models.huggingface.options import HuggingFaceOptions

    return HuggingFaceModel(spec, HuggingFaceOptions.parse(spec))
