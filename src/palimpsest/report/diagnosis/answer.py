"""The answer of a diagnosis in three lines: what was asked, what came out, how sure it is."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from palimpsest.report.text import (
    conjugation_label,
    p_value,
    percent,
    percent_interval,
    ratio,
    ratio_interval,
    relation,
    visible,
)

if TYPE_CHECKING:
    from palimpsest.records import Results


def answer_in_three_lines(results: Results) -> list[tuple[str, str]]:
    """Return what each line is about, and what it says."""
    return [("Asked", _asked(results)), ("Came out", _out(results)), ("How sure", _sure(results))]


def _asked(results: Results) -> str:
    n, suite = results.plain.base.n, results.suite
    cells = f" in {len(results.cells)} cells" if len(results.cells) > 1 else ""
    ways = len(results.conjugations)
    under = f" and in {ways} other way{'s' if ways > 1 else ''}" if ways else ""
    drawn = results.samples
    samples = (
        "" if drawn is None else f", {drawn.n} answers each at temperature {drawn.temperature:g}"
    )
    said = "answers of" if suite.from_logs else "asked of"
    return (
        f"{n:,} examples of {visible(suite.name)}{cells}, plainly{under}{samples}; {said} both "
        "models alike."
    )


def _out(results: Results) -> str:
    plain, best = results.plain, results.best
    change = f"{percent(plain.base.accuracy)} % right before tuning, "
    change += f"{percent(plain.tuned.accuracy)} % after it"
    if best is not None and best.recovery is not None:
        name = conjugation_label(best.name)
        change += f"; under {name} {ratio(best.recovery)} of the fall comes back"
    counted = Counter(cell.verdict for cell in results.cells)
    cells = ", ".join(f"{n} {verdict}" for verdict, n in counted.most_common())
    return f"{change}." if len(results.cells) < 2 else f"{change}. Cells: {cells}."


def _sure(results: Results) -> str:
    plain, best = results.plain, results.best
    fall = (
        f"Fall {percent(plain.forgetting)} points {percent_interval(plain.forgetting_hull95)}, "
        f"p {relation(p_value(plain.p_value))}, n = {plain.base.n:,}"
    )
    back = ""
    if best is not None and best.recovery is not None:
        ends = ratio_interval(best.recovery_ci95)
        back = f"; of it back {ratio(best.recovery)} {ends}, n = {best.n_report:,}"
    n = len(results.warnings)
    warned = f" Read the {f'{n} warnings' if n > 1 else 'warning'} below first." if n else ""
    kind = "confidence sequences" if plain.at_any_time else "intervals"
    return f"{fall}{back} (95 % {kind} over source examples).{warned}"
