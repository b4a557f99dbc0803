"""Tables of sweeps as CSV, Parquet and Markdown, and of the claims that are judged by them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from palimpsest.lab.runs.claims import CLAIMS, Claim, Judged
from palimpsest.lab.runs.measures import MEASURES
from palimpsest.lab.runs.observer import Observed
from palimpsest.lab.runs.sweep_plan import Plan, Plot
from palimpsest.records import RunFolder
from palimpsest.report import csv_text, number
from palimpsest.report.lab import sweep_drawing
from palimpsest.stats import Array, Line, Mean, Point, mean_over_runs

Table = list[dict[str, Any]]
"""A row a run: the keys that vary, then the measures."""


def write_table(folder: RunFolder, plan: Plan, table: Table) -> None:
    """Write ``table.csv``, ``table.parquet`` if PyArrow is installed, and the figures.

    Raises:
        UserError: A file cannot be written.
    """
    folder.write_text("table.csv", csv_table(table))
    parquet = parquet_table(table)
    if parquet is not None:
        folder.write_bytes("table.parquet", parquet)
    for plot in plan.sweep.plots:
        write_plot(folder, table, plot)


def write_plot(folder: RunFolder, table: Table, plot: Plot) -> str:
    """Write one figure as PNG and SVG and return its name."""
    by = f"-by-{plot.by}" if plot.by else ""
    name = f"{plot.measure}-over-{plot.over}{by}".replace(".", "-").replace("_", "-")
    lines = sweep_lines(table, plot)
    sweep_drawing(name, MEASURES[plot.measure], plot.over, lines).write(folder)
    return name


def csv_table(table: Table) -> str:
    """Return the table as CSV; undefined numbers are empty."""
    return csv_text(table, names=_columns(table))


def parquet_table(table: Table) -> bytes | None:
    """Return the table as Parquet; ``None`` without PyArrow."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return None
    columns = {name: [row.get(name) for row in table] for name in _columns(table)}
    # Lists (an input covariance) and mixed values are no columns; their text is.
    arrays = {
        name: [str(value) for value in values] if _is_odd(values) else values
        for name, values in columns.items()
    }
    out = io.BytesIO()
    parquet.write_table(pyarrow.table(arrays), out)
    return out.getvalue()


def sweep_lines(table: Table, plot: Plot) -> list[Line]:
    """Return a line for each value of ``plot.by``, a point for each value of ``plot.over``.

    Example:
        >>> table = [{"x": 1, "recovery": 0.5}, {"x": 1, "recovery": 0.7}]
        >>> [line] = sweep_lines(table, Plot(measure="recovery", over="x"))
        >>> line.points[0].mean
        0.6
    """
    groups = list(dict.fromkeys(row.get(plot.by) for row in table)) if plot.by else [None]
    lines = []
    for group in groups:
        rows = [row for row in table if plot.by is None or row.get(plot.by) == group]
        points = []
        for x in dict.fromkeys(row[plot.over] for row in rows):
            values = [
                row[plot.measure]
                for row in rows
                if row[plot.over] == x and row.get(plot.measure) is not None
            ]
            if values:
                points.append(Point(x, *mean_over_runs(values), values))
        lines.append(Line("" if plot.by is None else f"{plot.by} = {group}", points))
    return lines


def summary(table: Table, *, over: str, measures: Sequence[str], by: str | None = None) -> str:
    """Return means over runs with their 95 % intervals as Markdown, a row for each value.

    What there is one run of has no interval.

    Args:
        table: A row a run.
        over: The key whose values make the rows.
        measures: Columns, by name.
        by: A key with rows of its own for each of its values.

    Example:
        >>> table = [{"x": x, "recovery": value} for x, value in ((1, 0.5), (1, 0.7), (2, 0.4))]
        >>> print(summary(table, over="x", measures=["recovery"]))
        | x | recovery |
        |---|---|
        | 1 | 0.60 [−0.67, 1.87] |
        | 2 | 0.40 |
    """
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for measure in measures:
        for line in sweep_lines(table, Plot(measure=measure, over=over, by=by)):
            for x, mean, low, high, values in line.points:
                row = cells.setdefault((line.name, str(x)), {})
                several = len(values) > 1
                row[measure] = _mean_text(Mean(mean, low, high), 2) if several else number(mean, 2)
    head = [*([by] if by else []), over, *measures]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for (name, x), row in cells.items():
        group = [name.partition(" = ")[2]] if by else []
        shown = [row.get(measure, "–") for measure in measures]
        lines.append("| " + " | ".join([*group, x, *shown]) + " |")
    return "\n".join(lines)


def claims_table(judged: Sequence[Judged]) -> str:
    """Return the claims with figures and verdicts as Markdown."""
    lines = [
        f"| Claim | Figures: mean of {judged[0].n_runs} runs [95 % interval] | Verdict |",
        "|---|---|---|",
    ]
    for claim, means, verdict, _ in judged:
        figures = "<br>".join(
            f"{MEASURES.get(name, name)}: {_mean_text(mean, 3)}" for name, mean in means.items()
        )
        lines.append(f"| **{claim.name}** {claim.statement} | {figures} | **{verdict}** |")
    return "\n".join(lines)


