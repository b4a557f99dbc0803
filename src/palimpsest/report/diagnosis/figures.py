"""Figures of a diagnosis, in the order of its page: each a function from results to a drawing.

They show what the results hold and compute nothing. ``docs/adding/figure.md`` adds one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from palimpsest.report.diagnosis.basis import (
    NO_INTERVALS,
    of_accuracies,
    of_differences,
    of_falls,
)
from palimpsest.report.diagnosis.tables import by_recovery, table_rows
from palimpsest.report.figure import (
    BAND,
    BASE,
    BROKEN,
    INK,
    INTRUDED,
    MUTED,
    ON_DARK,
    ON_LIGHT,
    RIGHT,
    TUNED,
    Drawing,
    FigureRegistry,
    Sheet,
    draw_intervals,
    name_rows,
)
from palimpsest.report.text import (
    clipped,
    conjugation_label,
    how_many,
    percent,
    percent_interval,
    ratio,
    ratio_interval,
    visible,
)

if TYPE_CHECKING:
    from palimpsest.records import Arm, ConjugationResult, InferenceArm, InferenceResult, Results

FIGURES: FigureRegistry[Results] = FigureRegistry()

MAX_PANELS = 12
"""More cells than this get no small multiples: nobody could read them."""

MAX_ROWS = 60
"""More cells than this get no figure at all."""

_OUTCOMES = (
    ("right", RIGHT, ON_DARK),
    ("intruded", INTRUDED, ON_LIGHT),
    ("broken", BROKEN, ON_LIGHT),
)
"""Name, colour, and the colour of text on it."""

_MASSES = ("right", "intruding", "other")
"""In the colours of the outcomes."""

_MODELS = (("base", BASE, "o", -0.15), ("tuned", TUNED, "D", 0.15))
"""Role, colour, marker, and how far its mark is moved off the row."""


@FIGURES.register
def accuracy(results: Results) -> Drawing:
    """Base against tuned accuracy for each way of asking; a dashed line is guessing."""
    rows, chance = table_rows(results), results.suite.chance

    def draw(sheet: Sheet) -> None:
        legend = [
            Line2D([], [], color=color, marker=marker, linestyle="", markersize=5.5, label=role)
            for role, color, marker, _ in _MODELS
        ]
        axes = sheet.axes(0.5 + 0.36 * len(rows), legend)
        for role, color, marker, offset in _MODELS:
            arms: list[Arm] = [getattr(row, role) for row in rows]
            draw_intervals(
                axes,
                [arm.accuracy for arm in arms],
                [arm.ci95 for arm in arms],
                [place + offset for place in range(len(rows))],
                color=color,
                fmt=marker,
                markersize=5.5,
            )
        name_rows(axes, [_short(row.name, sheet) for row in rows])
        axes.axhspan(-0.5, 0.5, color=BAND, linewidth=0, zorder=0)
        _percent_axis(axes, "accuracy")
        axes.set_xlim(-0.02, 1.02)
        if chance is not None:
            axes.axvline(chance, color=MUTED, linewidth=1, linestyle="--", zorder=1)

    said = (
        f"{conjugation_label(row.name)}: base {percent(row.base.accuracy)} % "
        f"{percent_interval(row.base.ci95)}, tuned {percent(row.tuned.accuracy)} % "
        f"{percent_interval(row.tuned.ci95)}"
        for row in rows
    )
    guessing = "" if chance is None else f" Dashed line: guessing, {percent(chance)} %."
    return Drawing(
        name="accuracy",
        title="Accuracy of the base and the tuned model, by how they are asked",
        caption="A conjugation that brings the ability back moves the tuned model’s mark towards "
        "the base model’s." + guessing,
        alternative=f"Accuracy. {'; '.join(said)}.{guessing}",
        basis=f"{how_many(row.base.n for row in rows)}; {of_accuracies(results)}.",
        draw=draw,
    )


@FIGURES.register
def recovery(results: Results) -> Drawing | None:
    """Recovered share of the forgetting for each conjugation; what is undefined is said."""
    conjugations = by_recovery(results.conjugations)
    if not conjugations:
        return None

    def draw(sheet: Sheet) -> None:
        axes = sheet.axes(0.5 + 0.32 * len(conjugations))
        low, high = _recovery_limits(conjugations)
        axes.set_xlim(low, high)
        for place, result in enumerate(conjugations):
            if result.recovery is None:
                note = "undefined" if sheet.is_narrow else "undefined: no clear forgetting"
                axes.text(max(low, 0) + 0.02, place, note, va="center", color=MUTED, style="italic")
            else:
                _draw_recovered(axes, place, result.recovery, result.recovery_ci95)
        for reference in (0, 1):
            axes.axvline(reference, color=MUTED, linewidth=1, zorder=1)
        name_rows(axes, [_short(result.name, sheet) for result in conjugations])
        axes.set_xlabel("recovery (0: nothing, 1: all of the forgetting)")

    said = (
        f"{conjugation_label(result.name)}: {ratio(result.recovery)} "
        f"{ratio_interval(result.recovery_ci95)}".rstrip()
        for result in conjugations
    )
    return Drawing(
        name="recovery",
        title="Share of the forgetting that each conjugation recovers",
        caption="0: as forgotten as when asked plainly. 1: as good as the base model asked "
        "plainly. An arrow means that an interval goes on. The verdict stands on the half that "
        "did not choose the best.",
        alternative=f"Recovery. {'; '.join(said)}.",
        basis=f"{how_many(one.tuned.n for one in conjugations)}; {of_differences(results)}.",
        draw=draw,
    )


@FIGURES.register
def outcomes(results: Results) -> Drawing | None:
    """Right, intruded and broken shares of both models for each way of asking."""
    if results.suite.scoring != "abilities":
        return None
    rows = table_rows(results)

    def draw(sheet: Sheet) -> None:
        axes = sheet.axes(0.5 + 0.62 * len(rows), _outcome_legend())
        for index, row in enumerate(rows):
            axes.text(0, 3 * index + 0.05, _short(row.name, sheet), weight="bold", va="center")
        arms = [arm for row in rows for arm in (row.base, row.tuned)]
        places = [3 * index + below for index in range(len(rows)) for below in (0.85, 1.75)]
        _draw_shares(axes, list(map(_triple, arms)), places, 0.8, label_from=0.45 / sheet.width)
        axes.set_yticks(places, ["base", "tuned"] * len(rows))
        axes.set_ylim(3 * len(rows) - 0.6, -0.6)
        axes.grid(visible=False)
        _percent_axis(axes, "share of answers")

    said = (
        f"{conjugation_label(row.name)}: base {_shares(row.base)}; tuned {_shares(row.tuned)}"
        for row in rows
    )
    return Drawing(
        name="outcomes",
        title="Shares of right, intruded and broken answers, by how the models are asked",
        caption="Intruded answers belong to another ability than the one asked for; broken ones "
        "to none. Much intrusion points to suppression, much breakage to damage.",
        alternative=f"Outcomes. {'. '.join(said)}.",
        basis=f"{how_many(row.base.n for row in rows)}; {NO_INTERVALS}: those of the right answers "
        "are in the first figure.",
        draw=draw,
    )


@FIGURES.register
def cells(results: Results) -> Drawing | None:
    """The same shares for each cell, as small multiples."""
    found = results.cells
    if results.suite.scoring != "abilities" or not 1 < len(found) <= MAX_PANELS:
        return None
    groups = {
        cell.name: [(row.name, _triple(row.base), _triple(row.tuned)) for row in table_rows(cell)]
        for cell in found
    }

    def draw(sheet: Sheet) -> None:
        label = "share of answers; upper bar base, lower bar tuned"
        _draw_panels(sheet, groups, _outcome_legend(), label)

    said = (
        f"{visible(cell.name)}, asked plainly: base {_shares(cell.plain.base)}; "
        f"tuned {_shares(cell.plain.tuned)}"
        for cell in found
    )
    return Drawing(
        name="cells",
        title="Shares of right, intruded and broken answers in each cell",
        caption="Of each pair of bars the upper is the base model, the lower the tuned model.",
        alternative=f"Outcomes in each cell. {'. '.join(said)}.",
        basis=f"{how_many(cell.plain.base.n for cell in found)} in each cell; {NO_INTERVALS}: "
        "those of the right answers are in the table of cells.",
        draw=draw,
    )


@FIGURES.register
def inference(results: Results) -> Drawing | None:
    """Probability of each task's openings before and after tuning, for each way of asking."""
    found = results.inference
    if not found:
        return None

    def draw(sheet: Sheet) -> None:
        axes = sheet.axes(0.5 + 0.62 * len(found), _outcome_legend(_MASSES))
        for index, each in enumerate(found):
            name = _short(each.via, sheet)
            if not sheet.is_narrow:
                name += f"   shift {_signed(each.shift)}"
            axes.text(0, 3 * index + 0.05, name, weight="bold", va="center")
        arms = [arm for each in found for arm in (each.base, each.tuned)]
        places = [3 * index + below for index in range(len(found)) for below in (0.85, 1.75)]
        _draw_shares(axes, list(map(_masses, arms)), places, 0.8, label_from=0.45 / sheet.width)
        ends = [arm.right_ci95 for arm in arms]
        draw_intervals(axes, [arm.right for arm in arms], ends, places, color=INK, fmt="none")
        axes.set_yticks(places, ["base", "tuned"] * len(found))
        axes.set_ylim(3 * len(found) - 0.6, -0.6)
        axes.grid(visible=False)
        _percent_axis(axes, "probability at the beginning of the answer")

    return Drawing(
        name="inference",
        title="Which task the models infer, before and after tuning, by how they are asked",
        caption="Probability, before anything is said, of answers that begin as right ones do, as "
        "those of other abilities do, and of all others. The shift is the mean change of the "
        "log-odds of the other abilities against the right one, in nats; drift is the change of "
        "the log-likelihood, a token, of the rest of the right answer once it has begun.",
        alternative=f"Inference. {'. '.join(map(_inferred, found))}.",
        basis=f"{how_many((each.base.n for each in found), 'prompts')}; 95 % intervals, of the "
        "right openings: bootstrap over source examples.",
        draw=draw,
    )


