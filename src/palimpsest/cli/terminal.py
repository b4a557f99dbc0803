"""The terminal: progress bars, JSON, and results of a diagnosis, in which no text acts on it."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from palimpsest.judging import ModelForecast, Whole, Workers
    from palimpsest.lm.models import Budget
    from palimpsest.records import Results

Show = Callable[[str, int, int, str], None]
"""Told a bar's name, how much is done, of how much (0 where nobody knows), and a note such as a
loss."""

SECONDS_BETWEEN_LINES = 60.0
"""Of progress, where standard error is a file."""

_SECONDS_BETWEEN_WORKERS = 1.0
_MOST_WORKERS = 16
"""How many are shown one by one."""

_ACTS = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Beyond what JSON escapes by itself: terminal controls, reordering marks, lone surrogates."""


def command_line() -> str:
    """Return the command as the user typed it, to be recorded."""
    return shlex.join(["palimpsest", *sys.argv[1:]])


@contextmanager
def progress_bars(*, enabled: bool = True) -> Iterator[Show]:
    """Draw one bar for each name that is shown, on standard error, in the order they come.

    Where that is no terminal but a file, it gets a line a minute, and one at the end of each.
    """
    if not enabled:
        yield lambda name, n_done, n_total, note: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),  # what the words leave of the line
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeLeft(),
        console=console,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def show(name: str, n_done: int, n_total: int, note: str) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=n_total or None, note="")
            bars.update(tasks[name], completed=n_done, note=note)

        yield show


def rate(n_answers: int, seconds: float) -> str:
    """Return how fast answers come; nothing before the first.

    Example:
        >>> rate(120, 2.0), rate(30, 20.0), rate(3, 20.0), rate(0, 20.0)
        ('60 answers/s', '1.5 answers/s', '6.7 s an answer', '')
    """
    if n_answers <= 0 or seconds <= 0:
        return ""
    if n_answers < seconds:
        return f"{seconds / n_answers:.1f} s an answer"
    per_second = n_answers / seconds
    return f"{per_second:.0f} answers/s" if per_second >= 10 else f"{per_second:.1f} answers/s"


class _Lines:
    """Writes progress as lines: one a minute, and one where something is done.

    What has no end is written along with the others.
    """

    def __init__(self) -> None:
        self._endless: dict[str, str] = {}
        self._started: dict[str, tuple[float, int]] = {}
        self._finished: set[str] = set()
        self._told = time.monotonic()

    def __call__(self, name: str, n_done: int, n_total: int, note: str) -> None:
        """Write a line if one is due."""
        if not n_total:
            self._endless[name] = f"{name} {n_done}"
            if note:
                self._endless[name] += f", {note}"
            return
        now = time.monotonic()
        start, n_before = self._started.setdefault(name, (now, n_done))
        is_finished = n_done >= n_total and name not in self._finished
        if not is_finished and now - self._told < SECONDS_BETWEEN_LINES:
            return
        self._told = now
        left = ""
        if is_finished:
            self._finished.add(name)
        elif n_done > n_before:
            from palimpsest.report import duration

            seconds = (now - start) * (n_total - n_done) / (n_done - n_before)
            left = f"about {duration(seconds)} left"
        line = ", ".join(filter(None, (f"{name} {n_done}/{n_total}", note, left)))
        for each in (line, *self._endless.values()):
            typer.echo(each, err=True)
        self._endless.clear()


def json_text(value: Any) -> str:
    r"""Return a value as JSON, with everything escaped that a terminal would act on.

    Example:
        >>> print(json_text({"answer": "Été \x9b1m"}))
        {
          "answer": "Été \u009b1m"
        }
    """
    from json import dumps

    text = dumps(value, ensure_ascii=False, allow_nan=False, indent=2)
    return _ACTS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def told_by(show: Show, workers: Workers | None = None) -> Callable[[str, int, int, int], None]:
    """Return what is told of answers, of how many, and how many of them were on file.

    Args:
        show: Draws it.
        workers: Who answer: what each has done is shown as well, once a second.
    """
    started: dict[str, float] = {}
    told = float("-inf")

    def tell(name: str, n_done: int, n_total: int, n_reused: int) -> None:
        nonlocal told
        now = time.monotonic()
        if n_done > n_reused and (now - told > _SECONDS_BETWEEN_WORKERS or n_done == n_total):
            told = now
            _show_workers(show, workers)
        seconds = now - started.setdefault(name, now)
        show(name, n_done, n_total, rate(n_done - n_reused, seconds))

    return tell


