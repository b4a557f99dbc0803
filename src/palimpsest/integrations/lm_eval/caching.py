"""The harness's cache of answers (``use_cache``), kept apart by conjugation.

The harness files answers under the text of the request alone, and asks the cache before it asks the
model: without more, one conjugation would be served what another has answered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import CacheHook, hash_args

from palimpsest.errors import UserError

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

_Read = Callable[["Instance", Any], Any]


class OriginalRows(CacheHook):  # type: ignore[misc]  # the harness is untyped
    """Files what an inner model answers under the request that was conjugated, inverted.

    Models hand in each answer as it comes, so that a run that breaks off need not ask again.

    Args:
        hook: Of the harness.
    """

    def __init__(self, hook: CacheHook) -> None:
        super().__init__(None)
        self._hook = hook
        self._expected: dict[str, list[tuple[Instance, _Read]]] = {}

    def expect(
        self, kind: str, requests: Sequence[Instance], sent: Sequence[Instance], read: _Read
    ) -> None:
        """Prepare for the answers to these requests, and to no others."""
        self._expected = {}
        if self._hook.dbdict is None:
            return
        for request, each in zip(requests, sent, strict=True):
            self._expected.setdefault(hash_args(kind, each.args), []).append((request, read))

    def add_partial(self, attr: str, req: Iterable[Any], res: Any) -> None:
        """Take the inner model's answer to a conjugated request."""
        if not self._expected:
            return
        for request, read in self._expected.get(hash_args(attr, req), ()):
            self._hook.add_partial(attr, request.args, read(request, res))


def keep_apart(hook: CacheHook, name: str) -> None:
    """Move a cache to a table of its own in the same file.

    Raises:
        UserError: The cache is of another kind than the harness had so far.
    """
    from sqlitedict import SqliteDict  # type: ignore[import-untyped]

    rows = hook.dbdict
    if rows is None:
        return
    if not isinstance(rows, SqliteDict):
        raise UserError(
            f"The cache is a {type(rows).__name__}, which cannot be kept apart by conjugation.",
            hint="Run without use_cache.",
        )
    SqliteDict(rows.filename, tablename=name).close()  # makes the table
    rows.tablename = name
