"""Text of the reports: numbers, intervals, foreign names and CSV, the same in every output."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from palimpsest.records import THRESHOLDS

if TYPE_CHECKING:
    from palimpsest.records import (
        Agreement,
        CrewRecord,
        Drawn,
        FloorCell,
        Guessing,
        Interval,
        Plain,
        UntilSure,
    )

MISSING = "–"
"""Stands for a number that is not there."""

_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.I)


def number(value: float | None, digits: int, *, signed: bool = False) -> str:
    """Return a number with a real minus sign; ``–`` for None and for what is not finite.

    Example:
        >>> number(-0.5, 1), number(0.5, 1, signed=True), number(-0.01, 1), number(None, 1)
        ('−0.5', '+0.5', '0.0', '–')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if float(text) == 0:
        return text.lstrip("+-")
    return text.replace("-", "−")


def duration(seconds: float) -> str:
    """Return a time in the unit that people would use.

    Example:
        >>> duration(80), duration(3000), duration(9000)
        ('80 s', '50 minutes', '2.5 hours')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def percent(value: float | None, *, signed: bool = False) -> str:
    """Return a fraction in percent (or points), with one decimal and without the unit.

    Example:
        >>> percent(0.975), percent(-0.46, signed=True)
        ('97.5', '−46.0')
    """
    return number(None if value is None else 100 * value, 1, signed=signed)


def interval(ends: Interval | None, digits: int, *, signed: bool = False) -> str:
    """Return an interval; empty if there is none.

    Example:
        >>> interval((-0.941, 0.99), 2)
        '[−0.94, 0.99]'
    """
    if ends is None:
        return ""
    low, high = (number(end, digits, signed=signed) for end in ends)
    return f"[{low}, {high}]"


def percent_interval(ends: Interval | None, *, signed: bool = False) -> str:
    """Return an interval of fractions in percent; empty if there is none.

    Example:
        >>> percent_interval((0.941, 0.99))
        '[94.1, 99.0]'
    """
    return interval(ends and (100 * ends[0], 100 * ends[1]), 1, signed=signed)


def ratio(value: float | None, digits: int = 2) -> str:
    """Return a recovered fraction; ``undefined`` for None."""
    return "undefined" if value is None else number(value, digits)


def ratio_interval(ends: Interval | None) -> str:
    """Return an interval of a recovered fraction; empty if there is none."""
    return interval(ends, 2)


def p_value(value: float | None) -> str:
    """Return a p-value with three decimals.

    Example:
        >>> p_value(0.0342), p_value(1e-9)
        ('0.034', '< 0.001')
    """
    if value is not None and value < 0.001:
        return "< 0.001"
    return number(value, 3)


def relation(p: str) -> str:
    """Return a formatted p-value with the sign that goes before it, if it has none.

    Example:
        >>> relation("0.034"), relation("< 0.001")
        ('= 0.034', '< 0.001')
    """
    return p if p.startswith("<") else f"= {p}"


def flips_text(plain: Plain) -> str:
    """Return how many items changed from base to tuned, and whether chance explains it."""
    p = relation(p_value(plain.p_value))
    if plain.at_any_time:
        return (
            f"{plain.n_lost:,} of {plain.base.n:,} items 1→0, {plain.n_gained:,} 0→1 "
            f"(bets against a fair coin: p {p} at whatever moment one looks)"
        )
    if plain.forgetting_newcombe95 is None:
        return (
            f"{plain.n_lost:,} of {plain.base.n:,} items fell, {plain.n_gained:,} rose "
            f"(paired randomisation test: p {p})"
        )
    return (
        f"{plain.n_lost:,} of {plain.base.n:,} items 1→0, {plain.n_gained:,} 0→1 "
        f"(exact McNemar test: p {p})"
    )


def noise_text(plain: Plain) -> str:
    """Return how many of the base model's answers changed by themselves; empty if nobody asked."""
    noise = plain.noise
    if noise is None:
        return ""
    times = "once" if noise.n_times == 1 else f"{noise.n_times} times"
    return (
        f"asked again {times}, the base model alone has {noise.n_lost:,} 1→0 and "
        f"{noise.n_gained:,} 0→1 of {noise.n * noise.n_times:,}: "
        f"{percent(noise.floor)} % {percent_interval(noise.ci95)} flip by themselves"
    )


def rounds_text(found: UntilSure) -> str:
    """Return how a run in rounds went, in a sentence."""
    n_decided = sum(cell.is_decided for cell in found.cells)
    cells = f"{n_decided} of {len(found.cells)} cells are" if len(found.cells) > 1 else "It is"
    decided = "decided" if n_decided or len(found.cells) > 1 else "not decided"
    return (
        f"Asked in {found.n_rounds} rounds: {found.n_answers:,} answers in place of "
        f"{found.n_all:,}. {cells} {decided}; intervals hold at whatever moment one looks."
    )


def samples_text(found: Drawn) -> str:
    """Return how answers were drawn, in a sentence."""
    share = f" and top_p {found.top_p:g}" if found.top_p < 1 else ""
    return (
        f"{found.n} answers of each prompt, drawn at temperature {found.temperature:g}{share}: an "
        "accuracy is their mean (pass@1), and intervals are over prompts."
    )


def flips_and_noise(plain: Plain) -> str:
    """Return the flips of the pair beside those of the base alone; empty if nobody asked again.

    For tables of cells.
    """
    noise = plain.noise
    if noise is None:
        return ""
    return (
        f"Flips 1→0 / 0→1: {plain.n_lost:,} / {plain.n_gained:,} of {plain.base.n:,}; "
        f"by themselves {noise.n_lost:,} / {noise.n_gained:,} of {noise.n * noise.n_times:,} "
        f"({percent(noise.floor)} %)."
    )


