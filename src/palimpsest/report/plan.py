"""A plan as figure, tables and sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from palimpsest.report.figure import BASE, MUTED, RIGHT, TUNED, Drawing, Sheet
from palimpsest.report.terminal import FittedTable, TextColumn
from palimpsest.report.text import csv_text, duration, percent, visible

if TYPE_CHECKING:
    from palimpsest.records import EvaluationPlan, Needed, PlannedVerdict


MORE = "…"
"""Stands for an end beyond all that was simulated."""


class _Pen(NamedTuple):
    color: str
    marker: str


_PENS = {"kept": _Pen(BASE, "o"), "suppressed": _Pen(RIGHT, "^"), "lost": _Pen(TUNED, "D")}


def plan_drawing(found: EvaluationPlan) -> Drawing:
    """Return the figure of a plan: the probability of each verdict by the number of prompts."""

    def draw(sheet: Sheet) -> None:
        legend = [
            Line2D([], [], color=pen.color, marker=pen.marker, markersize=5, label=one.verdict)
            for one in found.verdicts
            for pen in (_PENS[one.verdict],)
        ]
        axes = sheet.axes(2.8, legend)
        for one in found.verdicts:
            pen = _PENS[one.verdict]
            numbers = [point.n for point in one.points]
            axes.fill_between(
                numbers,
                [point.ci95[0] for point in one.points],
                [point.ci95[1] for point in one.points],
                color=pen.color, alpha=0.15, linewidth=0,
            )  # fmt: skip
            axes.plot(
                numbers,
                [point.probability for point in one.points],
                color=pen.color, marker=pen.marker, markersize=5, linewidth=1.6,
                linestyle="-" if one.is_assumed else "--",
            )  # fmt: skip
        for share in (0.8, 0.95):
            axes.axhline(share, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set(xscale="log", xlabel="prompts a cell", ylabel="runs with this verdict")
        ticks = [n for n in (30, 100, 300, 1000, 3000, 10000) if n <= _largest(found)]
        axes.set_xticks(ticks)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.set_ylim(0, 1.02)

    said = "; ".join(
        f"{one.verdict}: "
        + ", ".join(f"{point.n:,} prompts {percent(point.probability)} %" for point in one.points)
        for one in found.verdicts
    )
    return Drawing(
        name="plan",
        title="How often a run ends with each verdict, if it is right",
        caption=f"Bands: 95 % intervals over {found.n_runs} simulated runs for each mark. Dotted: "
        "80 and 95 %. A solid line is what is assumed; a dashed one, the nearest truth with "
        "another verdict.",
        alternative=f"{said}.",
        draw=draw,
    )


def _largest(found: EvaluationPlan) -> int:
    return max(point.n for one in found.verdicts for point in one.points)


def plan_table(found: EvaluationPlan) -> FittedTable:
    """Return the prompts that each verdict takes, as a terminal shows them."""
    verdicts = found.verdicts
    columns = {
        "Verdict": [(_name(one), "") for one in verdicts],
        "Fall, points": [(percent(one.fall), "") for one in verdicts],
        "Comes back, %": [(percent(one.recovery), "") for one in verdicts],
        "n for 80 %": [_needed_cell(found, one.needed[0]) for one in verdicts],
        "n for 95 %": [_needed_cell(found, one.needed[1]) for one in verdicts],
    }
    essential = [("n for 80 %", False), ("n for 95 %", False)]
    more = [
        ("Fall, points", True),
        ("Comes back, %", True),
        *((name, True) for name, _ in essential),
    ]
    return FittedTable(
        [TextColumn(*column, is_number=column[0] != "Verdict") for column in columns.items()],
        [*essential, *more],
        n_essential=2,
        elsewhere="--json or --out DIR",
    )


def _name(one: PlannedVerdict) -> str:
    return f"{one.verdict} (as assumed)" if one.is_assumed else one.verdict


def _needed_cell(found: EvaluationPlan, needed: Needed) -> tuple[str, str]:
    if needed.n is None:
        return f"> {_largest(found):,}", ""
    low, high = (MORE if end is None else f"{end:,}" for end in needed.ci95)
    return f"{needed.n:,}", f"[{low}, {high}]"


def plan_sentences(found: EvaluationPlan) -> Iterator[str]:
    """Yield what the tables do not say: what is assumed, the smallest falls, the cost."""
    assumed = found.assumed
    source = "Assumed" if assumed.pilot is None else f"From the pilot '{assumed.pilot}'"
    if assumed.pilot is not None:
        cell = "" if assumed.cell is None else f", cell '{assumed.cell}'"
        source += f" ({assumed.n_pilot:,} examples{cell})"
    back = ""
    if assumed.recovery is not None and assumed.best is not None:
        via = f" under '{assumed.best}'" if assumed.pilot is not None else ""
        back = f", of which {percent(assumed.recovery)} % comes back{via}"
    yield visible(
        f"{source}: base {percent(assumed.base)} %, a fall of {percent(assumed.fall)} "
        f"points{back}; {len(assumed.vias)} conjugations."
    )
    for one in found.verdicts:
        if one.otherwise is not None:
            yield f"{one.verdict.capitalize()} is not reached: {one.otherwise}."
    for fall in found.smallest_falls:
        if fall.fall is None:
            yield f"{fall.n:,} prompts a cell show no fall with 80 % probability, whatever it is."
        else:
            low, high = (MORE if end is None else percent(end) for end in fall.ci95)
            yield (
                f"{fall.n:,} prompts a cell show a fall of {percent(fall.fall)} points [{low}, "
                f"{high}] or more with 80 % probability."
            )
    yield from _costs(found)


def _costs(found: EvaluationPlan) -> Iterator[str]:
    cost = found.cost
    assumed = next((one for one in found.verdicts if one.is_assumed), None)
    n = None if assumed is None else assumed.needed[0].n
    n, what = (100, "100 prompts a cell") if n is None else (n, f"{n:,} prompts a cell")
    parts = [f"{n * cost.n_questions:,.0f} answers"]
    if cost.n_prompt_tokens is not None and cost.n_answer_tokens is not None:
        sent, said = n * cost.n_prompt_tokens, n * cost.n_answer_tokens
        parts.append(f"{sent:,.0f} tokens sent and {said:,.0f} generated")
    if cost.usd is not None:
        parts.append(f"${n * cost.usd:,.2f}")
    if cost.seconds is not None:
        parts.append(f"about {duration(n * cost.seconds)}, at the pilot's pace")
    cells = f" in {found.assumed.n_cells} cells" if found.assumed.n_cells > 1 else ""
    yield f"{what}{cells} take {', '.join(parts)}."


def csv_plan(found: EvaluationPlan) -> str:
    """Return every simulated number of prompts as CSV."""
    rows = [
        {
            "verdict": one.verdict,
            "is_assumed": one.is_assumed,
            "base": one.base,
            "fall": one.fall,
            "recovery": one.recovery,
            "n": point.n,
            "probability": point.probability,
            "probability_low": point.ci95[0],
            "probability_high": point.ci95[1],
        }
        for one in found.verdicts
        for point in one.points
    ]
    return csv_text(rows)