@FIGURES.register
def forgetting(results: Results) -> Drawing | None:
    """Forgetting in each task of logs that only tell right from wrong."""
    found = results.cells
    if results.suite.scoring == "abilities" or not 1 < len(found) <= MAX_ROWS:
        return None

    def draw(sheet: Sheet) -> None:
        axes = sheet.axes(0.5 + 0.28 * len(found))
        draw_intervals(
            axes,
            [cell.plain.forgetting for cell in found],
            [cell.plain.forgetting_hull95 for cell in found],
            range(len(found)),
            color=TUNED,
            fmt="D",
            markersize=5,
        )
        axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
        name_rows(axes, [_short(cell.name, sheet) for cell in found])
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
        axes.set_xlabel("forgetting, points")

    said = (
        f"{visible(cell.name)}: {percent(cell.plain.forgetting)} "
        f"{percent_interval(cell.plain.forgetting_hull95)}"
        for cell in found
    )
    return Drawing(
        name="forgetting",
        title="Forgetting in each task, both models asked plainly",
        caption="Base minus tuned accuracy, in points, "
        "not adjusted for the number of tasks. To the right of zero the tuned model is worse.",
        alternative=f"Forgetting. {'; '.join(said)}.",
        basis=f"{how_many(cell.plain.base.n for cell in found)} in each; {of_falls(results)}.",
        draw=draw,
    )


