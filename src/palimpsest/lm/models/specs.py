"""Registry of model back ends, and models by name: ``hf:PATH_OR_ID,dtype=bfloat16``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from palimpsest.errors import UserError
from palimpsest.files import working_in
from palimpsest.lm.models.protocol import LanguageModel
from palimpsest.registry import Registry
from palimpsest.specs import Spec, parse_spec, without_options

MODELS: Registry[Callable[[Spec], LanguageModel]] = Registry(
    "model",
    {
        "hf": "palimpsest.lm.models.huggingface.options:load",
        "openai": "palimpsest.lm.models.openai.options:load",
        "rosetta": "palimpsest.rosetta.models:load",
        "scripted": "palimpsest.lm.models.scripted:load",
        "vllm": "palimpsest.lm.models.vllm.options:load",
    },
)

_BACK_END = re.compile(r"[a-z][a-z0-9_-]+:")


def load_model(spec: str) -> LanguageModel:
    """Open the model that ``spec`` names.

    Files are checked and hashed now; Hugging Face weights come into memory at the first question,
    so that a base and a tuned model can be opened together and asked one after the other.

    Raises:
        UserError: No such back end, path or option, or a checkpoint that cannot be used.
    """
    parsed = parse_model_spec(spec)
    return MODELS.get(parsed.name)(parsed)


def load_model_from(folder: str, spec: str) -> LanguageModel:
    """Open the model that ``spec`` names for a process that works in ``folder``.

    Where there is no such folder, on another machine, paths are looked up from its own.
    """
    with working_in(folder):
        return load_model(spec)


_FORMS = {
    "hf": ("chat", {"plain": "false", "chat": "true"}),
    "vllm": ("chat", {"plain": "false", "chat": "true"}),
    "rosetta": ("chat", {"plain": "false", "chat": "true"}),
    "openai": ("api", {"plain": "completions", "chat": "chat"}),
}
"""The option of each back end that says in which form every prompt is sent, and its values."""


def in_form(spec: str, form: Literal["plain", "chat"]) -> str:
    """Return a model's spec with the option that sends it every prompt in one form.

    Raises:
        UserError: The back end knows no forms, or the spec says another.

    Example:
        >>> in_form("runs/tuned,dtype=bfloat16", "chat")
        'runs/tuned,dtype=bfloat16,chat=true'
    """
    parsed = parse_model_spec(spec)
    if parsed.name not in _FORMS:
        raise UserError(
            f"The model '{spec}' cannot be asked in the form '{form}': its back end, "
            f"'{parsed.name}', takes prompts as they are.",
            hint=f"Forms are known to {', '.join(_FORMS)}.",
        )
    option, values = _FORMS[parsed.name]
    given = parsed.options.get(option)
    if given not in (None, values[form]):
        raise UserError(
            f"The model '{spec}' says {option}={given}, and is to be asked in the form '{form}'.",
            hint=f"Leave out one of the two; '{form}' is short for {option}={values[form]}.",
        )
    return spec if given else f"{spec},{option}={values[form]}"


def parse_model_spec(text: str) -> Spec:
    """Take ``[BACK_END:]TARGET[,key=value…]`` apart; without a back end it is ``hf``.

    An existing path wins over a reading of its first letters as a back end.

    Raises:
        UserError: The text is empty, or its back end is not registered.

    Example:
        >>> spec = parse_model_spec("hf:runs/tuned,dtype=bfloat16,chat=true")
        >>> spec.name, spec.target, dict(spec.options)
        ('hf', 'runs/tuned', {'dtype': 'bfloat16', 'chat': 'true'})
        >>> parse_model_spec("org/name").name
        'hf'
    """
    named = text.strip()
    if not _BACK_END.match(named) or Path(without_options(named)).exists():
        named = f"hf:{named}"
    spec = parse_spec(named, MODELS)
    if not spec.target:
        raise UserError(
            f"The model '{text}' names nothing to open.",
            hint="Write a path, a Hugging Face id, or one of: palimpsest list models",
        )
    return replace(spec, text=text)
