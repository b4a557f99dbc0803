"""Arguments that somebody else wrote: which of them would run code, or ask others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from palimpsest.lm.scoring import SCORERS
from palimpsest.lm.suites import parse_suite_spec

_SUITES_OF_TEXT = frozenset(
    {"abilities", "icl-vs-if", "jsonl", "nli", "rosetta", "rosetta-instructions", "rows"}
)
"""Suites that read texts alone. A task of ``lm-eval`` may name functions; what a plugin's suite
does is its own affair."""

_TRANSLATORS_HERE = frozenset({"apertium"})
"""Translators that work on this machine with what is installed. All others send texts, and perhaps
a key, to an address, fetch weights, or open a model with whatever options."""

_TRANSLATOR = re.compile(r"@\s*([^\s:,|()]*)")
"""The name behind an ``@``, however deep it stands in a way of asking."""


def running_or_asking(arguments: Mapping[str, Any]) -> list[str]:
    """Return those arguments of a diagnosis that would run code or ask others, as they are written.

    Models are not among them: whoever takes arguments from somebody else opens none.

    Raises:
        UserError: There is no such suite or scorer.

    Example:
        >>> running_or_asking({"suite": "jsonl:a.jsonl,scorer=python:os:system", "via": ["leet"]})
        ['suite jsonl:a.jsonl,scorer=python:os:system']
        >>> running_or_asking({"via": ["protect(translate:de@model:hf:./m,urls)|leet", "fr"]})
        ['via protect(translate:de@model:hf:./m,urls)|leet']
    """
    return list(_found(arguments))


def _found(arguments: Mapping[str, Any]) -> Iterator[str]:
    scorer = arguments.get("scorer")
    if scorer and not _is_of_files(str(scorer)):
        yield f"scorer {scorer}"
    suite = arguments.get("suite")
    if suite and not _only_reads(str(suite)):
        yield f"suite {suite}"
    for via in arguments.get("via") or ():
        if not set(_TRANSLATOR.findall(str(via))) <= _TRANSLATORS_HERE:
            yield f"via {via}"


def _only_reads(suite: str) -> bool:
    spec = parse_suite_spec(suite)
    scorers = (each for name, each in spec.options.items() if name.partition(".")[0] == "scorer")
    return spec.name in _SUITES_OF_TEXT and all(map(_is_of_files, scorers))


def _is_of_files(scorer: str) -> bool:
    return SCORERS.get(scorer.partition(":")[0]).of_files
