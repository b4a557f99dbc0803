"""A way of asking: the suite's own prompts in a language, conjugated or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from palimpsest.errors import UserError, did_you_mean
from palimpsest.files import digest_json
from palimpsest.judging.written_forms import WRITTEN_FORMS, WrittenForm, written_form
from palimpsest.lm.conjugations import (
    CONJUGATIONS,
    TextConjugation,
    is_translation,
    parse_conjugation,
    split_links,
)
from palimpsest.lm.suites import Example, Suite

_NATIVE = "native:"


@dataclass(frozen=True)
class Via:
    """How a suite is put to a model: in which of its languages, under which conjugation."""

    spec: str
    """As typed: ``leet``, ``fr``, ``native:fr``, ``leet|upper``, ``fr|leet``."""

    name: str
    """The spec in its shortest form; equal names ask the same."""

    language: str | None
    """The suite's language whose prompts are sent; ``None`` for the source language."""

    conjugation: TextConjugation
    """Applied to those prompts; the identity for a purely native via."""

    exact: bool
    """Whether the source prompt comes back unchanged. Never in another language: there the
    suite's own translation takes its place, with its own answers."""

    keeps: str
    """What comes back, in words."""

    fingerprint: str
    """A hash of language, conjugation and form."""

    form: WrittenForm | None = None
    """The form in which prompts are put once they are conjugated; ``None`` for their own."""

    @property
    def native(self) -> bool:
        """Whether it is another language of the suite."""
        return self.language is not None

    def examples(self, suite: Suite) -> Sequence[Example]:
        """Return the examples of a suite that are asked this way.

        Raises:
            UserError: The suite has none in the language.
        """
        language = suite.source_language if self.language is None else self.language
        examples = suite.in_language(language)
        if not examples:
            raise UserError(
                f"The suite '{suite.name}' has no examples in '{language}'.",
                hint=f"It has: {', '.join(suite.languages)}.",
            )
        return examples


def distinct_vias(vias: Sequence[Via]) -> list[Via]:
    """Return the vias in order, of several that ask the same only the first."""
    return list({via.fingerprint: via for via in reversed(vias)}.values())[::-1]


def parse_via(spec: str, suite: Suite | None = None) -> Via:
    """Return the way of asking that a spec describes.

    The first link may be a form of the prompt (``chat``, ``plain``, ``chat:FILE``), the next one a
    language of the suite. A bare word is a registered conjugation if there is one of that name,
    else a language of the suite, else the code of a language to translate into; ``native:`` in
    front makes it a language of the suite, ``translate:`` a translation.

    Args:
        spec: What the user typed.
        suite: Where languages are looked up; without one, there are none.

    Raises:
        UserError: A malformed spec, or a name that is neither.
    """
    first, *others = split_links(spec)
    form = written_form(first)
    if form is not None:
        inner = parse_via("|".join(others) or "identity", suite)
        return _in_form(spec, form, inner)
    language = _language(first, suite)
    links = others if language is not None else [first, *others]
    source = language or (suite.source_language if suite is not None else "en")
    conjugation = parse_conjugation("|".join(links) or "identity", source_language=source)
    if language is None or (suite is not None and language == suite.source_language):
        return Via(
            spec=spec,
            name=conjugation.name,
            language=None,
            conjugation=conjugation,
            exact=conjugation.exact,
            keeps=conjugation.keeps,
            fingerprint=conjugation.fingerprint,
        )
    return _native(spec, language, conjugation)


def _in_form(spec: str, form: WrittenForm, inner: Via) -> Via:
    if inner.form is not None:
        raise UserError(
            f"The way of asking '{spec}' names two forms, '{form.name}' and '{inner.form.name}'.",
            hint="Keep one of them.",
        )
    alone = inner.name == "identity"
    return replace(
        inner,
        spec=spec,
        name=form.name if alone else f"{form.name}|{inner.name}",
        keeps=form.keeps if alone else f"{inner.keeps}; {form.keeps}",
        fingerprint=digest_json(["form", form.fingerprint, inner.fingerprint]),
        form=form,
    )


def _native(spec: str, language: str, conjugation: TextConjugation) -> Via:
    name = f"{_NATIVE}{language}" if language in CONJUGATIONS else language
    keeps = f"the task, in the suite's own words for '{language}'"
    if not conjugation.changes_nothing:
        name = f"{name}|{conjugation.name}"
        keeps = keeps if conjugation.exact else f"{keeps}; then {conjugation.keeps}"
    return Via(
        spec=spec,
        name=name,
        language=language,
        conjugation=conjugation,
        exact=False,
        keeps=keeps,
        fingerprint=digest_json(["native", language, conjugation.fingerprint]),
    )


def _language(link: str, suite: Suite | None) -> str | None:
    """Return the language that a first link names, or nothing if it names a conjugation."""
    languages = suite.languages if suite is not None else ()
    if link.startswith(_NATIVE):
        language = link.removeprefix(_NATIVE).strip()
        if language not in languages:
            raise _unknown(language, "language of the suite", languages, languages)
        return language
    if "(" in link or link in CONJUGATIONS:
        return None
    if link not in languages and is_translation(link):
        return None
    if link not in languages:
        kind = "conjugation or language of the suite"
        raise _unknown(link, kind, (*CONJUGATIONS, *WRITTEN_FORMS, *languages), languages)
    return link


def _unknown(name: str, kind: str, names: tuple[str, ...], languages: tuple[str, ...]) -> UserError:
    return UserError(
        f"No {kind} named '{name}'.{did_you_mean(name, names)}",
        hint=(
            f"Languages of the suite: {', '.join(languages) or 'none without a suite'}. "
            "List conjugations with: palimpsest list conjugations"
        ),
    )
