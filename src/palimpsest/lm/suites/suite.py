"""Suites: what one is, and the registry by whose names users call them with their options."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from palimpsest.errors import UserError
from palimpsest.files import digest_json
from palimpsest.lm.prompts import Message, Prompt
from palimpsest.lm.scoring import (
    DEFAULT_SCORER,
    Asked,
    Scorer,
    Scoring,
    scorer_class,
)
from palimpsest.registry import Registry
from palimpsest.specs import Spec, parse_spec


@dataclass(frozen=True)
class HumanLabel:
    """What people say of an answer, so that a scorer can be held against them."""

    answer: str
    right: bool


@dataclass(frozen=True)
class Example:
    """One prompt with the answers that show which task the model inferred."""

    source_id: str
    """Identifies the item; its versions in other languages share it."""

    cell: str
    """The group that it is reported in, such as ``repeat/math``."""

    language: str
    """A BCP 47 tag, or the name of a text conjugation (``leet``) for a rewritten language."""

    prompt: Prompt
    """What is sent, before any conjugation."""

    answers: Mapping[str, tuple[str, ...]]
    """Accepted answers for each ability. The first ability is the one under test: its answers
    are *right*; the answers of every other ability are *intruded*."""

    whole_answers: Mapping[str, str] = field(default_factory=dict)
    """For abilities whose accepted answers are but the beginning of a longer one: the longer one.

    A translator may render the first word of a sentence otherwise than that word alone; under a
    conjugation that is not exact, as many words of the whole answer's image are accepted too."""

    choices: tuple[str, ...] = ()
    """The answers to choose among. If there are any, and the model can score continuations, the
    likeliest one is its answer; each follows the prompt after a space."""

    scorer: str = DEFAULT_SCORER
    """What says to which ability an answer belongs: ``NAME[:ARGUMENT]``, a name in ``SCORERS``."""

    forms: Mapping[str, str] = field(default_factory=dict)
    """What the answers of abilities look like, ``NAME[:ARGUMENT]`` with a name in ``FORMS``: a
    wrong answer in the form of another ability is *intruded*."""

    choices_joined: bool = False
    """Whether choices follow the prompt as they are written, with no space put between."""

    max_new_tokens: int | None = None
    """How much the model may say, if it is another limit than the suite's."""

    stop: tuple[str, ...] | None = None
    """An answer ends before the first of these, if they are others than the suite's."""

    as_lm_eval: bool = False
    """Whether it is asked to the token as lm-evaluation-harness asks it, where the back end can."""

    human: tuple[HumanLabel, ...] = ()
    """Answers that people have judged; nothing is asked for them."""

    item: Any = field(default=None, compare=False, repr=False)
    """What a suite's own scorer has to know; for all others nothing."""

    @property
    def right(self) -> tuple[str, ...]:
        """The answers of the ability under test."""
        return next(iter(self.answers.values()))

    @property
    def intruding(self) -> tuple[str, ...]:
        """The answers of all other abilities."""
        return tuple(text for texts in list(self.answers.values())[1:] for text in texts)

    def scorer_of(self, right: Sequence[str], intruding: Sequence[str]) -> Scorer:
        """Return what scores answers to it.

        Args:
            right: What its right answers are, as the answers that are scored have them.
            intruding: The other abilities' answers likewise.

        Raises:
            UserError: No such scorer or form, or one that cannot be used with these answers.
        """
        asked = Asked(self.language, self.choices, self.prompt, self.item)
        return self.scoring.scorer_of(right, intruding, asked)

    @cached_property
    def scoring(self) -> Scoring:
        """By what answers to it are scored."""
        forms = dict(self.forms)
        mine = forms.pop(next(iter(self.answers), ""), None)
        return Scoring(self.scorer, mine, tuple(forms.values()), self.choices, self.stop)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what decides how it is asked and by what it is scored.

        Forms are left out: what they are is applied to stored answers anew.
        """
        parts = [_plain(self.prompt), list(map(list, self.answers.items()))]
        parts += [list(self.choices), list(map(list, self.whole_answers.items()))]
        # The default is left out, so that answers of before there were others are still found.
        parts += [] if self.scorer == DEFAULT_SCORER else [self.scorer]
        own = (self.choices_joined, self.max_new_tokens, self.stop)
        parts += [] if own == (False, None, None) else [list(own)]
        return digest_json([*parts, *(["as lm-eval"] if self.as_lm_eval else [])])


@dataclass(frozen=True)
class Suite:
    """A set of examples; the same ``source_id`` may come in several languages."""

    name: str
    """What the user typed, with its options."""

    examples: tuple[Example, ...]
    """All examples in all languages."""

    source_language: str = "en"
    """The language of the plain prompts; every ``source_id`` exists in it."""

    max_new_tokens: int = 10
    """How much the model may say (the paper's setting is 10)."""

    stop: tuple[str, ...] = ("\n",)
    """An answer ends before the first of these."""

    chance: float | None = None
    """The accuracy of guessing, as a fraction, where that is meaningful."""

    description: str = ""
    """One sentence for listings and the report."""

    skips_floor: bool = False
    """Whether a cell that the base model cannot do is asked of nothing else."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """What the suite was built with: seed, counts, files and their hashes."""

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """The languages present, the source language first."""
        found = dict.fromkeys(example.language for example in self.examples)
        found.pop(self.source_language, None)
        return (self.source_language, *found)

    @cached_property
    def cells(self) -> tuple[str, ...]:
        """The cells present, in order of first appearance."""
        return tuple(dict.fromkeys(example.cell for example in self.examples))

    def in_language(self, language: str) -> Sequence[Example]:
        """Return the examples in one language, in the order of the suite."""
        return self._by_language.get(language, ())

    @cached_property
    def _by_language(self) -> Mapping[str, tuple[Example, ...]]:
        found: dict[str, list[Example]] = defaultdict(list)
        for example in self.examples:
            found[example.language].append(example)
        return {language: tuple(mine) for language, mine in found.items()}

    @cached_property
    def fingerprint(self) -> str:
        """A hash of every example and of how answers are cut."""
        parts = [(e.source_id, e.cell, e.language, e.fingerprint) for e in self.examples]
        return digest_json([parts, self.max_new_tokens, self.stop, self.source_language])

    @property
    def key(self) -> str:
        """What the answers to its examples are kept under, whichever and however many they are.

        Only the source language, which says what a conjugation is applied to. An answer depends
        on nothing else of a suite but its own example and how answers are cut, and has the
        fingerprints of both in its own key. So a suite with more examples, or another suite with
        the same ones, finds the answers that there are.
        """
        return self.source_language


def _plain(prompt: Prompt) -> Any:
    if isinstance(prompt, str):
        return prompt
    return [[message.role, message.content] for message in prompt if isinstance(message, Message)]


SUITES = Registry[Callable[..., Suite]](
    "suite",
    {
        "abilities": "palimpsest.lm.suites.abilities.suite:build",
        "icl-vs-if": "palimpsest.lm.suites.icl_vs_if:build",
        "jsonl": "palimpsest.lm.suites.jsonl:build",
        "lm-eval": "palimpsest.integrations.lm_eval_tasks.suite:build",
        "nli": "palimpsest.lm.suites.nli.suite:build",
        "rows": "palimpsest.lm.suites.rows:build",
        "rosetta": "palimpsest.rosetta.suite:build",
        "rosetta-instructions": "palimpsest.rosetta.instructions:build",
    },
)
"""Names to builders. A builder's keyword-only parameters are the suite's options, its annotations
their types, the first line of its docstring the description; a positional parameter, if it has one,
is what stands right behind the colon; with a default, it may be left out. Plugins use
``palimpsest.suites``."""


def default_suite(*models: Any) -> str:
    """Return the spec of what models are asked where no suite is named.

    Args:
        models: Models, or their specs.

    Example:
        >>> default_suite("./base", "./tuned"), default_suite("rosetta:base", "rosetta:tuned")
        ('abilities', 'rosetta')
    """
    specs = [str(getattr(model, "spec", model)) for model in models]
    return "rosetta" if all(spec.startswith("rosetta:") for spec in specs) else "abilities"


def load_suite(spec: str, *, limit: int | None = None) -> Suite:
    """Build the suite that a spec describes.

    Args:
        spec: ``NAME``, ``NAME:key=value,…``, or for suites that read a file
            ``NAME:FILE,key=value,…``. Lists are written with ``+`` between.
        limit: At most so many source examples a cell, the first ones; their versions in other
            languages stay with them.

    Raises:
        UserError: An unknown name or option, a value of the wrong kind, a suite that cannot be
            built, or one without examples.

    Example:
        >>> load_suite("rosetta:n=5,languages=en+fr", limit=2).languages
        ('en', 'fr')
    """
    if limit is not None and limit < 1:
        raise UserError(
            f"The limit is {limit}: nothing would be asked.", hint="Give at least 1 example a cell."
        )
    parsed = parse_suite_spec(spec)
    builder = SUITES.get(parsed.name)
    positional, options = _Parameters(builder).arguments(parsed)
    suite = replace(builder(*positional, **options), name=parsed.text)
    if limit is not None:
        suite = _limited(suite, limit)
    if not suite.in_language(suite.source_language):
        raise UserError(
            f"The suite '{spec}' has no examples in its source language, "
            f"'{suite.source_language}'.",
            hint="There is nothing to ask. Check its options and files.",
        )
    return suite


def parse_suite_spec(text: str) -> Spec:
    """Take ``NAME[:TARGET][,key=value…]`` apart.

    Right behind the colon stands the file of a suite that needs one, whatever its name; file names
    and values may have commas.

    Raises:
        UserError: No such suite, or an option given twice.

    Example:
        >>> spec = parse_suite_spec("jsonl:a,b.jsonl,ability=sums")
        >>> spec.name, spec.target, dict(spec.options)
        ('jsonl', 'a,b.jsonl', {'ability': 'sums'})
    """
    name = re.split("[:,]", text, maxsplit=1)[0].strip()
    if Path(name).suffix in {".jsonl", ".json"}:
        raise UserError(
            f"No suite named '{name}'.",
            hint=f"To ask the prompts in a file, write: jsonl:{text.strip()}",
        )
    return parse_spec(
        text,
        SUITES,
        needs_target=lambda name: _Parameters(SUITES.get(name)).need_target,
        commas_in_values=True,
    )


def scored_by(suite: Suite, scorer: str) -> Suite:
    """Return the suite with another scorer for all its examples.

    Raises:
        UserError: There is no such scorer.
    """
    scorer_class(scorer)
    return replace(
        suite,
        examples=tuple(replace(example, scorer=scorer) for example in suite.examples),
        parameters={**suite.parameters, "scorer": scorer},
    )


@dataclass(frozen=True)
class Dotted:
    """A parameter of a builder that collects the options ``OPTION.KEY=VALUE`` by their keys."""

    option: str


class _Parameters:
    """What the builder of a suite takes: what stands behind the colon, if anything, and options."""

    def __init__(self, builder: Callable[..., Suite]) -> None:
        found = list(inspect.signature(builder, eval_str=True).parameters.values())
        named = {each.name: each for each in found if each.kind is each.KEYWORD_ONLY}
        self._dotted = {
            mark.option: name
            for name, each in named.items()
            for mark in getattr(each.annotation, "__metadata__", ())
            if isinstance(mark, Dotted)
        }
        self._options = {
            name: each for name, each in named.items() if name not in self._dotted.values()
        }
        self._target = next((each for each in found if each.name not in named), None)

    @property
    def need_target(self) -> bool:
        """Whether something must stand behind the colon."""
        return self._target is not None and self._target.default is inspect.Parameter.empty

    def arguments(self, spec: Spec) -> tuple[list[Any], dict[str, Any]]:
        """Return what a spec gives the builder, by position and by name.

        Raises:
            UserError: It gives something else than the builder takes.
        """
        if self._target is None and spec.target:
            raise UserError(
                f"The suite '{spec.name}' does not take '{spec.target}'.", hint=self._listed()
            )
        if self._target is not None and self.need_target and not spec.target:
            name = self._target.name
            raise UserError(
                f"The suite '{spec.text}' does not say which {name} to read.",
                hint=f"Write {spec.name}:{name.upper()}. {self._listed()}",
            )
        dotted = {
            name: (self._dotted[option], key)
            for name in spec.options
            for option, mark, key in [name.partition(".")]
            if mark and option in self._dotted
        }
        spec.allow([*self._options, *dotted], hint=self._listed())
        positional = [self._typed(spec, self._target, spec.target)] if spec.target else []
        options = {
            name: self._typed(spec, self._options[name], text)
            for name, text in spec.options.items()
            if name not in dotted
        }
        for name, (parameter, key) in dotted.items():
            options.setdefault(parameter, {})[key] = spec.options[name]
        return positional, options

    def _typed(self, spec: Spec, parameter: inspect.Parameter | None, text: str) -> Any:
        """Return the text as the kind of value that the annotation asks for."""
        from pydantic import TypeAdapter, ValidationError

        assert parameter is not None
        kind = parameter.annotation
        kind = str if kind is inspect.Parameter.empty else kind
        value = [part.strip() for part in text.split("+")] if _is_list(kind) else text
        try:
            return TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            message = error.errors()[0]["msg"]
            raise UserError(
                f"The suite '{spec.name}' cannot use {parameter.name}={text}: "
                f"{message[0].lower()}{message[1:]}.",
                hint=self._listed(),
            ) from error

    def _listed(self) -> str:
        """Return the sentence that lists the options with their kinds and defaults."""
        listed = []
        for name, each in self._options.items():
            default = "+".join(each.default) if isinstance(each.default, tuple) else each.default
            suffix = "" if default in (None, inspect.Parameter.empty) else f" [{default}]"
            listed.append(f"{name}={_kind(each.annotation)}{suffix}")
            if name in self._dotted:
                listed.append(f"{name}.KEY=TEXT")
        return f"Its options: {', '.join(listed) or 'none'}."


def _is_list(annotation: Any) -> bool:
    is_optional = type(None) in get_args(annotation)
    kinds = (annotation, *get_args(annotation)) if is_optional else (annotation,)
    origins = [get_origin(kind) for kind in kinds]
    return any(isinstance(origin, type) and issubclass(origin, Sequence) for origin in origins)


def _kind(annotation: Any) -> str:
    for kind in (annotation, *get_args(annotation)):
        if get_origin(kind) is Literal:
            return "|".join(map(str, get_args(kind)))
    if _is_list(annotation):
        return "A+B"
    kinds = {int: "NUMBER", float: "NUMBER", Path: "PATH"}
    possible = {annotation, *get_args(annotation)}
    possible |= {part for each in possible for part in get_args(each)}
    return next((word for kind, word in kinds.items() if kind in possible), "TEXT")


def _limited(suite: Suite, limit: int) -> Suite:
    kept: dict[str, dict[str, None]] = defaultdict(dict)
    for example in suite.in_language(suite.source_language):
        if len(kept[example.cell]) < limit:
            kept[example.cell][example.source_id] = None
    ids = {source_id for cell in kept.values() for source_id in cell}
    return replace(
        suite,
        examples=tuple(example for example in suite.examples if example.source_id in ids),
        parameters={**suite.parameters, "limit": limit},
    )
