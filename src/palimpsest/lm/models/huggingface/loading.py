"""Device and dtype, configuration, tokenizer, weights and adapter of a checkpoint, opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch

from palimpsest.errors import MissingExtraError, UserError
from palimpsest.lm.models.huggingface.checkpoint import Checkpoint, read_json
from palimpsest.lm.models.huggingface.memory import free_memory, is_out_of_memory
from palimpsest.lm.models.huggingface.options import DTYPE_NAMES
from palimpsest.lm.models.huggingface.quiet import quietly

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, DTYPE_NAMES[name]) for name in DTYPE_NAMES}


def choose_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is the first of cuda, mps and cpu that works.

    Raises:
        UserError: No such device, or it is not available here.
    """
    available = ["cpu"]
    if torch.backends.mps.is_available():
        available.insert(0, "mps")
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    if name == "auto":
        return torch.device(available[0])
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(
            f"No device named '{name}'.", hint=f"Available here: auto, {', '.join(available)}."
        ) from error
    n_cuda = torch.cuda.device_count() if "cuda" in available else 0
    if device.type not in available or (device.type == "cuda" and (device.index or 0) >= n_cuda):
        raise UserError(
            f"The device '{name}' is not available.",
            hint=f"Available here: auto, {', '.join(available)}.",
        )
    return device


def choose_dtype(name: str, config: PreTrainedConfig, device: torch.device) -> torch.dtype:
    """Return the dtype called ``name``; ``auto`` is float32 on the CPU, else the checkpoint's."""
    if name != "auto":
        return DTYPES[name]
    stored = getattr(config, "dtype", None)
    if device.type == "cpu" or not isinstance(stored, torch.dtype):
        return torch.float32
    return stored


@contextmanager
def _explained(what: str, hint: str) -> Iterator[None]:
    """Turn whatever a library raises while it opens a file into a message of ours."""
    try:
        with quietly():
            yield
    except UserError:
        raise
    except Exception as error:  # libraries raise OSError, ValueError, KeyError, and their own
        reason = str(error).strip().splitlines()
        raise UserError(
            f"{what} could not be opened: {reason[0] if reason else type(error).__name__}",
            hint=hint,
        ) from error


def load_config(checkpoint: Checkpoint) -> PreTrainedConfig:
    """Return the model's configuration.

    Raises:
        UserError: It cannot be read, needs code that was not asked for, or is no causal model's.
    """
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    path = checkpoint.folder / "config.json"
    facts = read_json(path)
    has_code = "auto_map" in facts and facts.get("model_type") not in CONFIG_MAPPING
    if has_code and not checkpoint.code:
        raise UserError(
            f"The model '{checkpoint.name}' comes with Python code of its own.",
            hint="If you have read and trust it, add the option trust_remote_code=true.",
        )
    with _explained(f"The configuration of '{checkpoint.name}'", f"Look at {path}."):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=checkpoint.code
        )
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"The model '{checkpoint.name}' ({config.model_type}) is an encoder-decoder.",
            hint="Only models that continue a text (causal language models) can be diagnosed.",
        )
    return config


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """Return the tokenizer that lies beside the weights.

    Raises:
        UserError: There is none, or it cannot be read.
    """
    from transformers import AutoTokenizer

    hint = f"Save it there: tokenizer.save_pretrained('{checkpoint.folder}')"
    if not checkpoint.has_tokenizer:
        raise UserError(f"The model '{checkpoint.name}' comes without a tokenizer.", hint=hint)
    with _explained(f"The tokenizer of '{checkpoint.name}'", hint):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=checkpoint.code
        )
    return tokenizer


def load_network(
    checkpoint: Checkpoint,
    config: PreTrainedConfig,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> PreTrainedModel:
    """Return the network with its weights, on ``device``, ready to be asked.

    Raises:
        UserError: The weights cannot be read, are incomplete, or do not fit into memory.
    """
    from transformers import AutoModelForCausalLM

    opened: Any
    hint = "Check that it loads with transformers' AutoModelForCausalLM.from_pretrained."
    with _explained(f"The model '{checkpoint.name}'", hint):
        try:
            opened, report = cast(Any, AutoModelForCausalLM).from_pretrained(
                checkpoint.folder,
                config=config,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=checkpoint.code,
                use_safetensors=not checkpoint.pickled,
                output_loading_info=True,
            )
            opened = opened.to(device).eval()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            free_memory(device)
            raise UserError(
                f"The model '{checkpoint.name}' does not fit into the memory of '{device}'.",
                hint="Use a smaller dtype (dtype=bfloat16) or another device.",
            ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            f"The weights of '{checkpoint.name}' lack {len(missing)} tensors that the model needs, "
            f"such as {missing[0]}; transformers would fill them at random.",
            hint="Save the whole model, with its language-modelling head: "
            "model.save_pretrained(folder)",
        )
    return cast("PreTrainedModel", opened)


def count_parameters(checkpoint: Checkpoint, config: PreTrainedConfig) -> int:
    """Return how many parameters the architecture has, tied ones once, without their values."""
    from transformers import AutoModelForCausalLM

    hint = "Check that it loads with transformers' AutoModelForCausalLM.from_config."
    with _explained(f"The model '{checkpoint.name}'", hint), torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config, trust_remote_code=checkpoint.code)
    return int(network.num_parameters())


def load_adapter(
    network: PreTrainedModel, adapter: Checkpoint, *, n_tokens: int
) -> PreTrainedModel:
    """Return ``network`` with a PEFT adapter on top, not merged.

    Args:
        network: The model that the adapter was trained on.
        adapter: Its files.
        n_tokens: Size of the tokenizer in use; missing embeddings are appended first.

    Raises:
        MissingExtraError: ``peft`` is not installed.
        UserError: The adapter does not fit, or is one of virtual tokens.
    """
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise MissingExtraError("Adapters", package="peft", extra="peft") from error
    hint = "Check that it was trained on this model."
    with _explained(f"The adapter '{adapter.name}'", hint):
        config = PeftConfig.from_pretrained(str(adapter.folder))
        if config.is_prompt_learning:
            raise UserError(
                f"The adapter '{adapter.name}' works by virtual tokens ({config.peft_type.value}), "
                "which this back end does not support.",
                hint="Use an adapter that changes weights, such as LoRA.",
            )
        if n_tokens > cast(Any, network.get_input_embeddings()).num_embeddings:
            network.resize_token_embeddings(n_tokens, mean_resizing=False)
        adapted = PeftModel.from_pretrained(network, str(adapter.folder), is_trainable=False)
    return cast("PreTrainedModel", adapted.eval())
