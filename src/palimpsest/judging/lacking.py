"""Answers that are lacking in the end, as whatever was asked for them died: counted and named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from palimpsest.judging.via import Via
from palimpsest.judging.workers import set_aside
from palimpsest.lm.suites import Suite
from palimpsest.records import AnswerRow, columns_of


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
        for via in vias:
            for example in via.examples(suite):
                if (via.name, example.source_id) not in answered:
                    self.add(example.source_id, f"{whose}, {via.name}")