@FIGURES.register
def pooled(results: Results) -> Drawing | None:
    """Forgetting in each cell by itself, and drawn towards the other cells."""
    if results.pooled is None or len(results.cells) > MAX_ROWS:
        return None
    pairs = list(zip(results.cells, results.pooled.cells, strict=True))

    def draw(sheet: Sheet) -> None:
        legend = [
            Line2D([], [], color=color, marker=marker, linestyle="", markersize=5.5, label=label)
            for color, marker, label in ((TUNED, "D", "by itself"), (INK, "o", "pooled"))
        ]
        axes = sheet.axes(0.5 + 0.36 * len(pairs), legend)
        for offset, color, marker, values in (
            (
                -0.15,
                TUNED,
                "D",
                [(one.plain.forgetting, one.plain.forgetting_hull95) for one, _ in pairs],
            ),
            (0.15, INK, "o", [(one.fall, one.fall_ci95) for _, one in pairs]),
        ):
            draw_intervals(
                axes,
                [value for value, _ in values],
                [ends for _, ends in values],
                [place + offset for place in range(len(pairs))],
                color=color,
                fmt=marker,
                markersize=5,
            )
        axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
        name_rows(axes, [_short(cell.name, sheet) for cell, _ in pairs])
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=""))
        axes.set_xlabel("forgetting, points")

    said = (
        f"{visible(cell.name)}: by itself {percent(cell.plain.forgetting)} "
        f"{percent_interval(cell.plain.forgetting_hull95)}, pooled {percent(one.fall)} "
        f"{percent_interval(one.fall_ci95)}"
        for cell, one in pairs
    )
    return Drawing(
        name="pooled",
        title="Forgetting in each cell, by itself and with the other cells heard",
        caption="A cell that stands out of many may do so by luck. Its pooled figure is drawn "
        "towards those of the others, the more so the fewer examples it has and the more alike "
        "the others are. No verdict goes by it.",
        alternative=f"Forgetting, pooled. {'; '.join(said)}.",
        basis=f"{how_many(cell.plain.base.n for cell, _ in pairs)} in each cell. By itself: "
        f"{of_falls(results)}; pooled: 95 % of the posterior, over cells like these.",
        draw=draw,
    )


