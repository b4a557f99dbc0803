"""Translators by name: ``apertium``, ``libretranslate:http://host:5000``, ``seq2seq:./nllb``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.translators.protocol import Translator
from palimpsest.registry import Registry

_HERE = "palimpsest.lm.translators"


@dataclass(frozen=True)
class TranslatorSpec:
    """A translator as the user wrote it, taken apart."""

    text: str
    """The whole text, as typed."""

    name: str
    """A name in :data:`TRANSLATORS`."""

    target: str = ""
    """What it uses: a path, an address, a model; nothing for some."""

    options: Mapping[str, str] = field(default_factory=dict)
    """The ``key=value`` parts."""

    def allow(self, names: Sequence[str], *, target: str | None = None) -> None:
        """Refuse what this translator does not know.

        Args:
            names: The options that it has.
            target: What stands after the colon, in words; ``None`` if nothing may.

        Raises:
            UserError: An option that is not one of ``names``, or a target where none is known.
        """
        for name in self.options:
            if name not in names:
                raise UserError(
                    f"The translator '{self.name}' has no option '{name}'."
                    f"{did_you_mean(name, names)}",
                    hint=f"Its options: {', '.join(names) or 'none'}.",
                )
        if self.target and target is None:
            raise UserError(
                f"The translator '{self.name}' takes nothing after a colon, but got "
                f"'{self.target}'.",
                hint=f"Write: @{self.name}",
            )

    def number(self, name: str, default: int, *, most: int) -> int:
        """Return an option that is a number from 1 to ``most``.

        Raises:
            UserError: It is none.
        """
        text = self.options.get(name, str(default))
        if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= most:
            raise UserError(
                f"The option {name}={text} of {self.name} is no number from 1 to {most}.",
                hint=f"Write one, such as: {self.name},{name}={default}",
            )
        return int(text)


TranslatorFactory = Callable[[TranslatorSpec], Translator]

TRANSLATORS: Registry[TranslatorFactory] = Registry(
    "translator",
    {
        "apertium": f"{_HERE}.apertium:load",
        "libretranslate": f"{_HERE}.libretranslate:load",
        "seq2seq": f"{_HERE}.seq2seq:load",
        "deepl": f"{_HERE}.deepl:load",
        "model": f"{_HERE}.model:load",
    },
)
"""Names to functions of a :class:`TranslatorSpec`; plugins use ``palimpsest.translators``."""

_OPTION = re.compile(r"([a-z_]+)=(.*)", re.DOTALL)


def load_translator(spec: str) -> Translator:
    """Return the translator that ``NAME[:TARGET][,key=value…]`` describes.

    Nothing is started, opened or asked yet.

    Raises:
        UserError: No such translator or option.

    Example:
        >>> load_translator("apertium").spec
        'apertium'
        >>> load_translator("apertum")
        Traceback (most recent call last):
        ...
        palimpsest.errors.UserError: No translator named 'apertum'. Did you mean 'apertium'?
        List them with: palimpsest list translators
    """
    parsed = parse_translator_spec(spec)
    return TRANSLATORS.get(parsed.name)(parsed)


def parse_translator_spec(text: str) -> TranslatorSpec:
    """Take ``NAME[:TARGET][,key=value…]`` apart; commas before the options are the target's.

    Raises:
        UserError: No such translator, or an option given twice or after something else.

    Example:
        >>> spec = parse_translator_spec("model:hf:./m,dtype=bfloat16")
        >>> spec.name, spec.target, dict(spec.options)
        ('model', 'hf:./m', {'dtype': 'bfloat16'})
    """
    head, *parts = text.strip().split(",")
    while parts and not _OPTION.fullmatch(parts[0]):
        head = f"{head},{parts.pop(0)}"
    name, _, target = head.partition(":")
    if name not in TRANSLATORS:
        raise TRANSLATORS.unknown(name)
    return TranslatorSpec(text.strip(), name, target, _options(text, parts))


def _options(text: str, parts: Sequence[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in parts:
        match = _OPTION.fullmatch(part)
        if match is None:
            raise UserError(
                f"The translator '{text}' has '{part}' after its options.",
                hint="Write options as key=value, separated by commas.",
            )
        if match[1] in options:
            raise UserError(
                f"The translator '{text}' gives '{match[1]}' twice.", hint="Keep one of the two."
            )
        options[match[1]] = match[2]
    return options
