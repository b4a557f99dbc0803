"""Models by name: ``hf:PATH_OR_ID,dtype=bfloat16``, ``rosetta:base``, ``scripted:FILE.json``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.models.protocol import LanguageModel
from palimpsest.registry import Registry


@dataclass(frozen=True)
class ModelSpec:
    """A model as the user wrote it, taken apart."""

    text: str
    """The whole text, as typed."""

    back_end: str
    """A name in :data:`MODELS`."""

    target: str
    """What the back end opens: a path, an id or a name."""

    options: Mapping[str, str] = field(default_factory=dict)
    """The ``key=value`` parts."""

    def allow(self, names: Sequence[str]) -> None:
        """Raise :class:`UserError` for the first option that is not one of ``names``."""
        for name in self.options:
            if name not in names:
                raise _unknown_option(self, name, names)


ModelFactory = Callable[[ModelSpec], LanguageModel]

MODELS: Registry[ModelFactory] = Registry(
    "model",
    {
        "hf": "palimpsest.lm.models.huggingface.options:load",
        "openai": "palimpsest.lm.models.openai.options:load",
        "rosetta": "palimpsest.rosetta.models:load",
        "scripted": "palimpsest.lm.models.scripted:load",
    },
)

_PREFIX = re.compile(r"([a-z][a-z0-9_-]+):(.*)", re.DOTALL)
_OPTION = re.compile(r"([a-z_]+)=(.*)", re.DOTALL)


def load_model(spec: str) -> LanguageModel:
    """Open the model that ``spec`` names.

    Files are checked and hashed now; Hugging Face weights come into memory at the first question,
    so that a base and a tuned model can be opened together and asked one after the other.

    Raises:
        UserError: No such back end, path or option, or a checkpoint that cannot be used.
    """
    parsed = parse_model_spec(spec)
    return MODELS.get(parsed.back_end)(parsed)


def parse_model_spec(text: str) -> ModelSpec:
    """Take ``[BACK_END:]TARGET[,key=value…]`` apart; without a back end it is ``hf``.

    Commas that no ``key=value`` follows belong to the target, and an existing path wins over a
    reading of its first letters as a back end.

    Raises:
        UserError: The text is empty, or its back end is not registered.

    Example:
        >>> spec = parse_model_spec("hf:runs/tuned,dtype=bfloat16,chat=true")
        >>> spec.back_end, spec.target, dict(spec.options)
        ('hf', 'runs/tuned', {'dtype': 'bfloat16', 'chat': 'true'})
        >>> parse_model_spec("org/name").back_end
        'hf'
    """
    target, options = _split_options(text.strip())
    back_end = "hf"
    match = _PREFIX.fullmatch(target)
    if match and not Path(target).exists():
        back_end, target = match.groups()
        if back_end not in MODELS:
            raise MODELS.unknown(back_end)
    if not target:
        raise UserError(
            f"The model '{text}' names nothing to open.",
            hint="Write a path, a Hugging Face id, or one of: palimpsest list models",
        )
    return ModelSpec(text, back_end, target, options)


def _split_options(text: str) -> tuple[str, dict[str, str]]:
    target, *parts = text.split(",")
    while parts and not _OPTION.fullmatch(parts[0]):
        target = f"{target},{parts.pop(0)}"
    options: dict[str, str] = {}
    for part in parts:
        match = _OPTION.fullmatch(part)
        if match is None:
            raise UserError(
                f"The model '{text}' has '{part}' after its options.",
                hint="Write options as key=value, separated by commas: hf:PATH,chat=true",
            )
        if match[1] in options:
            raise UserError(
                f"The model '{text}' gives '{match[1]}' twice.", hint="Keep one of the two."
            )
        options[match[1]] = match[2]
    return target, options


def _unknown_option(spec: ModelSpec, name: str, names: Sequence[str]) -> UserError:
    known = ", ".join(names) if names else "none"
    return UserError(
        f"The model back end '{spec.back_end}' has no option '{name}'.{did_you_mean(name, names)}",
        hint=f"Its options: {known}.",
    )