def _show_workers(show: Show, workers: Workers | None) -> None:
    """Show what each worker has done, and how often its place had to be filled again."""
    crew = None if workers is None else workers.record()
    if crew is None:
        return
    for number, each in enumerate(crew.workers[:_MOST_WORKERS], 1):
        parts = [each.host or "getting ready", rate(each.n_answers, each.busy_seconds)]
        if each.n_restarts:
            parts.append(f"{each.n_restarts} restarts" if each.n_restarts > 1 else "1 restart")
        show(f"  worker {number}", each.n_answers, 0, ", ".join(filter(None, parts)))
    rest = crew.workers[_MOST_WORKERS:]
    if rest:
        n_restarts = sum(each.n_restarts for each in rest)
        note = f"{n_restarts} restarts" if n_restarts else ""
        show(f"  {len(rest)} more", sum(each.n_answers for each in rest), 0, note)
    if crew.n_set_aside:
        show("  set aside", crew.n_set_aside, 0, "prompts that end their workers")


def diagnose_and_show(
    base: str,
    tuned: str,
    *,
    suite: str | None,
    out: Path,
    via: Sequence[str] | None = None,
    limit: int | None = None,
    scorer: str | None = None,
    whole: Whole = "sample",
    samples: str | None = None,
    inference: bool = False,
    noise_floor: int = 0,
    until_sure: bool = False,
    min_fidelity: float = 0.0,
    budget: Budget | None = None,
    workers: AbstractContextManager[Workers] | None = None,
    seed: int = 0,
    quiet: bool = False,
    as_json: bool = False,
) -> Results:
    """Diagnose a pair and print what the options ask for."""
    from palimpsest.judging import diagnose

    told: list[str] = []
    with (
        workers or nullcontext() as held_by,
        progress_bars(enabled=not quiet and not as_json) as show,
    ):

        def notify(warnings: Sequence[str]) -> None:
            told.extend(warnings)
            show_notes(warnings)

        results = diagnose(
            base,
            tuned,
            suite=suite,
            via=via,
            out=out,
            limit=limit,
            scorer=scorer,
            whole=whole,
            samples=samples,
            inference=inference,
            noise_floor=noise_floor,
            until_sure=until_sure,
            min_fidelity=min_fidelity,
            budget=budget,
            workers=held_by,
            seed=seed,
            command=command_line(),
            progress=told_by(show, held_by),
            notify=None if as_json else notify,
        )
    show_results(results, out, quiet=quiet, as_json=as_json, told=told)
    return results


def answer_and_tell(
    shard: str,
    asked: Mapping[str, Any],
    out: Path,
    workers: AbstractContextManager[Workers],
    *,
    quiet: bool,
) -> None:
    """Answer a shard of a diagnosis, and say what comes next."""
    from palimpsest.judging import Shard, answer_shard

    part = Shard.parse(shard)
    with workers as held_by, progress_bars(enabled=not quiet) as show:
        found = answer_shard(
            part,
            asked,
            out=out,
            workers=held_by,
            command=command_line(),
            progress=told_by(show, held_by),
            notify=show_notes,
        )
    show_notes(found.notes)
    left_out = f", {found.n_left_out} example(s) left out" if found.n_left_out else ""
    typer.echo(
        f"Shard {part}: {found.n_answers} answers in {out}{left_out}. When all {part.n} are there: "
        "palimpsest merge DIRS… --out DIR"
    )


def forecast_and_show(
    asked: Mapping[str, Any], out: Path, prices: Path | None, *, quiet: bool, as_json: bool
) -> None:
    """Print what a diagnosis would ask."""
    from palimpsest.judging import forecast
    from palimpsest.lm.models import PriceTable

    names = (
        "base", "tuned", "suite", "via", "limit", "scorer", "samples",
        "noise_floor", "until_sure", "n_workers",
    )  # fmt: skip
    options: dict[str, Any] = {name: asked[name] for name in names if name in asked}
    found = forecast(
        **options,
        out=out,
        prices=None if prices is None else PriceTable.read(prices),
        command=command_line(),
    )
    if as_json:
        typer.echo(json_text(found.to_json()))
        return
    typer.echo(
        f"{found.n_examples:,} examples of '{found.suite}', asked in {len(found.vias)} ways: "
        f"{', '.join(found.vias)}."
    )
    for each in found.models:
        typer.echo(f"{each.role} {each.model}: {_forecast_of(each)}")
    if not quiet and found.n_sampled:
        typer.echo(
            f"{found.n_sampled} questions were asked for this; their answers are in {out}. On a "
            "full run batches are fuller, so it is rather faster."
        )


