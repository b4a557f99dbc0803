"""Options of ``vllm:PATH_OR_ID[,key=value…]``, and the model that they open.

Nothing here loads vLLM, torch or transformers, so that back ends can be listed without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface import HuggingFaceOptions
from palimpsest.specs import Spec

if TYPE_CHECKING:
    from palimpsest.lm.models.vllm.model import VllmModel

SHARED = ("dtype", "adapter", "chat", "revision", "thinking_tokens", "trust_remote_code")
"""Options that mean what they mean for ``hf``; and ``template.NAME``."""


@dataclass(frozen=True)
class VllmOptions:
    """What may follow ``vllm:PATH_OR_ID``, besides :data:`SHARED`."""

    tensor_parallel_size: int = 1
    """GPUs over which one copy of the model is spread."""

    gpu_memory_utilization: float | None = None
    """Share of a GPU's memory that vLLM may take; by default its own choice."""

    max_model_len: int | None = None
    """Tokens of prompt and answer together; by default what the model can look back."""

    max_num_seqs: int | None = None
    """Prompts that are answered at once; by default vLLM's own choice."""

    quantization: str | None = None
    """How vLLM quantises the weights, such as ``fp8``."""

    enforce_eager: bool = False
    """Whether to do without CUDA graphs: it starts sooner and answers more slowly."""

    @property
    def changing(self) -> Mapping[str, object]:
        """Those that change answers, where they are not at their default."""
        values = {"max_model_len": self.max_model_len, "quantization": self.quantization}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def parse(cls, spec: Spec) -> tuple[VllmOptions, HuggingFaceOptions]:
        """Read the options of a spec: its own, and those that ``hf`` has as well.

        Raises:
            UserError: An option is unknown, or its value is not of its kind.
        """
        variables = [f"template.{name}" for name in spec.variables("template")]
        own = list(cls.__dataclass_fields__)
        spec.allow([*SHARED, *own, *variables])
        shared = {name: value for name, value in spec.options.items() if name not in own}
        return (
            cls(
                tensor_parallel_size=spec.count("tensor_parallel_size", 1),
                gpu_memory_utilization=_share(spec, "gpu_memory_utilization"),
                max_model_len=_count(spec, "max_model_len"),
                max_num_seqs=_count(spec, "max_num_seqs"),
                quantization=spec.options.get("quantization"),
                enforce_eager="enforce_eager" in spec.options and spec.flag("enforce_eager"),
            ),
            HuggingFaceOptions.parse(replace(spec, options=shared)),
        )


def _count(spec: Spec, name: str) -> int | None:
    return spec.count(name, 1) if name in spec.options else None


def _share(spec: Spec, name: str) -> float | None:
    if name not in spec.options:
        return None
    text = spec.options[name]
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise UserError(
            f"The option {name} of '{spec.text}' is '{text}'; expected a share from 0 to 1.",
            hint=f"For nine tenths of each GPU: {name}=0.9",
        )
    return share


def load(spec: Spec) -> VllmModel:
    """A causal language model in Hugging Face format, asked by vLLM in this process."""
    from palimpsest.lm.models.vllm.model import VllmModel

    return VllmModel(spec, *VllmOptions.parse(spec))
