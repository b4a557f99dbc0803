"""Suites as samples of Inspect."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from inspect_ai.dataset import Sample
from inspect_ai.model import ChatMessage, ChatMessageAssistant, ChatMessageSystem, ChatMessageUser

from palimpsest.errors import UserError
from palimpsest.integrations.inspect_ai.host import told_to_the_user, typed
from palimpsest.judging import parse_via
from palimpsest.lm import Message
from palimpsest.lm.suites import Example, Suite, load_suite

_MESSAGES: dict[str, type[ChatMessageSystem | ChatMessageUser | ChatMessageAssistant]] = {
    "system": ChatMessageSystem,
    "user": ChatMessageUser,
    "assistant": ChatMessageAssistant,
}


class TaskPlan(NamedTuple):
    """What a task asks."""

    suite: Suite

    via: str
    """The conjugation, by the name that any language understands."""

    samples: list[Sample]


def plan(
    spec: str,
    options: Mapping[str, object],
    *,
    lang: object = None,
    via: object = None,
    limit: int | None = None,
) -> TaskPlan:
    """Return the samples of a suite in one way of asking.

    Args:
        spec: The suite, perhaps with what it opens and options.
        options: More options; ``None`` leaves the suite its default.
        lang: One of the suite's languages.
        via: As of ``palimpsest diagnose``: a language of the suite, a conjugation, or both.
        limit: At most so many samples a cell.

    Raises:
        PrerequisiteError: The suite cannot be built, or not be asked this way.
    """
    given = [f"{key}={typed(value)}" for key, value in options.items() if value is not None]
    links = [] if lang is None else [f"native:{typed(lang)}"]
    links += [] if via is None else [typed(via)]
    with told_to_the_user():
        suite = load_suite(",".join([spec, *given]), limit=limit)
        asked = parse_via("|".join(links) or "identity", suite)
        examples = asked.examples(suite)
        return TaskPlan(suite, asked.conjugation.name, list(map(_sample, _by_turns(examples))))


def _by_turns(examples: Iterable[Example]) -> Iterator[Example]:
    """Yield an example of each cell in turn, so that Inspect's ``--limit`` takes of all."""
    cells: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        cells[example.cell].append(example)
    for turn in itertools.zip_longest(*cells.values()):
        yield from (example for example in turn if example is not None)


def _sample(example: Example) -> Sample:
    prompt = example.prompt
    return Sample(
        id=example.source_id,
        input=prompt if isinstance(prompt, str) else list(map(_message, prompt)),
        target=list(example.right),
        metadata={
            "cell": example.cell,
            "language": example.language,
            "answers": {ability: list(texts) for ability, texts in example.answers.items()},
            "whole_answers": dict(example.whole_answers),
            "scoring": example.scoring.to_json(),
        },
    )


def _message(message: Message) -> ChatMessage:
    if message.role not in _MESSAGES:
        raise UserError(
            f"Inspect has no messages with the role '{message.role}'.",
            hint=f"It has: {', '.join(_MESSAGES)}.",
        )
    return _MESSAGES[message.role](content=message.content)
