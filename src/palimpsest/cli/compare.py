"""``palimpsest compare``: two models by logs of what they answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palimpsest.cli.options import Failing, Json, Out, Quiet, Seed, exit_if_failed
from palimpsest.cli.terminal import command_line, show_results
from palimpsest.errors import UserError

if TYPE_CHECKING:
    from palimpsest.judging.compare import LoggedRun, LogOptions, Scale

_TWO = "Write: palimpsest compare BASE TUNED, or --base FILE … --tuned FILE …"

Paths = list[Path]
Logs = Annotated[
    Paths | None,
    typer.Argument(
        metavar="BASE TUNED",
        help="Logs of the base and of the tuned model: samples_*.jsonl or output folders of "
        "lm-evaluation-harness, .eval files or their folders, tables (CSV, TSV, JSON lines).",
    ),
]
Base = Annotated[
    Paths | None, typer.Option("--base", help="A log of the base model; repeatable, one a task.")
]
Tuned = Annotated[
    Paths | None, typer.Option("--tuned", help="A log of the tuned model; repeatable, one a task.")
]
Conjugated = Annotated[
    list[str] | None,
    typer.Option(
        "--conjugated",
        metavar="NAME=BASE,TUNED",
        help="Logs of both models on the same tasks under a conjugation, such as "
        "leet=base-leet,tuned-leet; repeatable.",
    ),
]
Metric = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        help="The metric, scorer or column that counts; repeatable, the first that a task has. By "
        "default the first, or, where this is no fraction, an accuracy.",
    ),
]
Filter = Annotated[
    str | None,
    typer.Option("--filter", help="Of lm-evaluation-harness: the filter whose answers count."),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="FIELD[,FIELD]",
        help="What identifies an item, in all runs and languages: fields of the document, of the "
        "metadata, or columns. By default doc_id or id.",
    ),
]
Range = Annotated[
    str, typer.Option("--range", metavar="WORST,BEST", help="The scale of a graded metric.")
]
Chance = Annotated[
    float | None,
    typer.Option(
        "--chance",
        min=0.0,
        max=0.99,
        help="The accuracy of guessing; by default 1 / the number of choices. 0 for none.",
    ),
]
Parallel = Annotated[
    str,
    typer.Option(
        "--parallel",
        metavar="auto|none|NAME_{lang}",
        help="Which tasks are one task in several languages.",
    ),
]
PlainLanguage = Annotated[
    str, typer.Option("--plain-language", help="The language whose prompts count as plain.")
]
LanguageField = Annotated[
    str | None,
    typer.Option(
        "--language-field",
        help="The field or column with the language of each item, if it is not lang or language.",
    ),
]
AllowPartial = Annotated[
    bool,
    typer.Option(
        "--allow-partial", help="Compare the items that all logs have, with a score in each."
    ),
]


def compare(
    logs: Logs = None,
    base: Base = None,
    tuned: Tuned = None,
    conjugated: Conjugated = None,
    metric: Metric = None,
    filter_: Filter = None,
    key: Key = None,
    range_: Range = "0,1",
    chance: Chance = None,
    parallel: Parallel = "auto",
    plain_language: PlainLanguage = "en",
    language_field: LanguageField = None,
    allow_partial: AllowPartial = False,
    out: Out = Path("palimpsest-compare"),
    seed: Seed = 0,
    fail_on: Failing = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Say the same as diagnose from logs that you already have.

    \b
    palimpsest compare results/base results/tuned
    palimpsest compare base.csv tuned.csv \\
        --conjugated leet=base-leet.csv,tuned-leet.csv

    Versions of a task in other languages (xnli_en, xnli_fr) count as conjugations. Then open
    report.html; where a fall is clear and nothing shows whether it is hidden, run both models under
    a conjugation, too.
    """
    from palimpsest.integrations.logs import read_run
    from palimpsest.judging.compare import LogOptions, MatchOptions
    from palimpsest.judging.compare import compare as compare_runs

    options = LogOptions(
        metrics=tuple(metric or ()),
        key=tuple(name.strip() for name in key.split(",")) if key else (),
        language=language_field,
        filter=filter_,
        scale=_scale(range_),
        chance=chance,
        complete=not allow_partial,
    )
    matching = MatchOptions(
        plain_language=plain_language,
        template=None if parallel in ("auto", "none") else parallel,
        parallel=parallel != "none",
        by_key=key is not None,
        allow_partial=allow_partial,
    )
    base_logs, tuned_logs = _sides(logs or [], base or [], tuned or [])
    results = compare_runs(
        read_run(base_logs, options),
        read_run(tuned_logs, options),
        conjugated=_conjugated(conjugated or [], options),
        matching=matching,
        out=out,
        seed=seed,
        command=command_line(),
    )
    show_results(results, out, quiet=quiet, as_json=json)
    exit_if_failed(results, fail_on)


def _sides(logs: Paths, base: Paths, tuned: Paths) -> tuple[Paths, Paths]:
    """Return the logs of the base and of the tuned model."""
    if not logs and base and tuned:
        return base, tuned
    if logs and (base or tuned):
        raise UserError("Logs were named both with and without --base and --tuned.", hint=_TWO)
    if len(logs) == 2:
        return logs[:1], logs[1:]
    if not logs:
        raise UserError("Two models are compared, but the logs of both were not named.", hint=_TWO)
    from palimpsest.integrations.logs import split_by_folder

    sides = split_by_folder(logs)
    if len(sides) != 2:
        raise UserError(
            f"Two models are compared; the {len(logs)} logs that were named lie in {len(sides)} "
            "folders, so they do not say which are whose.",
            hint=_TWO,
        )
    return sides[0], sides[1]


def _conjugated(
    named: Sequence[str], options: LogOptions
) -> dict[str, tuple[LoggedRun, LoggedRun]]:
    """Read the logs of ``NAME=BASE,TUNED``."""
    from palimpsest.integrations.logs import read_run

    found: dict[str, tuple[LoggedRun, LoggedRun]] = {}
    for spec in named:
        name, _, paths = spec.partition("=")
        base, comma, tuned = paths.partition(",")
        if not (name and base and comma and tuned) or "," in tuned:
            raise UserError(
                f"'{spec}' does not name a conjugation and two logs.",
                hint="Write NAME=BASE,TUNED, such as leet=base-leet,tuned-leet.",
            )
        if name in found or name == "identity":
            raise UserError(
                f"The conjugation '{name}' is named twice, or means asking plainly.",
                hint="Give every pair of conjugated logs a name of its own.",
            )
        found[name] = (read_run(base, options), read_run(tuned, options))
    return found


def _scale(text: str) -> Scale:
    from palimpsest.judging.compare import Scale

    try:
        worst, best = map(float, text.split(","))
    except ValueError:
        worst = best = 0.0
    if worst == best:
        raise UserError(
            f"The range '{text}' does not say what worst and best are.",
            hint="Write two different numbers, such as 0,100.",
        )
    return Scale(worst, best)