def observed_table(observed: Observed) -> str:
    """Return the models' weights beside the observer's as Markdown, a row for each M.

    A cell has ĝ on the M tasks, then what the observer fitted to all expects, then what the one
    that has not seen this M does; means over seeds.
    """
    models = observed.models
    steps = np.unique(models.n_steps)
    lines = [
        "| M | " + " | ".join(f"{int(n):,} steps" for n in steps) + " | new tasks, at the end |",
        "|---:|" + "---|" * (len(steps) + 1),
    ]
    for n_tasks in np.unique(models.n_tasks):
        cells = [f"{int(n_tasks):,}"]
        for n_steps in steps:
            here = (models.n_tasks == n_tasks) & (models.n_steps == n_steps)
            shown = (models.inside, observed.expected, observed.held_out)
            cells.append(" / ".join(_mean_number(column[here]) for column in shown))
        last = (models.n_tasks == n_tasks) & (models.n_steps == steps[-1])
        cells.append(_mean_number(models.outside[last]))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def correlations(observed: Observed) -> str:
    """Return the observer and its three correlations as a sentence in Markdown."""
    gamma, discount, complexity = observed.observer
    return (
        f"Observer: γ = {gamma:.3g}, a = {number(discount, 2)}, b = {number(complexity, 2)}. "
        f"Correlation over {len(observed.expected)} models: {number(observed.inside, 3)} on the M "
        f"tasks, {number(observed.outside, 3)} on new ones; "
        f"{number(observed.inside_held_out, 3)} on the M tasks where "
        "each M is left out of the fit."
    )


def bases_table(table: Table) -> str:
    """Return a row a seed of a sweep as Markdown: how far its base has come, and what tuning did.

    Intervals are over prompts.
    """
    lines = [
        "| seed | steps | missing on `D_mix` | α̂ | ĝ on `D_disc` (Bayes) | converged "
        "| C3, by odds | recovery by labels |",
        "|---:|---:|---:|---|---|---|---|---|",
    ]
    for row in table:
        cells = (
            str(row["seed"]),
            str(row["n_pretrained"]),
            f"{100 * row['share_of_mixture']:.2f} %",
            _with_interval(row, "alpha_base"),
            f"{number(row['g_hat_discrete'], 2)} ({number(row['g_hat_mixture'], 2)})",
            "yes" if row["is_converged"] else "no",
            _with_interval(row, "nearest_minus_farthest_odds"),
            _with_interval(row, "recovery_scaling"),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def compared(tables: Mapping[str, Table], measures: Sequence[str]) -> str:
    """Return means over runs with their 95 % intervals as Markdown, a column for each table.

    Example:
        >>> tables = {"a": [{"recovery": 0.5}, {"recovery": 0.7}], "b": [{"recovery": 0.5}]}
        >>> print(compared(tables, ["recovery"]))
        | | a, 2 runs | b, 1 runs |
        |---|---|---|
        | recovery by the largest symmetry ensemble | 0.600 [−0.671, 1.871] | 0.500 [0.500, 0.500] |
    """
    heads = [f"{name}, {len(table)} runs" for name, table in tables.items()]
    lines = ["| | " + " | ".join(heads) + " |", "|" + "---|" * (len(heads) + 1)]
    for measure in measures:
        values = [[row[measure] for row in table] for table in tables.values()]
        cells = [_mean_text(mean_over_runs(found), 3) for found in values]
        lines.append("| " + " | ".join([MEASURES[measure], *cells]) + " |")
    return "\n".join(lines)


def growth_lines(table: Table, measures: Mapping[str, str]) -> list[Line]:
    """Return a line for each measure over the steps of the pretrainings.

    Args:
        table: A row a run.
        measures: Names to what their lines are called.
    """
    lines = []
    for measure, name in measures.items():
        [line] = sweep_lines(table, Plot(measure=measure, over="pretrain.n_steps"))
        lines.append(Line(name, line.points))
    return lines


def rules_list(claims: Sequence[Claim] = CLAIMS) -> str:
    """Return how each verdict follows, as Markdown."""
    return "\n".join(f"- **{claim.name}** {claim.rule}" for claim in claims)


def read_csv(text: str) -> Table:
    """Return the table that :func:`csv_table` wrote; what is no number stays text."""
    return [
        {name: _number(value) for name, value in row.items()}
        for row in csv.DictReader(io.StringIO(text))
    ]


def _mean_text(mean: Mean, digits: int) -> str:
    return f"{number(mean.mean, digits)} [{number(mean.low, digits)}, {number(mean.high, digits)}]"


def _with_interval(row: Mapping[str, Any], measure: str) -> str:
    value, low, high = (row.get(name) for name in (measure, f"{measure}_low", f"{measure}_high"))
    if value is None:
        return "–"
    if low is None or high is None:
        return number(value, 3)
    return _mean_text(Mean(value, low, high), 3)


def _number(text: str) -> float | str | None:
    try:
        return None if not text else int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


def _columns(table: Table) -> list[str]:
    names = dict.fromkeys(name for row in table for name in row)
    return [*(name for name in names if name not in _LAST), *_LAST]


_LAST = ("seconds", "error")


def _is_odd(values: Sequence[Any]) -> bool:
    kinds = {type(value) for value in values if value is not None}
    return bool(kinds & {list, dict, tuple}) or len(kinds - {int, float}) > 1 or kinds >= {str, int}


def _mean_number(values: Array) -> str:
    return number(values.mean() if len(values) else None, 2)
