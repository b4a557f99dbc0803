"""Device and dtype, configuration, tokenizer, weights and adapter of a checkpoint, opened."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from palimpsest.errors import MissingExtraError, UserError
from palimpsest.lm.models.huggingface.checkpoint import Checkpoint, read_json
from palimpsest.lm.models.huggingface.fused_llama import (
    PlainLlamaConfig,
    plain_config,
    plain_shapes,
)
from palimpsest.lm.models.huggingface.memory import free_memory, is_out_of_memory
from palimpsest.lm.models.huggingface.options import DTYPE_NAMES
from palimpsest.lm.models.huggingface.quiet import quietly
from palimpsest.lm.models.huggingface.spreading import Placed

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
def explained(what: str, hint: str, kind: type[UserError] = UserError) -> Iterator[None]:
    """Turn whatever a library raises while it opens a file into a message of ours.

    Args:
        what: Was to be opened, such as ``The model 'x'``.
        hint: What to do about it.
        kind: Of the error that is raised.
    """
    try:
        with quietly():
            yield
    except UserError:
        raise
    except Exception as error:  # libraries raise OSError, ValueError, KeyError, and their own
        raise kind(f"{what} could not be opened: {_reason(error)}", hint=hint) from error


def _reason(error: Exception) -> str:
    """Return the first line of a message, and the next where the first only announces it."""
    first, *others = str(error).strip().splitlines() or [type(error).__name__]
    return f"{first} {others[0].strip()}" if first.endswith(":") and others else first


def check_complete(name: str, report: Mapping[str, Any], kind: type[UserError] = UserError) -> None:
    """Raise an error if weights that a model needs are not in its files.

    Args:
        name: The model's, for the message.
        report: What transformers says of loading.
        kind: Of the error that is raised.
    """
    missing = sorted(report["missing_keys"])
    if missing:
        raise kind(
            f"The weights of '{name}' lack {len(missing)} tensors that the model needs, "
            f"such as {missing[0]}; transformers would fill them at random.",
            hint="Save the whole model, with all of its heads: model.save_pretrained(folder)",
        )


def load_config(checkpoint: Checkpoint) -> PreTrainedConfig:
    """Return the model's configuration.

    Raises:
        UserError: It cannot be read, needs code that was not asked for, or is no causal model's.
    """
    path = checkpoint.folder / "config.json"
    facts = read_json(path)
    if (plain := plain_config(facts)) is not None:
        return plain
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    has_code = "auto_map" in facts and facts.get("model_type") not in CONFIG_MAPPING
    if has_code and not checkpoint.code:
        raise UserError(
            f"The model '{checkpoint.name}' comes with Python code of its own.",
            hint="If you have read and trust it, add the option trust_remote_code=true.",
        )
    config = _whole_config(checkpoint)
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"The model '{checkpoint.name}' ({config.model_type}) is an encoder-decoder.",
            hint="Only models that continue a text (causal language models) can be diagnosed.",
        )
    return config


def _whole_config(checkpoint: Checkpoint) -> PreTrainedConfig:
    from transformers import AutoConfig

    hint = f"Look at {checkpoint.folder / 'config.json'}."
    with explained(f"The configuration of '{checkpoint.name}'", hint):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=checkpoint.code
        )
    return config


def load_tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """Return the tokenizer that lies beside the weights.

    Raises:
        UserError: There is none, or it cannot be read.
    """
    hint = f"Save it there: tokenizer.save_pretrained('{checkpoint.folder}')"
    if not checkpoint.has_tokenizer:
        raise UserError(f"The model '{checkpoint.name}' comes without a tokenizer.", hint=hint)
    with explained(f"The tokenizer of '{checkpoint.name}'", hint):
        tokenizer: PreTrainedTokenizerBase = _tokenizer_class(checkpoint.folder).from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=checkpoint.code
        )
    return tokenizer


def _tokenizer_class(folder: Path) -> Any:
    """Return what opens the tokenizer in a folder.

    AutoTokenizer imports the model's configuration to find the class, which takes longer than a
    short answer; a Llama with these two gets this one.
    """
    facts = [folder / "config.json", folder / "tokenizer_config.json", folder / "tokenizer.json"]
    if all(path.is_file() for path in facts):
        model, tokenizer = map(read_json, facts[:2])
        if (
            model.get("model_type") == "llama"
            and tokenizer.get("tokenizer_class") in {"TokenizersBackend", "PreTrainedTokenizerFast"}
            and "auto_map" not in tokenizer
        ):
            from transformers import PreTrainedTokenizerFast

            return PreTrainedTokenizerFast
    from transformers import AutoTokenizer

    return AutoTokenizer


def load_network(
    checkpoint: Checkpoint,
    *,
    device: torch.device,
    dtype: torch.dtype,
    placed: Placed | None = None,
    offload: Path | None = None,
) -> PreTrainedModel:
    """Return the network with its weights, on ``device``, ready to be asked.

    Args:
        checkpoint: Its files.
        device: Where it goes.
        dtype: Of its weights.
        placed: Which part goes where instead, for one that is spread (:func:`.place`).
        offload: The folder for what is placed on disk.

    Raises:
        UserError: The weights cannot be read, are incomplete, or do not fit into memory.
    """
    from transformers import AutoModelForCausalLM

    opened: Any
    hint = "Check that it loads with transformers' AutoModelForCausalLM.from_pretrained."
    with explained(f"The model '{checkpoint.name}'", hint):
        try:
            opened, report = cast(Any, AutoModelForCausalLM).from_pretrained(
                checkpoint.folder,
                dtype=dtype,
                local_files_only=True,
                trust_remote_code=checkpoint.code,
                use_safetensors=not checkpoint.pickled,
                output_loading_info=True,
                **({} if placed is None else {"device_map": dict(placed)}),
                **({} if offload is None else {"offload_folder": offload}),
            )
            opened = (opened if placed else opened.to(device)).eval()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            free_memory(device)
            raise UserError(
                f"The model '{checkpoint.name}' does not fit into the memory of '{device}'.",
                hint="Use a smaller dtype (dtype=bfloat16), another device, or several: "
                "device=auto.",
            ) from error
    check_complete(checkpoint.name, report)
    return cast("PreTrainedModel", opened)


def count_parameters(checkpoint: Checkpoint, config: PreTrainedConfig) -> int:
    """Return how many parameters the architecture has, tied ones once, without their values."""
    if isinstance(config, PlainLlamaConfig):
        return sum(map(math.prod, plain_shapes(config).values()))
    with without_weights(checkpoint) as network:
        return int(network.num_parameters())


@contextmanager
def without_weights(checkpoint: Checkpoint) -> Iterator[PreTrainedModel]:
    """Give the network without values."""
    from transformers import AutoModelForCausalLM

    hint = "Check that it loads with transformers' AutoModelForCausalLM.from_config."
    with explained(f"The model '{checkpoint.name}'", hint), torch.device("meta"):
        yield AutoModelForCausalLM.from_config(
            _whole_config(checkpoint), trust_remote_code=checkpoint.code
        )


def load_adapter(
    network: PreTrainedModel, adapter: Checkpoint, *, n_tokens: int
) -> PreTrainedModel:
    """Return ``network`` with a PEFT adapter on top, not merged.

    Args:
        network: The model that the adapter was trained on.
        adapter: Its files.
        n_tokens: Size of the tokenizer in use.

    Raises:
        MissingExtraError: ``peft`` is not installed.
        UserError: The adapter does not fit, or is one of virtual tokens.
    """
    try:
        from peft import PeftConfig, PeftModel
    except ImportError as error:
        raise MissingExtraError("Adapters", package="peft", extra="peft") from error
    hint = "Check that it was trained on this model."
    with explained(f"The adapter '{adapter.name}'", hint):
        config = PeftConfig.from_pretrained(str(adapter.folder))
        if config.is_prompt_learning:
            raise UserError(
                f"The adapter '{adapter.name}' works by virtual tokens ({config.peft_type.value}), "
                "which this back end does not support.",
                hint="Use an adapter that changes weights, such as LoRA.",
            )
        n_rows = _adapted_rows(network, adapter, n_tokens)
        if n_rows != _n_rows(network):
            network.resize_token_embeddings(n_rows, mean_resizing=False)
        adapted = PeftModel.from_pretrained(network, str(adapter.folder), is_trainable=False)
    return cast("PreTrainedModel", adapted.eval())


def count_embeddings(checkpoint: Checkpoint, adapter: Checkpoint, *, n_tokens: int) -> int:
    """Return how many token ids a model knows with an adapter on top; no weights are loaded."""
    with without_weights(checkpoint) as network:
        return _adapted_rows(network, adapter, n_tokens)


def _adapted_rows(network: PreTrainedModel, adapter: Checkpoint, n_tokens: int) -> int:
    """Return how many rows the embeddings must have for an adapter.

    They are as many as its own tensors have, which may be more than its tokenizer has tokens
    (padded), or fewer than the model has rows (cut to the tokenizer). If it has no tensors for
    embeddings, there must be enough for the tokenizer.
    """
    ends = (network.get_input_embeddings(), network.get_output_embeddings())
    layers = [f"base_model.model.{name}." for name, each in network.named_modules() if each in ends]
    found: dict[int, str] = {}
    for name, shape in _shapes(adapter).items():
        for layer in layers:
            if name.startswith(layer):
                part = name.removeprefix(layer)
                if part == "lora_embedding_A":
                    found.setdefault(shape[1], name)
                elif part.endswith("weight") and not part.startswith("lora_A"):
                    found.setdefault(shape[0], name)
    if len(found) > 1:
        rows = ", ".join(f"{n_rows:,} in {name}" for n_rows, name in sorted(found.items()))
        raise UserError(
            f"The adapter '{adapter.name}' has embeddings of different sizes: {rows} rows.",
            hint="Save it anew from the model that it was trained with.",
        )
    return next(iter(found), max(n_tokens, _n_rows(network)))


def _n_rows(network: PreTrainedModel) -> int:
    return int(cast(Any, network.get_input_embeddings()).num_embeddings)


def _shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a checkpoint's files by its name."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in checkpoint.weights:
        if checkpoint.pickled:
            tensors = torch.load(path, map_location="meta", weights_only=True)
            shapes |= {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        else:
            with safe_open(path, framework="pt") as opened:
                file: Any = opened
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return shapes