@FIGURES.register
def inference_cells(results: Results) -> Drawing | None:
    """The same masses for each cell, as small multiples."""
    found = [cell for cell in results.cells if cell.inference]
    if not 1 < len(found) <= MAX_PANELS:
        return None
    groups = {
        cell.name: [(one.via, _masses(one.base), _masses(one.tuned)) for one in cell.inference]
        for cell in found
    }

    def draw(sheet: Sheet) -> None:
        label = "probability at the beginning; upper bar base, lower bar tuned"
        _draw_panels(sheet, groups, _outcome_legend(_MASSES), label)

    said = (f"{visible(cell.name)}: {'. '.join(map(_inferred, cell.inference))}" for cell in found)
    return Drawing(
        name="inference-cells",
        title="Which task the models infer in each cell",
        caption="Of each pair of bars the upper is the base model, the lower the tuned model.",
        alternative=f"Inference in each cell. {'. '.join(said)}.",
        basis=f"{how_many((one.base.n for cell in found for one in cell.inference), 'prompts')} "
        f"in each cell; {NO_INTERVALS}: they are in results.json.",
        draw=draw,
    )


def _draw_recovered(
    axes: Axes, place: int, recovery: float, interval: tuple[float, float] | None
) -> None:
    low, high = axes.get_xlim()
    if interval is not None:
        start, end = max(interval[0], low), min(interval[1], high)
        axes.plot([start, end], [place, place], color=TUNED, linewidth=1.4)
        for edge, limit, arrow in ((interval[0], start, "<"), (interval[1], end, ">")):
            marker = "|" if edge == limit else arrow
            axes.plot([limit], [place], marker, color=TUNED, markersize=5, clip_on=False)
    if low <= recovery <= high:
        axes.plot([recovery], [place], "D", color=TUNED, markersize=5, clip_on=False)


def _recovery_limits(conjugations: Sequence[ConjugationResult]) -> tuple[float, float]:
    """Show 0 to 1 and what lies around it, but never so much that this range shrinks away."""
    values = [-0.1, 1.1]
    for result in conjugations:
        values += [] if result.recovery is None else [result.recovery]
        low, high = result.recovery_ci95 or (0.0, 1.0)
        values += [low - 0.05, high + 0.05]
    return max(min(values), -1.0), min(max(values), 2.0)


