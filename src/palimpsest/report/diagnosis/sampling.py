"""Sample of the examples that a page shows, of a run that is too large for it."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from palimpsest.records import blocks_of

if TYPE_CHECKING:
    from palimpsest.records import AnswerRow

Codes = npt.NDArray[np.int64]

_N_OF_EACH = 3
"""Examples that come first of everything that is to be seen."""

_READ = ("source_id", "cell", "via", "role", "outcome", "language")


class SourceIndex:
    """The source examples of a run, with the answers to each; some numbers an answer.

    Args:
        rows: Answers of both roles, in any order.
    """

    def __init__(self, rows: Sequence[AnswerRow]) -> None:
        codes: list[dict[str, int]] = [{} for _ in _READ]
        columns = [array("i") for _ in _READ]
        for block in blocks_of(rows, *_READ):
            for values, known, column in zip(block, codes, columns, strict=True):
                column.extend([known.setdefault(value, len(known)) for value in values])
        self._names, self.cells, self.vias, *_, self.languages = map(list, codes)
        self._roles, self._outcomes = codes[3], codes[4]
        self._n = [len(known) for known in codes]
        found = [np.array(column, np.int64) for column in columns]
        self._source, self._cell, self._via, self._role, self._outcome, _ = found
        self._order = np.argsort(self._source, kind="stable")
        n_each = np.bincount(self._source, minlength=len(self._names))
        self._ends = np.concatenate([[0], np.cumsum(n_each)])

    def positions(self, source: int) -> npt.NDArray[np.intp]:
        """Return where the answers to an example are among all, in their order."""
        return self._order[self._ends[source] : self._ends[source + 1]]

    def drawn(self, seed: int = 0) -> Iterator[int]:
        """Yield all examples in the order in which a page takes them, by number of appearance.

        First come some of every outcome of each model in each cell under each way of asking, and of
        every change between the models there; then the others, in such a way that all cells get
        about as many. Which of several come first is drawn.

        Args:
            seed: Of the draw.
        """
        rank = np.empty(len(self._names), np.int64)
        hashes = [
            sha256(f"page {seed} {name}".encode("utf-8", "surrogatepass")).digest()
            for name in self._names
        ]
        drawn = sorted(range(len(hashes)), key=hashes.__getitem__)
        rank[drawn] = np.arange(len(drawn))
        cells = self._cell[self._order[self._ends[:-1]]].tolist()
        taken: dict[int, None] = dict.fromkeys(self._of_everything(rank))
        n_of_cell: defaultdict[int, int] = defaultdict(int)
        for source in taken:
            n_of_cell[cells[source]] += 1
        yield from taken
        turns = []
        for source in drawn:
            if source not in taken:
                turns.append((n_of_cell[cells[source]], cells[source], source))
                n_of_cell[cells[source]] += 1
        yield from (source for *_, source in sorted(turns))

    def _of_everything(self, rank: Codes) -> Iterator[int]:
        """Yield some examples of everything that is to be seen: one of each, then the second."""
        _, _, n_vias, n_roles, n_outcomes, _ = self._n
        if not self._names:
            return
        seen = (self._cell * n_vias + self._via) * n_roles + self._role
        seen = seen * n_outcomes + self._outcome
        flips, sources = self._flips()
        kinds = np.concatenate([seen, -1 - flips])
        examples = np.concatenate([self._source, sources])
        order = np.lexsort((rank[examples], kinds))
        kinds, examples = kinds[order], examples[order]
        starts = np.flatnonzero(np.r_[True, kinds[1:] != kinds[:-1]])
        for number in range(_N_OF_EACH):
            at = starts + number
            at = at[at < len(kinds)]
            at = at[kinds[at] == kinds[at - number]]
            yield from sorted(set(examples[at].tolist()), key=rank.__getitem__)

    def _flips(self) -> tuple[Codes, Codes]:
        """Return a number for each change from base to tuned, in a cell and under a way of asking.

        The examples in which it happened stand beside them.
        """
        right = self._outcomes.get("right", -1)
        there = np.zeros((2, len(self._names), self._n[2]), np.int8)
        for number, role in enumerate(("base", "tuned")):
            mine = self._role == self._roles.get(role, -1)
            is_right = self._outcome[mine] == right
            there[number, self._source[mine], self._via[mine]] = np.where(is_right, 2, 1)
        source, via = np.nonzero((there[0] > 0) & (there[1] > 0) & (there[0] != there[1]))
        cell = self._cell[self._order[self._ends[source]]]
        lost = there[0, source, via] == 2
        kinds = (cell * self._n[2] + via) * 2 + lost
        return kinds.astype(np.int64), source.astype(np.int64)
