"""Options that several commands share, so that each means the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palimpsest.errors import UserError

if TYPE_CHECKING:
    from palimpsest.judging import Workers
    from palimpsest.records import Results

EXIT_FORGOTTEN = 3

Out = Annotated[Path, typer.Option("--out", "-o", help="The run folder; created when missing.")]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="Use at most this many source examples a cell."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no table.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")]
Suite = Annotated[
    str | None,
    typer.Option(
        "--suite",
        "-s",
        help="A suite with its options; see: `palimpsest list suites`. By default `abilities`; "
        "of the embedded pair, `rosetta`.",
    ),
]
Via = Annotated[
    list[str] | None,
    typer.Option(
        "--via",
        help="A conjugation, repeatable: `leet`, `fr`, `native:fr`, `'leet|upper'`. By default "
        "every other language of the suite, leet and pig-latin.",
    ),
]
BASE_HELP = "The model before tuning: FOLDER, hub ID or endpoint, with its options behind commas."


class PromptForm(StrEnum):
    """How a model is sent every prompt."""

    plain = "plain"
    chat = "chat"


BaseForm = Annotated[
    PromptForm | None,
    typer.Option(
        "--base-form",
        help="How base gets every prompt: plain text, or through its chat template. By default "
        "text stays plain, and messages go through the template.",
    ),
]
TunedForm = Annotated[
    PromptForm | None, typer.Option("--tuned-form", help="The same for the tuned model.")
]
Scorer = Annotated[
    str | None,
    typer.Option(
        "--scorer",
        help="How answers are scored, for all examples: prefix, contains; see: palimpsest list "
        "scorers",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")]
Sentences = Annotated[
    Path | None,
    typer.Option(
        "--sentences",
        help="For icl-vs-if: your own sentences, one file a language (en.txt, …).",
    ),
]
MinFidelity = Annotated[
    float,
    typer.Option(
        "--min-fidelity",
        min=0.0,
        max=1.0,
        help="Leave out, of both models alike, prompts whose way there and back through a "
        "conjugation has a lower chrF than this, from 0 to 1.",
    ),
]
BudgetUSD = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="USD",
        help="For endpoints: stop before the requests cost more; needs --prices.",
    ),
]
Prices = Annotated[
    Path | None,
    typer.Option(
        "--prices", help="For endpoints: a TOML file, US dollars per million tokens by model."
    ),
]


class WholeAnswers(StrEnum):
    """How many wrong answers are asked to their end."""

    none = "none"
    sample = "sample"
    all = "all"


Whole = Annotated[
    WholeAnswers,
    typer.Option(
        "--whole",
        help="How many wrong answers are asked to their end, so that they can be looked at and "
        "scored anew: a sample of each cell and way of asking, all, or none. Right ones end early.",
    ),
]


Inference = Annotated[
    bool,
    typer.Option(
        "--inference",
        help="Measure as well how much probability each model gives to the right task and to "
        "others, before it answers: it sees with few prompts what accuracy needs many for.",
    ),
]


NoiseFloor = Annotated[
    int,
    typer.Option(
        "--noise-floor",
        metavar="[N]",
        min=0,
        show_default=False,
        help="Ask the base model N times again (2 without a number), plainly and as another "
        "machine would: how many of its answers flip by themselves is reported, and a fall within "
        "that is called none.",
    ),
]


SeveralSamples = Annotated[
    str | None,
    typer.Option(
        "--samples",
        metavar="K,temperature=T",
        help="For models that are used with sampling: draw K answers of each prompt, with "
        "top_p= and seed= if wanted. By default one, greedily.",
    ),
]
UntilSure = Annotated[
    bool,
    typer.Option(
        "--until-sure",
        help="Ask in rounds, and no more of what is decided: verdicts and intervals hold at "
        "whatever moment you look, stop or go on. Both models are in memory together.",
    ),
]


class FailOn(StrEnum):
    """When a command counts as failed."""

    never = "never"
    forgotten = "forgotten"
    worse = "worse"
    inconclusive = "inconclusive"


Failing = Annotated[
    list[FailOn] | None,
    typer.Option(
        "--fail-on",
        metavar="never|forgotten|worse|inconclusive",
        help="For CI, exit 3: forgotten, if an ability is lost or suppressed; worse, if accuracy "
        "clearly fell, whatever the reason; inconclusive, if the evidence does not reach for a "
        "verdict on some ability. Repeatable.  [default: never]",
    ),
]


EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="Where models that are computed here are asked: here, in processes, or by actors of a "
        "Ray cluster (ray). The answers are the same.",
    ),
]
NWorkers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="How many at a time; by default one a GPU, or a core where there are none.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option("--address", help="For ray: the cluster; by default one is started here."),
]


def n_planned(name: str, workers: int | None, address: str | None) -> int:
    """Return how many workers the options ask for, and start none.

    Raises:
        UserError: As from :func:`workers_of`; only no cluster is looked for.
    """
    from palimpsest.engines import ENGINES, default_workers, make_engine

    _check_workers(name, workers)
    if name not in ENGINES:
        raise ENGINES.unknown(name)
    if name in ("here", "local", "processes"):
        make_engine(name, workers=workers, address=address)
    return 1 if name == "here" else workers or default_workers()


def workers_of(name: str, workers: int | None, address: str | None) -> Workers:
    """Return the workers that the options ask for.

    Raises:
        UserError: There is no engine of that name, or workers are wanted where there are none.
    """
    from palimpsest.engines import make_engine
    from palimpsest.judging import Workers

    _check_workers(name, workers)
    return Workers(make_engine(name, workers=workers, address=address))


def _check_workers(engine: str, workers: int | None) -> None:
    if engine == "here" and workers is not None:
        raise UserError(
            f"--workers {workers} has no meaning here: one process asks both models.",
            hint="Add --engine processes, or --engine ray.",
        )


def with_form(model: str, form: PromptForm | None) -> str:
    """Return a model's spec, with the form that was asked for."""
    if form is None:
        return model
    from palimpsest.lm.models import in_form

    return in_form(model, form.value)


def exit_if_failed(results: Results, fail_on: Sequence[FailOn] | None) -> None:
    """End with :data:`EXIT_FORGOTTEN` if the results are what the user wants to fail on."""
    asked = set(fail_on or ()) - {FailOn.never}
    if not asked:
        return
    from palimpsest.judging import clearly_fell

    verdicts = {results.verdict, *(cell.verdict for cell in results.cells)}
    failed = FailOn.inconclusive in asked and "inconclusive" in verdicts
    if asked & {FailOn.forgotten, FailOn.worse}:
        failed = failed or bool(verdicts & {"suppressed", "lost"})
    if FailOn.worse in asked:
        cells = [clearly_fell(cell.plain, cell.p_holm) for cell in results.cells]
        failed = failed or clearly_fell(results.plain) or any(cells)
    if failed:
        raise typer.Exit(EXIT_FORGOTTEN)