def floor_text(cell: FloorCell) -> str:
    """Return why nothing more was asked in a cell."""
    what = "the least that counts" if cell.floor == THRESHOLDS.ability_floor else "guessing"
    return (
        f"the base model is right on {percent(cell.accuracy)} % of {cell.n:,} plain prompts "
        f"{percent_interval(cell.ci95)}, not clearly more than {what} ({percent(cell.floor)} %)"
    )


def agreement_text(found: Agreement) -> str:
    """Return how far a scorer agrees with people."""
    undecided = f", {found.n_undecided} without a judgement" if found.n_undecided else ""
    kappa = (
        "undefined"
        if found.kappa is None
        else f"{number(found.kappa, 2)} {interval(found.kappa_ci95, 2)}"
    )
    return (
        f"{found.scorer}: {percent(found.agreement)} % {percent_interval(found.ci95)} of "
        f"{found.n:,} answers that people have judged{undecided}; Cohen’s κ {kappa}"
    )


def guessing_text(adjusted: Guessing) -> str:
    """Return what is left of a change of accuracy when guesses are taken off."""
    return (
        f"base {percent(adjusted.base)} %, tuned {percent(adjusted.tuned)} %; forgetting "
        f"{percent(adjusted.forgetting)} points {percent_interval(adjusted.forgetting_ci95)}; "
        f"1→0 {percent(adjusted.lost)} %, 0→1 {percent(adjusted.gained)} %"
    )


def crew_text(crew: CrewRecord) -> str:
    """Return who computed the answers, and how often somebody had to be replaced.

    Example:
        >>> from palimpsest.records import CrewRecord, WorkerRecord
        >>> each = WorkerRecord(host="a", n_answers=1000, busy_seconds=20.0, n_restarts=1)
        >>> crew_text(CrewRecord(engine="processes", workers=[each, each], n_set_aside=0))
        '2 of processes on a: 2,000 answers, 50.0/s each; 2 restarts'
    """
    n_answers = sum(each.n_answers for each in crew.workers)
    seconds = sum(each.busy_seconds for each in crew.workers)
    n_restarts = sum(each.n_restarts for each in crew.workers)
    hosts = ", ".join(dict.fromkeys(each.host for each in crew.workers if each.host))
    rate = f", {n_answers / seconds:.1f}/s each" if seconds else ""
    said = f"{len(crew.workers)} of {crew.engine} on {hosts}: {n_answers:,} answers{rate}"
    if n_restarts:
        said += f"; {n_restarts} restart{'s' if n_restarts > 1 else ''}"
    if crew.n_set_aside:
        said += f"; {crew.n_set_aside} prompts set aside"
    return said


def csv_text(rows: Sequence[Mapping[str, object]], *, names: Sequence[str] = ()) -> str:
    """Return a table as CSV, undefined numbers empty; without rows, no more than the names.

    Text that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    names = names or list(rows[0] if rows else ())
    cells: list[Sequence[object]] = [names] if names else []
    cells += [[row.get(name) for name in names] for row in rows]
    return "".join(map(_csv_line, cells))


def _csv_line(cells: Sequence[object]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(map(_csv_cell, cells))  # quotes both of them
    return out.getvalue().removesuffix("\r\n") + "\n"


def _csv_cell(value: object) -> object:
    r"""Return a value as a spreadsheet shows it: text stays text, a number a number.

    Text that begins so already gets one more apostrophe, so that taking one away reads it back.

    Example:
        >>> [_csv_cell(value) for value in ("=1+1", "-0.5", -0.5, "'@a", "it's", "'tis")]
        ["'=1+1", '-0.5', -0.5, "''@a", "it's", "'tis"]
    """
    if not isinstance(value, str) or not _FORMULA.match(value) or _NUMBER.fullmatch(value):
        return value
    return f"'{value}"


def csv_interval(name: str, value: float | None, ends: Interval | None) -> dict[str, object]:
    """Return the three fields of a number with its interval."""
    low, high = ends or (None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def conjugation_label(name: str) -> str:
    """Return what a way of asking is called in tables: ``identity`` is asking plainly."""
    return "plain" if name == "identity" else visible(name)


def clipped(text: str, limit: int) -> str:
    """Shorten text to ``limit`` characters by an ellipsis in its middle.

    Example:
        >>> clipped("capitalise/blank", 9)
        'capi…lank'
    """
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return text[: limit - 1 - tail] + "…" + text[len(text) - tail :]


def visible(text: str, *, keep: str = "") -> str:
    r"""Replace what is invisible or dangerous in text by signs that show it.

    Control characters become control pictures, marks that reorder text their code points, and
    what no file can hold (half a surrogate pair) the replacement character.

    Args:
        text: Any string.
        keep: Characters to leave alone, such as line feeds.

    Example:
        >>> visible("a\x00b")
        'a␀b'
    """

    def shown(match: re.Match[str]) -> str:
        character = match.group()
        return character if character in keep else _picture(ord(character))

    return _CONTROL.sub(shown, text)


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return "\ufffd" if code >= 0xD800 else f"⟦U+{code:04X}⟧"


def how_many(ns: Iterable[int], what: str = "source examples") -> str:
    """Return how many there are; the least and the most, where they differ.

    Example:
        >>> how_many([40, 40]), how_many([1200, 40], "prompts")
        ('n = 40 source examples', 'n = 40 to 1,200 prompts')
    """
    known = sorted(set(ns))
    if not known:
        return f"n = 0 {what}"
    ends = f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"
    return f"n = {ends} {what}"
