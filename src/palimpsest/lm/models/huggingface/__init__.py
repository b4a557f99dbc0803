"""The back end ``hf``: causal language models in Hugging Face format."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lm.models.huggingface.checkpoint import Checkpoint, find_model, hash_files
    from palimpsest.lm.models.huggingface.finite import broken_weight
    from palimpsest.lm.models.huggingface.fused_llama import generation_settings
    from palimpsest.lm.models.huggingface.likelihood import TokenizedCandidate, encode_candidates
    from palimpsest.lm.models.huggingface.loading import (
        DTYPES,
        check_complete,
        choose_device,
        explained,
    )
    from palimpsest.lm.models.huggingface.model import HuggingFaceModel, InMemoryModel
    from palimpsest.lm.models.huggingface.next_tokens import AnswerTexts
    from palimpsest.lm.models.huggingface.options import HuggingFaceOptions, load
    from palimpsest.lm.models.huggingface.pair import Finding, Severity, check_pair, check_templates
    from palimpsest.lm.models.huggingface.pending import PendingPrompt, finished_answer
    from palimpsest.lm.models.huggingface.quiet import quietly
    from palimpsest.lm.models.huggingface.reweighted import (
        Background,
        Put,
        ReweightedModel,
        SharedNetwork,
        Weights,
    )
    from palimpsest.lm.models.huggingface.small_networks import one_core_threads
    from palimpsest.lm.models.huggingface.stored import (
        PIECE_NUMBERS,
        SafetensorsFile,
        StoredTensor,
        StoredWeights,
        TensorReader,
        stored_weights,
    )
    from palimpsest.lm.models.huggingface.templates import render_messages
    from palimpsest.lm.models.huggingface.tokenization import Detokenizer
    from palimpsest.lm.models.huggingface.weights import (
        AdapterChange,
        WeightChange,
        adapter_change,
        weight_change,
    )

__all__ = [
    "DTYPES", "PIECE_NUMBERS", "AdapterChange", "AnswerTexts", "Background", "Checkpoint",
    "Detokenizer", "Finding", "HuggingFaceModel", "HuggingFaceOptions", "InMemoryModel",
    "PendingPrompt", "Put", "ReweightedModel", "SafetensorsFile", "Severity", "SharedNetwork",
    "StoredTensor", "StoredWeights", "TensorReader", "TokenizedCandidate", "WeightChange",
    "Weights", "adapter_change", "broken_weight", "check_complete", "check_pair",
    "check_templates", "choose_device", "encode_candidates", "explained", "find_model",
    "finished_answer", "generation_settings", "hash_files", "load", "one_core_threads",
    "quietly", "render_messages", "stored_weights", "weight_change",
]  # fmt: skip

lazy_face(globals())