def _forecast_of(model: ModelForecast) -> str:
    """Return in words what a model would be asked."""
    from palimpsest.report import duration

    about = "" if model.counts == "tokenizer" else "about "
    parts = [
        f"{model.n_to_ask:,} of {model.n_questions:,} questions to ask",
        *([f"{model.n_again:,} of them for the noise floor"] if model.n_again else []),
        f"{about}{model.n_prompt_tokens:,} tokens of prompts",
        f"{'about' if model.seconds else 'at most'} {model.n_answer_tokens:,} of answers",
    ]
    if model.seconds is not None:
        parts.append(f"about {duration(model.seconds)}")
    if model.n_workers > 1:
        parts[-1] += f" by {model.n_workers} workers"
    if model.memory_bytes is not None:
        each = " each" if model.n_workers > 1 else ""
        parts.append(f"{model.memory_bytes / 2**30:.1f} GiB of memory{each}")
    if model.n_least is not None:
        least = f"until sure at least {model.n_least:,} questions"
        if model.seconds_least is not None:
            least += f" and about {duration(model.seconds_least)}"
        parts.append(least)
    if model.cost_usd is not None:
        parts.append(f"at most ${model.cost_usd:.2f}")
    return ", ".join(parts) + "."


def show_notes(sentences: Sequence[str]) -> None:
    """Print what a reader must know, on standard error."""
    from palimpsest.report import visible

    for sentence in sentences:
        typer.secho(visible(f"Note: {sentence}"), err=True)


def show_results(
    results: Results, out: Path, *, quiet: bool, as_json: bool, told: Sequence[str] = ()
) -> None:
    """Print table, verdicts, notes and where the report is; or nothing but the results as JSON.

    Notes that were ``told`` before are not printed again.
    """
    if as_json:
        typer.echo(results.to_json())
        return
    from palimpsest.report import (
        flips_and_noise,
        floor_text,
        p_value,
        relation,
        rounds_text,
        samples_text,
        visible,
    )

    if not quiet:
        _show_table(results)
    typer.secho(visible(f"Verdict: {results.verdict}. {results.verdict_reason}"), bold=True)
    for cell in results.cells if _say_more(results) else ():
        line = f"  {cell.name}: {cell.verdict}. {cell.verdict_reason}"
        if cell.p_holm is not None:
            line += f" Base against tuned: p {relation(p_value(cell.p_holm))} (Holm)."
        if cell.plain.noise is not None:
            line += f" {flips_and_noise(cell.plain)}"
        typer.echo(visible(line))
    for found in results.at_floor:
        typer.echo(visible(f"  {found.name}: not asked further. {floor_text(found).capitalize()}."))
    if results.samples is not None:
        typer.echo(samples_text(results.samples))
    if results.until_sure is not None:
        typer.echo(rounds_text(results.until_sure))
    show_notes([warning for warning in results.warnings if warning not in told])
    cost = results.provenance.cost_usd
    if cost is not None:
        typer.echo(f"Cost of this run: ${cost:.4f}")
    typer.echo(f"Report: {out / 'report.html'}")


def _say_more(results: Results) -> bool:
    """Return whether the verdicts of the cells say anything that has not been said."""
    return [cell.verdict for cell in results.cells] != [results.verdict]


def _show_table(results: Results) -> None:
    from rich.console import Console

    from palimpsest.report import (
        agreement_text,
        flips_text,
        guessing_text,
        noise_text,
        visible,
    )
    from palimpsest.report.diagnosis import TerminalTable

    console = Console(highlight=False, markup=False)
    console.print(TerminalTable(results))
    console.print(f"From base to tuned, asked plainly: {flips_text(results.plain)}")
    if results.plain.noise is not None:
        console.print(f"The noise floor: {noise_text(results.plain)}")
    if results.suite.chance is not None:
        typer.echo(f"Chance level: {100 * results.suite.chance:.1f} %")
    for found in results.agreements:
        typer.echo(visible(f"The scorer against people: {agreement_text(found)}"))
    if results.plain.adjusted is not None:
        typer.echo(f"Without guesses: {guessing_text(results.plain.adjusted)}")
