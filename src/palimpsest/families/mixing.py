"""Members made row by row from files: bounded buffers, and numbers that are not finite found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch

from palimpsest.errors import UserError
from palimpsest.families.matching import InFile, MatchedTensor
from palimpsest.families.member import SMALL_SIDE, Member, Rows
from palimpsest.lm.models.huggingface import TensorReader, one_core_threads

if TYPE_CHECKING:
    from palimpsest.families.matching import Numbers

Span = tuple[int, int]
"""The first row, and the end."""


@dataclass(frozen=True)
class _FilePair:
    """A tensor of both models in their files, as members look at it; those rows that both have."""

    matched: MatchedTensor
    config: Mapping[str, Any]
    reader: TensorReader

    @property
    def name(self) -> str:
        return self.matched.name

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.matched.place.shape
        return (self.matched.n_mixed, *shape[1:]) if shape else shape

    def pieces(self) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """Yield rows of both.

        Raises:
            UserError: A number is not finite.
        """
        for span in _spans(self.matched):
            if span[0] < self.matched.n_mixed:
                base, tuned = _read(self.matched, span, self.reader)
                _check_finite(self.matched, span, self.reader, base.sum() + tuned.sum())
                yield span[0], base, tuned


def mixed(
    member: Member,
    tensors: Sequence[MatchedTensor],
    config: Mapping[str, Any],
) -> Iterator[tuple[str, int, torch.Tensor]]:
    """Yield a member's tensors in pieces: the name, the first row, and rows in the stored dtype.

    A piece is gone when the next one is asked for.

    Args:
        member: Of the family.
        tensors: To be made.
        config: Of the tuned model.

    Raises:
        UserError: A tensor of either model has NaN or infinity, or the member's are out of range.
    """
    with TensorReader() as reader:
        for matched in tensors:
            for first, rows in _pieces(member, matched, config, reader):
                yield matched.name, first, rows


def mix_all(
    member: Member,
    tensors: Sequence[MatchedTensor],
    config: Mapping[str, Any],
    put: Callable[[MatchedTensor, int, torch.Tensor], None],
    *,
    n_threads: int | None = None,
) -> None:
    """Make a member's tensors and hand over each piece; on all cores where pieces stand alone.

    Args:
        member: Of the family.
        tensors: To be made.
        config: Of the tuned model.
        put: Is given the tensor, the first row, and the rows in the stored dtype, which are gone
            when it returns. Several threads may call it at once.
        n_threads: How many; by default as many as torch uses.

    Raises:
        UserError: As for :func:`mixed`.
    """
    n_threads = n_threads or torch.get_num_threads()
    together = [
        (matched, list(spans))
        for matched in tensors
        for spans in _work(matched, whole=member.looks_at_whole)
        if not (member.looks_at_whole and _is_large(matched))
    ]
    alone = [matched for matched in tensors if member.looks_at_whole and _is_large(matched)]
    _mix_together(member, together, config, put, n_threads)
    with TensorReader() as reader:
        for matched in alone:
            for first, rows in _pieces(member, matched, config, reader):
                put(matched, first, rows)


def _work(matched: MatchedTensor, *, whole: bool) -> Iterator[Iterable[Span]]:
    """Yield the pieces that must be made by the same thread."""
    if whole:
        yield _spans(matched)
    else:
        for span in _spans(matched):
            yield [span]


def _is_large(matched: MatchedTensor) -> bool:
    return len(matched.place.shape) > 1 and min(matched.place.shape) > SMALL_SIDE


def _pieces(
    member: Member,
    matched: MatchedTensor,
    config: Mapping[str, Any],
    reader: TensorReader,
    spans: Iterable[Span] | None = None,
) -> Iterator[tuple[int, torch.Tensor]]:
    rows = _rows_of(member, matched, config, reader)
    for span in _spans(matched) if spans is None else spans:
        yield span[0], _made(rows, matched, span, reader)


def _mix_together(
    member: Member,
    work: Sequence[tuple[MatchedTensor, list[Span]]],
    config: Mapping[str, Any],
    put: Callable[[MatchedTensor, int, torch.Tensor], None],
    n_threads: int,
) -> None:
    waiting = iter(work)
    lock = Lock()

    def take() -> tuple[MatchedTensor, list[Span]] | None:
        with lock:
            return next(waiting, None)

    def run(_: int) -> None:
        with TensorReader() as reader:
            while (piece := take()) is not None:
                matched, spans = piece
                for first, rows in _pieces(member, matched, config, reader, spans):
                    put(matched, first, rows)

    with one_core_threads(n_threads) as pool:
        _run_all(pool, run, n_threads, stop=lambda: list(iter(take, None)))


def _run_all(
    pool: ThreadPoolExecutor, run: Callable[[int], None], n: int, *, stop: Callable[[], object]
) -> None:
    """Run all, and let the rest of the work go where one fails."""
    futures = [pool.submit(run, index) for index in range(n)]
    try:
        for future in futures:
            future.result()
    except BaseException:
        stop()
        for future in futures:
            with suppress(BaseException):
                future.result()
        raise


def first_change(tensors: Sequence[MatchedTensor]) -> str | None:
    """Return the name of the first tensor that tuning changed; ``None`` if it changed none.

    Where one of the two is stored more coarsely, the other's rounding is no change.
    """
    with TensorReader() as reader:
        for matched in tensors:
            if matched.base is not None and _is_changed(matched, matched.base, reader):
                return matched.name
    return None


def _is_changed(matched: MatchedTensor, base: Numbers, reader: TensorReader) -> bool:
    if matched.n_mixed < matched.place.n_rows:
        return True
    coarse = {
        each.tensor.dtype for each in (base, matched.tuned) if isinstance(each, InFile)
    } & {torch.bfloat16, torch.float16}  # fmt: skip
    for span in _spans(matched):
        pair = _read(matched, span, reader)
        for dtype in coarse:
            pair = (pair[0].to(dtype), pair[1].to(dtype))
        if not torch.equal(*pair):
            return True
    return False


def _spans(matched: MatchedTensor) -> Iterator[Span]:
    """Yield the pieces of a tensor; rows that only the tuned model has are pieces of their own."""
    for first, end in matched.place.row_spans():
        if first < matched.n_mixed < end:
            yield first, matched.n_mixed
            yield matched.n_mixed, end
        else:
            yield first, end


def _rows_of(
    member: Member, matched: MatchedTensor, config: Mapping[str, Any], reader: TensorReader
) -> Rows | None:
    if matched.base is None:
        return None
    return member.rows(_FilePair(matched, config, reader))


def _read(
    matched: MatchedTensor, span: Span, reader: TensorReader
) -> tuple[torch.Tensor, torch.Tensor]:
    assert matched.base is not None
    dtype = torch.float64 if matched.place.dtype == torch.float64 else torch.float32
    return (
        matched.base.read(reader, *span, slot="base", dtype=dtype),
        matched.tuned.read(reader, *span, slot="tuned", dtype=dtype),
    )


def _made(
    rows: Rows | None, matched: MatchedTensor, span: Span, reader: TensorReader
) -> torch.Tensor:
    """Return some rows of a member in the dtype in which they are stored."""
    dtype = matched.place.dtype
    if rows is None or span[0] >= matched.n_mixed:
        return matched.tuned.read(reader, *span, slot="tuned", dtype=dtype)
    made = rows(*_read(matched, span, reader), span[0])
    # The sum is finite if all numbers are: one pass in place of two.
    _check_finite(matched, span, reader, made.sum())
    stored = reader.converted(made, dtype, slot="made")
    if dtype == torch.float16 and not bool(stored.isfinite().all()):
        raise UserError(
            f"The tensor '{matched.name}' has numbers that are too large for float16.",
            hint="Save the tuned model in bfloat16 or float32.",
        )
    return stored


def _check_finite(
    matched: MatchedTensor, span: Span, reader: TensorReader, total: torch.Tensor
) -> None:
    """Raise an error if a sum is not finite because a number of either model is not."""
    if bool(total.isfinite()):
        return
    for role, tensor in zip(("base", "tuned"), _read(matched, span, reader), strict=True):
        n_broken = int((~tensor.isfinite()).sum())
        if n_broken:
            raise UserError(
                f"The tensor '{matched.name}' of the {role} model has NaN or infinity: "
                f"{n_broken:,} of the {tensor.numel():,} numbers in its rows {span[0]:,} to "
                f"{span[1] - 1:,}.",
                hint="Copy the checkpoint anew, or take one from before the training diverged.",
            )
