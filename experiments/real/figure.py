"""Figure of the experiment on real models: what tuning in English takes, by language and step."""

from __future__ import annotations

from experiments.real.claims import DECIDES_AT, NAMES, Comparison, Outcomes
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from palimpsest.report import BASE, INK, INTRUDED, MUTED, RIGHT, TUNED, Drawing, Sheet
from palimpsest.report.figure import draw_intervals, name_rows
from palimpsest.stats import Interval

MODEL, RUN = "gemma3", "gemma-full"


def drawing(outcomes: Outcomes) -> Drawing:
    """Return the figure of Gemma tuned on English instructions."""
    steps = sorted({key.step for key in outcomes if key[:2] == (MODEL, RUN)})
    comparisons = {step: Comparison(outcomes, MODEL, RUN, step) for step in steps}
    decisive = comparisons[DECIDES_AT]

    def draw(sheet: Sheet) -> None:
        legend = [
            Line2D([], [], color=BASE, marker="o", linestyle="", label="base"),
            Line2D([], [], color=TUNED, marker="s", linestyle="", label="tuned"),
        ]
        n_columns, height = (1, 3.0) if sheet.is_narrow else (2, 3.4)
        by_language, by_step = sheet.panels(2, height, legend, n_columns=n_columns)
        _draw_languages(by_language, decisive)
        _draw_steps(by_step, comparisons, outcomes)

    base, tuned = decisive.accuracy("en")
    others = decisive.difference(["fr", "es", "nl", "de", "hu"])
    return Drawing(
        name="real-models",
        title="Gemma 3 270M tuned on English instructions: in-context accuracy by prompt language",
        caption="Intervals of 95 % over prompts; mean of the seeds of tuning.",
        alternative=f"English falls from {base.value:.0%} to {tuned.value:.0%} within {DECIDES_AT} "
        f"steps; five other languages lose {100 * others.value:.0f} points less in the mean.",
        draw=draw,
    )


def _draw_languages(axes: Axes, comparison: Comparison) -> None:
    names = comparison.languages
    for which, (color, marker) in enumerate(((BASE, "o"), (TUNED, "s"))):
        figures = [comparison.accuracy(name)[which] for name in names]
        draw_intervals(
            axes,
            [100 * each.value for each in figures],
            [_percent(each.prompts) for each in figures],
            [place + 0.14 * (2 * which - 1) for place in range(len(names))],
            fmt=marker,
            color=color,
            markersize=4,
        )
    name_rows(axes, [NAMES[name] for name in names])
    axes.set(title=f"after {DECIDES_AT} steps", xlabel="right, %", xlim=(-2, 102))


_PENS = {
    "en": (TUNED, "s"), "fr": (BASE, "o"), "es": (RIGHT, "^"), "nl": (INTRUDED, "D"),
    "de": (MUTED, "v"), "hu": (INK, "P"),
}  # fmt: skip


def _draw_steps(axes: Axes, comparisons: dict[int, Comparison], outcomes: Outcomes) -> None:
    base = Comparison(outcomes, MODEL, RUN, max(comparisons))
    ends = {}
    for name, (color, marker) in _PENS.items():
        values = [100 * base.accuracy(name)[0].value]
        values += [100 * each.accuracy(name)[1].value for each in comparisons.values()]
        axes.plot(
            range(len(values)),
            values,
            color=color,
            marker=marker,
            markersize=3.5,
            linewidth=2.2 if name == "en" else 1.1,
        )
        ends[name] = values[-1]
    for name, y in _apart(ends, 6).items():
        axes.annotate(
            NAMES[name],
            (len(comparisons), y),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=_PENS[name][0],
        )
    axes.set_xticks(range(len(comparisons) + 1), ["0", *map(str, comparisons)])
    axes.set(title="by steps of tuning", ylim=(-2, 102), xlim=(-0.2, len(comparisons) + 1.1))
    axes.grid(axis="y")


def _apart(places: dict[str, float], least: float) -> dict[str, float]:
    """Move places that are too near to one another upwards."""
    found: dict[str, float] = {}
    last = float("-inf")
    for name, place in sorted(places.items(), key=lambda item: item[1]):
        last = found[name] = max(place, last + least)
    return found


def _percent(interval: Interval) -> tuple[float, float]:
    return 100 * interval.low, 100 * interval.high
