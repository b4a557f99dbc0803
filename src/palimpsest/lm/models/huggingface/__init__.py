"""The back end ``hf``: causal language models in Hugging Face format."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lm.models.huggingface.checkpoint import Checkpoint, find_model, hash_files
    from palimpsest.lm.models.huggingface.finite import broken_weight
    from palimpsest.lm.models.huggingface.loading import (
        DTYPES,
        check_complete,
        choose_device,
        explained,
    )
    from palimpsest.lm.models.huggingface.model import HuggingFaceModel, InMemoryModel
    from palimpsest.lm.models.huggingface.options import load
    from palimpsest.lm.models.huggingface.pair import Finding, Severity, check_pair, check_templates
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
    from palimpsest.lm.models.huggingface.weights import (
        AdapterChange,
        WeightChange,
        adapter_change,
        weight_change,
    )

__all__ = [
    "DTYPES", "PIECE_NUMBERS", "AdapterChange", "Background", "Checkpoint", "Finding",
    "HuggingFaceModel", "InMemoryModel", "Put", "ReweightedModel", "SafetensorsFile", "Severity",
    "SharedNetwork",
    "StoredTensor", "StoredWeights", "TensorReader", "WeightChange", "Weights", "adapter_change",
    "broken_weight", "check_complete", "check_pair", "check_templates", "choose_device",
    "explained", "find_model", "hash_files", "load", "one_core_threads", "quietly",
    "render_messages", "stored_weights", "weight_change",
]  # fmt: skip

lazy_face(globals())
