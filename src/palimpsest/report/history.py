"""A history as Markdown, for a terminal and for a comment on a pull request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from palimpsest.report.text import p_value, percent, percent_interval, relation, visible

if TYPE_CHECKING:
    from palimpsest.records import History, HistoryChange, HistoryFigures


def markdown_history(found: History) -> str:
    """Return verdicts and figures over the runs, and the changes that are clear."""
    newest = found.runs[-1]
    lines = [
        f"### Palimpsest: {newest.overall.verdict}",
        "",
        f"Suite `{_safe(found.suite)}`, {len(found.runs)} runs, the newest last; percent of "
        f"{newest.overall.n:,} prompts, falls with 95 % intervals.",
        "",
        "| run | verdict | base | tuned | fall, points |",
        "|---|---|---:|---:|---:|",
    ]
    for run in found.runs:
        lines.append(f"| `{_safe(run.folder)}` | {_figures(run.overall)} |")
    if len(newest.cells) > 1:
        lines += ["", "| cell, newest run | verdict | base | tuned | fall, points |"]
        lines.append("|---|---|---:|---:|---:|")
        lines += [f"| `{_safe(name)}` | {_figures(one)} |" for name, one in newest.cells.items()]
    return "\n".join([*lines, "", *_changes(found)]) + "\n"


def _figures(one: HistoryFigures) -> str:
    ends = percent_interval(one.fall_ci95)
    return (
        f"**{one.verdict}** | {percent(one.base)} | {percent(one.tuned)} | "
        f"{percent(one.fall)} {ends}"
    )


def _changes(found: History) -> Iterator[str]:
    clear = [change for change in found.changes if change.is_clear]
    if not clear:
        yield (
            f"No change of the tuned model from one run to the next is clear (Holm over "
            f"{len(found.changes)} comparisons)."
        )
    for change in clear:
        yield f"- {_change(found, change)}"


def _change(found: History, change: HistoryChange) -> str:
    runs = found.runs[change.before : change.before + 2]
    word = "worse" if change.accuracy_after < change.accuracy_before else "better"
    where = "all cells" if change.cell is None else f"`{_safe(change.cell)}`"
    return (
        f"{where}: {word} from `{_safe(runs[0].folder)}` to `{_safe(runs[1].folder)}`, "
        f"{percent(change.accuracy_before)} → {percent(change.accuracy_after)} % of {change.n:,} "
        f"(1→0 {change.n_lost:,}, 0→1 {change.n_gained:,}; p "
        f"{relation(p_value(change.p_holm))}, Holm over {len(found.changes)})"
    )


def _safe(text: str) -> str:
    """Return a name as it may stand in backquotes in a cell of a table."""
    return visible(text).replace("`", "'").replace("|", "\\|")