def _draw_shares(
    axes: Axes,
    triples: Sequence[tuple[float, float, float]],
    places: Sequence[float],
    height: float,
    *,
    label_from: float = 2.0,
) -> None:
    """Stack the three shares; write those of at least ``label_from`` into their segments."""
    starts = [0.0] * len(triples)
    for (_, color, on_color), shares in zip(_OUTCOMES, zip(*triples, strict=True), strict=True):
        axes.barh(places, shares, left=starts, height=height, color=color)
        for place, start, share in zip(places, starts, shares, strict=True):
            if share >= label_from:
                style: dict[str, Any] = {"ha": "center", "va": "center", "size": 8}
                axes.text(start + share / 2, place, f"{100 * share:.0f}", color=on_color, **style)
        starts = [start + share for start, share in zip(starts, shares, strict=True)]


_Row = tuple[str, tuple[float, float, float], tuple[float, float, float]]
"""A way of asking, with the three shares of the base and of the tuned model."""


def _draw_panels(
    sheet: Sheet, groups: Mapping[str, Sequence[_Row]], legend: Sequence[Patch], label: str
) -> None:
    """Draw a panel for each cell, in it a pair of bars for each way of asking."""
    names = list(dict.fromkeys(name for rows in groups.values() for name, *_ in rows))
    n_columns = min(len(groups), 2 if sheet.is_narrow else 4)
    panels = sheet.panels(
        len(groups),
        0.45 + 0.2 * len(names),
        legend,
        n_columns=n_columns,
        margin=0.25,
        sharex=True,
        sharey=True,
    )
    for (cell, rows), panel in zip(groups.items(), panels, strict=True):
        places = [names.index(name) for name, *_ in rows]
        _draw_shares(panel, [base for _, base, _ in rows], [at - 0.19 for at in places], 0.34)
        _draw_shares(panel, [tuned for *_, tuned in rows], [at + 0.19 for at in places], 0.34)
        panel.set_title(clipped(visible(cell), round(sheet.width * 10 / n_columns)))
        panel.grid(visible=False)
        name_rows(panel, [_short(name, sheet) for name in names])
        _percent_axis(panel, "", step=0.5)
    sheet.figure.supxlabel(label, size=9)


def _masses(arm: InferenceArm) -> tuple[float, float, float]:
    return arm.right, arm.intruding, arm.other


def _triple(arm: Arm) -> tuple[float, float, float]:
    return arm.accuracy, arm.intruded, arm.broken


def _outcome_legend(names: Sequence[str] = ("right", "intruded", "broken")) -> list[Patch]:
    pairs = zip(names, _OUTCOMES, strict=True)
    return [Patch(color=color, label=name) for name, (_, color, _) in pairs]


def _percent_axis(axes: Axes, label: str, *, step: float = 0.25) -> None:
    ticks = [index * step for index in range(round(1 / step) + 1)]
    axes.set(xlim=(0, 1), xticks=ticks, xlabel=label)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


def _short(name: str, sheet: Sheet) -> str:
    return clipped(conjugation_label(name), 14 if sheet.is_narrow else 28)


def _inferred(each: InferenceResult) -> str:
    arms = ((role, getattr(each, role)) for role, *_ in _MODELS)
    said = [
        f"{role} {percent(arm.right)} % right {percent_interval(arm.right_ci95)}, "
        f"{percent(arm.intruding)} % intruding {percent_interval(arm.intruding_ci95)}, "
        f"{percent(arm.other)} % other, g {ratio(arm.g)} {ratio_interval(arm.g_ci95)}".rstrip()
        for role, arm in arms
    ]
    said.append(f"shift {_signed(each.shift)} {ratio_interval(each.shift_ci95)}")
    if each.drift is not None:
        said.append(f"drift {_signed(each.drift)} {ratio_interval(each.drift_ci95)}")
    return f"{conjugation_label(each.via)}: {'; '.join(said)}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _shares(arm: Arm) -> str:
    wrong = f" (of these wrong {percent(arm.attempted)} %)" if arm.attempted else ""
    return (
        f"{percent(arm.accuracy)} % right, {percent(arm.intruded)} % intruded{wrong}, "
        f"{percent(arm.broken)} % broken"
    )
