"""Options of ``hf:PATH_OR_ID[,key=value…]``, and the model that they open.

Nothing here loads torch or transformers, so that back ends can be listed without them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from palimpsest.errors import UserError
from palimpsest.lm.models.specs import ModelSpec

if TYPE_CHECKING:
    from palimpsest.lm.models.huggingface.model import HuggingFaceModel

DTYPE_NAMES = {
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
}
"""torch's name of each dtype that can be asked for."""

_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True)
class HuggingFaceOptions:
    """What may follow ``hf:PATH_OR_ID``."""

    dtype: str = "auto"
    """``auto`` is the checkpoint's on an accelerator and ``float32`` on the CPU."""

    device: str = "auto"
    """``auto`` is the first of ``cuda``, ``mps``, ``cpu`` that is there."""

    adapter: str | None = None
    """A PEFT adapter, folder or id, on top of the model."""

    chat: bool = False
    """Whether plain text is sent as one user message through the chat template."""

    revision: str | None = None
    """A branch, tag or commit on the Hub."""

    batch_tokens: int | None = None
    """Rows × columns of a batch; by default chosen from the device and its free memory."""

    trust_remote_code: bool = False
    """Whether Python code in the checkpoint may run."""

    pickle: bool = False
    """Whether pickle weights may be opened where there are no safetensors."""

    @classmethod
    def parse(cls, spec: ModelSpec) -> HuggingFaceOptions:
        """Read the options of ``spec``.

        Raises:
            UserError: An option is unknown, or its value is not of its kind.
        """
        spec.allow([field.name for field in fields(cls)])
        values: dict[str, object] = dict(spec.options)
        for name in ("chat", "trust_remote_code", "pickle"):
            if name in spec.options:
                values[name] = _boolean(name, spec.options[name])
        if "batch_tokens" in spec.options:
            values["batch_tokens"] = _positive("batch_tokens", spec.options["batch_tokens"])
        options = cls(**values)  # type: ignore[arg-type]
        if options.dtype != "auto" and options.dtype not in DTYPE_NAMES:
            raise UserError(
                f"No dtype named '{options.dtype}'.",
                hint="Use auto, float32, float16 or bfloat16.",
            )
        return options


def load(spec: ModelSpec) -> HuggingFaceModel:
    """A causal language model in Hugging Face format: a folder, or an id on the Hub."""
    from palimpsest.lm.models.huggingface.model import HuggingFaceModel

    return HuggingFaceModel(spec, HuggingFaceOptions.parse(spec))


def _boolean(name: str, text: str) -> bool:
    if text.lower() not in (*_YES, *_NO):
        raise UserError(
            f"The option {name} is '{text}'; expected true or false.", hint=f"Write {name}=true."
        )
    return text.lower() in _YES


def _positive(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UserError(
            f"The option {name} is '{text}'; expected a whole number above zero.",
            hint=f"Write {name}=8192, or leave it out.",
        )
    return int(text)
