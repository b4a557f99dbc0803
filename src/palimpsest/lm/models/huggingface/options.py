"""Options of ``hf:PATH_OR_ID[,key=value…]``, and the model that they open.

Nothing here loads torch or transformers, so that back ends can be listed without them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from palimpsest.errors import UserError
from palimpsest.specs import Spec

if TYPE_CHECKING:
    from palimpsest.lm.models.huggingface.model import HuggingFaceModel

DTYPE_NAMES = {
    "float64": "float64",
    "float32": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
    "fp32": "float32",
    "fp16": "float16",
    "bf16": "bfloat16",
}
"""torch's name of each dtype that can be asked for."""

THINKING_TOKENS = 4096
"""How many tokens a thought may get; most thoughts about one question are shorter."""


@dataclass(frozen=True)
class HuggingFaceOptions:
    """What may follow ``hf:PATH_OR_ID``."""

    dtype: str = "auto"
    """``auto`` is the checkpoint's on an accelerator and ``float32`` on the CPU."""

    device: str = "auto"
    """``auto`` is the first of ``cuda``, ``mps``, ``cpu`` that is there; where a model does not fit
    on one GPU, all of them."""

    adapter: str | None = None
    """A PEFT adapter, folder or id, on top of the model."""

    chat: bool | None = None
    """Whether prompts go through the chat template: all, none, or (``auto``) only messages."""

    revision: str | None = None
    """A branch, tag or commit on the Hub."""

    batch_tokens: int | None = None
    """Rows × columns of a batch; by default chosen from the device and its free memory."""

    thinking_tokens: int = THINKING_TOKENS
    """How many new tokens a thought may get, besides those of the answer."""

    template: Mapping[str, object] = field(default_factory=dict)
    """Variables of the chat template, each written as ``template.NAME=VALUE``."""

    trust_remote_code: bool = False
    """Whether Python code in the checkpoint may run."""

    pickle: bool = False
    """Whether pickle weights may be opened where there are no safetensors."""

    @property
    def changed(self) -> Mapping[str, object]:
        """Younger settings that change answers, unless they are at their default.

        So answers from before there were such settings are found again.
        """
        young: dict[str, object] = {"thinking_tokens": THINKING_TOKENS, "template": {}}
        values = {name: getattr(self, name) for name in young}
        return {name: value for name, value in values.items() if value != young[name]}

    @classmethod
    def parse(cls, spec: Spec) -> HuggingFaceOptions:
        """Read the options of ``spec``.

        Raises:
            UserError: An option is unknown, or its value is not of its kind.
        """
        template = spec.variables("template")
        variables = [f"template.{name}" for name in template]
        spec.allow([*(each.name for each in fields(cls) if each.name != "template"), *variables])
        values: dict[str, object] = {
            name: value for name, value in spec.options.items() if name not in variables
        }
        values["template"] = template
        flags = [name for name in ("chat", "trust_remote_code", "pickle") if name in spec.options]
        values |= {name: None if _is_auto(name, spec) else spec.flag(name) for name in flags}
        if "batch_tokens" in spec.options:
            values["batch_tokens"] = spec.count("batch_tokens", 8192)
        values["thinking_tokens"] = spec.count("thinking_tokens", THINKING_TOKENS)
        options = cls(**values)  # type: ignore[arg-type]
        if options.dtype != "auto" and options.dtype not in DTYPE_NAMES:
            raise UserError(
                f"No dtype named '{options.dtype}'.",
                hint="Use auto, float64, float32, float16 or bfloat16.",
            )
        return options


def _is_auto(name: str, spec: Spec) -> bool:
    return name == "chat" and spec.options[name].lower() == "auto"


def load(spec: Spec) -> HuggingFaceModel:
    """A causal language model in Hugging Face format: a folder, or an id on the Hub."""
    from palimpsest.lm.models.huggingface.model import HuggingFaceModel

    return HuggingFaceModel(spec, HuggingFaceOptions.parse(spec))
