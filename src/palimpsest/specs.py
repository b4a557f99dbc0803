"""Specs that users type, ``NAME[:TARGET][,key=value…]``: parsed once, for all that has a name."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from palimpsest.errors import UserError, did_you_mean
from palimpsest.registry import Registry

_YES, _NO = ("true", "yes", "1"), ("false", "no", "0")
_OPTION = re.compile(r"\s*[a-z_]+(?:\.[\w-]+)?=")
_BEFORE_OPTION = re.compile(rf",(?={_OPTION.pattern})")


@dataclass(frozen=True)
class Spec:
    """A model, translator or suite as the user wrote it, taken apart."""

    text: str
    """The whole text, as typed."""

    name: str
    """A name in the registry."""

    target: str = ""
    """What it opens or uses: a path, an id, an address; nothing for some."""

    options: Mapping[str, str] = field(default_factory=dict)
    """The ``key=value`` parts."""

    kind: str = "spec"
    """The user's word for it, such as ``model``."""

    def allow(self, names: Sequence[str], *, hint: str | None = None) -> None:
        """Raise :class:`UserError` for the first option that is not one of ``names``."""
        for name in self.options:
            if name not in names:
                raise UserError(
                    f"The {self.kind} '{self.name}' has no option '{name}'."
                    f"{did_you_mean(name, names)}",
                    hint=hint or f"Its options: {', '.join(names) or 'none'}.",
                )

    def variables(self, prefix: str) -> dict[str, object]:
        """Return the options ``PREFIX.NAME=VALUE`` by name, with values as JSON, or else as text.

        Example:
            >>> Spec("", "hf", options={"to.a": "false", "to.b": "x"}).variables("to")
            {'a': False, 'b': 'x'}
        """
        start = f"{prefix}."
        found = {name: value for name, value in self.options.items() if name.startswith(start)}
        return {name.removeprefix(start): _json_or_text(value) for name, value in found.items()}

    def count(self, name: str, default: int, *, most: int | None = None) -> int:
        """Return an option that is a whole number from 1, to ``most`` if that is given.

        Raises:
            UserError: It is none.
        """
        text = self.options.get(name, str(default))
        is_number = text.isascii() and text.isdecimal() and int(text) > 0
        if not is_number or (most is not None and int(text) > most):
            wrong = "; expected a whole number above zero" if most is None else ""
            wrong = wrong or f", which is no number from 1 to {most}"
            raise UserError(
                f"The option {name} is '{text}'{wrong}.", hint=f"Write {name}={default}."
            )
        return int(text)

    def whole_number(self, name: str, default: int) -> int:
        """Return an option that is a whole number from 0, such as a seed.

        Raises:
            UserError: It is none.
        """
        text = self.options.get(name, str(default))
        if not (text.isascii() and text.isdecimal()):
            raise UserError(
                f"The option {name} is '{text}'; expected a whole number.",
                hint=f"Write {name}={default}.",
            )
        return int(text)

    def seconds(self, name: str, default: float) -> float:
        """Return an option that is a time above zero.

        Raises:
            UserError: It is none.
        """
        text = self.options.get(name, f"{default:g}")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise UserError(
                f"The option {name} is '{text}'; expected seconds above zero.",
                hint=f"Write {name}={default:g}.",
            )
        return value

    def flag(self, name: str) -> bool:
        """Return an option that is true or false; false if it is not given.

        Raises:
            UserError: It is neither.
        """
        text = self.options.get(name, "false")
        if text.lower() not in (*_YES, *_NO):
            raise UserError(
                f"The option {name} is '{text}'; expected true or false.",
                hint=f"Write {name}=true.",
            )
        return text.lower() in _YES

    def one_of(self, name: str, values: Sequence[str], default: str) -> str:
        """Return an option that is one of some words.

        Raises:
            UserError: It is none of them.
        """
        text = self.options.get(name, default)
        if text not in values:
            raise UserError(
                f"The option {name} is '{text}'; expected {' or '.join(values)}."
                f"{did_you_mean(text, values)}",
                hint=f"Write {name}={values[0]}.",
            )
        return text


def _json_or_text(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def parse_spec(
    text: str,
    registry: Registry[Any],
    *,
    needs_target: Callable[[str], bool] = lambda name: True,
    commas_in_values: bool = False,
) -> Spec:
    """Take ``NAME[:TARGET][,key=value…]`` apart.

    Commas that no ``key=`` follows belong to what stands before them, so targets may have commas.

    Args:
        text: What the user typed.
        registry: Where the name is looked up; its kind is the word in messages.
        needs_target: Whether what stands right behind the colon of a name is its target, even if it
            looks like an option.
        commas_in_values: Whether an option's value may have commas, too.

    Raises:
        UserError: No such name, or an option given twice or followed by something else.

    Example:
        >>> spec = parse_spec("a:x,y,n=1", Registry("shape", {"a": "math:pi"}))
        >>> spec.name, spec.target, dict(spec.options)
        ('a', 'x,y', {'n': '1'})
    """
    text = text.strip()
    head, *parts = _BEFORE_OPTION.split(text)
    name, mark, target = re.split("([:,]|$)", head, maxsplit=1)
    name, target = name.strip(), target.strip()
    if name not in registry:
        raise registry.unknown(name)
    if is_option(target) and not (mark == ":" and needs_target(name)):
        parts, target = [target, *parts], ""
    options: dict[str, str] = {}
    for part in parts:
        key, _, value = part.lstrip().partition("=")
        if "," in value and not commas_in_values:
            raise UserError(
                f"The {registry.kind} '{text}' has '{value.split(',')[1]}' after its options.",
                hint="Write options as key=value, separated by commas.",
            )
        if key in options:
            raise UserError(
                f"The {registry.kind} '{text}' gives '{key}' twice.", hint="Keep one of the two."
            )
        options[key] = value
    return Spec(text, name, target, options, registry.kind)


def without_options(text: str) -> str:
    """Return a spec up to its first option.

    Example:
        >>> without_options("runs/a,b,chat=true")
        'runs/a,b'
    """
    return _BEFORE_OPTION.split(text, maxsplit=1)[0]


def is_option(text: str) -> bool:
    """Return whether a text begins like ``key=value``.

    Example:
        >>> is_option(" n=5"), is_option("./n=5")
        (True, False)
    """
    return _OPTION.match(text) is not None


def split_outside(text: str, separator: str) -> list[str]:
    """Split a text at the separators outside parentheses.

    Raises:
        ValueError: The parentheses do not match.

    Example:
        >>> split_outside("protect(leet|upper,urls)|rot13", "|")
        ['protect(leet|upper,urls)', 'rot13']
    """
    parts, depth = [""], 0
    for char in text:
        depth += (char == "(") - (char == ")")
        if depth < 0:
            break
        if char == separator and not depth:
            parts.append("")
        else:
            parts[-1] += char
    if depth:
        raise ValueError("The parentheses do not match.")
    return parts
