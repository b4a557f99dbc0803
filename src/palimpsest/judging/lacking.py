"""Answers that are lacking in the end, as whatever was asked for them died: counted and named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np

from palimpsest.errors import MOST_SHOWN, UserError
from palimpsest.judging.via import Via
from palimpsest.judging.workers import DIED, Workers
from palimpsest.lm.suites import Suite
from palimpsest.records import AnswerRow, columns_of, taken


class Lacking:
    """Answers that several calls did not get, by source example.

    Example:
        >>> lacking = Lacking()
        >>> lacking.add("7", "step 100, identity")
        >>> lacking.sources, len(lacking.notes)
        (frozenset({'7'}), 1)
    """

    def __init__(self) -> None:
        self._names: dict[str, dict[str, None]] = {}

    @property
    def sources(self) -> frozenset[str]:
        """The examples that somebody has not answered in some way."""
        return frozenset(self._names)

    @property
    def notes(self) -> list[str]:
        """What to tell of them; nothing where all have been answered."""
        names = [name for mine in self._names.values() for name in mine]
        return [set_aside(names, len(self._names))] if names else []

    def add(self, source: str, whose: str) -> None:
        """Note an example, and whose answer to it is lacking."""
        self._names.setdefault(source, {})[f"'{source}' ({whose})"] = None

    def note(
        self, whose: str, rows: Iterable[AnswerRow], suite: Suite, vias: Sequence[Via]
    ) -> None:
        """Note what a model was asked and has not answered.

        Args:
            whose: The model's name.
            rows: What it has answered, and perhaps more.
            suite: What it was asked.
            vias: And how.
        """
        answered = {(via, source) for via, source in columns_of(rows, "via", "source_id")}
        for via, source in _unanswered(answered, suite, vias):
            self.add(source, f"{whose}, {via}")


def _unanswered(
    answered: Collection[tuple[str, str]], suite: Suite, vias: Sequence[Via]
) -> Iterator[tuple[str, str]]:
    """Yield way of asking and source example of what was asked and has no answer."""
    for via in vias:
        for example in via.examples(suite):
            if (via.name, example.source_id) not in answered:
                yield via.name, example.source_id


def without_failed(
    rows: Sequence[AnswerRow],
    suite: Suite,
    vias: Sequence[Via],
    roles: Sequence[str],
    workers: Workers,
) -> tuple[Sequence[AnswerRow], list[str]]:
    """Return the rows without the examples to which an answer is lacking, and what to say of them.

    Args:
        rows: Of all models.
        suite: What they were asked.
        vias: And how.
        roles: Of the models.
        workers: Who were to ask them.

    Raises:
        UserError: Nothing is left.
    """
    if len(rows) == len(roles) * sum(len(via.examples(suite)) for via in vias):
        return rows, []
    answered: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for role, *question in columns_of(rows, "role", "via", "source_id"):
        answered[role].add(tuple(question))
    lacking = [
        (source, f"'{source}' ({role}, {via})")
        for role in roles
        for via, source in _unanswered(answered[role], suite, vias)
    ]
    if not lacking:
        return rows, []
    failed = {source for source, _ in lacking}
    there = [source not in failed for (source,) in columns_of(rows, "source_id")]
    note = set_aside([name for _, name in lacking], len(failed), workers.lacking)
    if not any(there):
        raise UserError(
            f"No example of '{suite.name}' has all of its answers. {note}",
            hint="Is the model sound? palimpsest doctor BASE TUNED asks it a few prompts.",
        )
    return taken(rows, np.flatnonzero(there)), [note]


def set_aside(names: Sequence[str], n_examples: int, why: tuple[str, str] = DIED) -> str:
    """Return what to say of examples that lack an answer.

    Args:
        names: Of each answer that is lacking: its example, role and way of asking.
        n_examples: How many examples these are.
        why: They do, and what can be done.
    """
    because, next_step = why
    listed = ", ".join(names[:MOST_SHOWN])
    return (
        f"{n_examples} example(s) are left out, {because}: {listed}"
        f"{', …' if len(names) > MOST_SHOWN else ''}. {next_step}"
    )
