"""Choice of the model and its conjugation: by suffix, header or default."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lm.conjugations import CONJUGATIONS, TextEnsemble, parse_ensemble
from palimpsest.serve.errors import ApiError, bad_request, sentence

VIA_HEADER = "X-Palimpsest-Via"
SEPARATOR = "@"

_LONGEST_SPEC = 300
_MOST_LINKS = 8
"""Conjugations in one spec: a chain costs time with each of them."""
_MOST_REMEMBERED = 1024
_FRESH_SECONDS = 300.0
_FRESH_AFTER_FAILURE_SECONDS = 30.0

_LOCAL_TRANSLATOR = re.compile(r"@apertium(?=[\s|,)]|\Z)")


class Chosen(NamedTuple):
    """Who is asked, and how."""

    model: str
    """The upstream's name for the model."""

    ensemble: TextEnsemble
    """The conjugations; mostly one."""

    renamed: bool
    """Whether the client gave another name, with a suffix."""

    @property
    def is_identity(self) -> bool:
        """Whether nothing is conjugated."""
        return self.ensemble.is_identity


class Chooser:
    """Reads conjugations from requests.

    The suffix of the model comes first, then the header, then the default. A name that the upstream
    lists as it is has no suffix, whatever is in it; else the suffix begins after the longest name
    that it lists, or at the first ``@``.

    Clients may name every conjugation but those that would have the server open files, reach other
    servers or spend money on a translator: these have to be offered.

    Args:
        default: The spec for requests that name none.
        offer: Specs shown among the models; all exact registered conjugations if there are none.
        list_models: Gives the names of the upstream's models.

    Raises:
        UserError: The default or an offer is no conjugation, or needs a translator that is not
            there.
    """

    def __init__(
        self,
        default: str,
        offer: Iterable[str],
        list_models: Callable[[], Awaitable[list[str]]],
    ) -> None:
        self._default = _ready(default)
        offered = {spec: _ready(spec) for spec in offer}
        self._parsed = {_compact(spec): found for spec, found in offered.items()}
        self._parsed[_compact(default)] = self._default
        self._trusted = frozenset(self._parsed)
        self._list_models = list_models
        self._names: tuple[str, ...] = ()
        self._names_until = 0.0
        shown = list(offered) or _exact_names()
        if not self._default.is_identity:
            shown = [default, *shown]
        self.offered = tuple(dict.fromkeys(map(_compact, shown)))
        """Specs shown among the models."""

    async def choose(self, name: object, header: str | None) -> Chosen:
        """Return what a request asks for by its model name and its header.

        Raises:
            ApiError: 400 or 404 for a name that is none.
        """
        if not isinstance(name, str) or not name:
            what = "no model" if name is None else f"a model that is {type(name).__name__}, no text"
            raise bad_request(f"The request names {what}; expected its name.", "model")
        model, suffix = await self._split(name)
        if suffix is not None:
            try:
                return Chosen(model, await self._parse(suffix), renamed=True)
            except UserError as error:
                message = f"The model '{name}': {sentence(error)}"
                raise ApiError(404, message, param="model", code="model_not_found") from error
        if header is not None and header.strip():
            try:
                return Chosen(model, await self._parse(header), renamed=False)
            except UserError as error:
                message = f"The header {VIA_HEADER}: {sentence(error)}"
                raise bad_request(message, VIA_HEADER, "conjugation_not_found") from error
        return Chosen(model, self._default, renamed=False)

    async def _split(self, name: str) -> tuple[str, str | None]:
        if SEPARATOR not in name:
            return name, None
        listed = await self._listed()
        if name in listed:
            return name, None
        beginnings = [each for each in listed if name.startswith(each + SEPARATOR)]
        model = max(beginnings, key=len, default=name.partition(SEPARATOR)[0])
        return model, name[len(model) + 1 :]

    async def _listed(self) -> tuple[str, ...]:
        """Return the upstream's models, asking it anew now and then."""
        if time.monotonic() >= self._names_until:
            try:
                self._names = tuple(await self._list_models())
                fresh = _FRESH_SECONDS
            except ApiError:
                fresh = _FRESH_AFTER_FAILURE_SECONDS
            self._names_until = time.monotonic() + fresh
        return self._names

    async def _parse(self, spec: str) -> TextEnsemble:
        spec = _compact(spec)
        if spec in self._parsed:
            return self._parsed[spec]
        self._check_allowed(spec)
        # A translation looks for its translator, which may take a while.
        ensemble = await asyncio.to_thread(parse_ensemble, spec)
        if len(self._parsed) < _MOST_REMEMBERED:
            self._parsed[spec] = ensemble
        return ensemble

    def _check_allowed(self, spec: str) -> None:
        n_links = max(member.count("|") + member.count("(") for member in spec.split(","))
        if len(spec) > _LONGEST_SPEC or n_links > _MOST_LINKS:
            raise UserError(
                f"A conjugation of {len(spec)} characters is too long for a request.",
                hint="Have it offered by the server.",
            )
        if SEPARATOR in _LOCAL_TRANSLATOR.sub("", spec) or "=" in spec:
            raise UserError(
                f"'{spec}' names a translator that this server does not offer."
                f"{did_you_mean(spec, self._trusted)}",
                hint=f"Whoever runs the server can add: --offer '{spec}'",
            )


def _ready(spec: str) -> TextEnsemble:
    """Return an ensemble whose translators, if it has any, are there."""
    ensemble = parse_ensemble(spec)
    for member in ensemble.members:
        member.facts()
    return ensemble


def _compact(spec: str) -> str:
    """Return a spec without white space around its links."""
    return re.sub(r"\s*([|,()])\s*", r"\1", spec.strip())


def _exact_names() -> list[str]:
    exact = []
    for name in CONJUGATIONS:
        try:
            ensemble = parse_ensemble(name)
        except UserError:  # a plugin that is broken, or a name that needs more than itself
            continue
        if not ensemble.is_identity and all(member.exact for member in ensemble.members):
            exact.append(name)
    return exact
