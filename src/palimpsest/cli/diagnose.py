"""``palimpsest diagnose``: a base model against a tuned one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palimpsest.cli.options import (
    BASE_HELP,
    Address,
    BaseForm,
    BudgetUSD,
    EngineName,
    Failing,
    Inference,
    Json,
    Limit,
    MinFidelity,
    NoiseFloor,
    NWorkers,
    Out,
    Prices,
    Quiet,
    Scorer,
    Seed,
    Sentences,
    SeveralSamples,
    Suite,
    TunedForm,
    UntilSure,
    Via,
    Whole,
    WholeAnswers,
    exit_if_failed,
    n_planned,
    with_form,
    workers_of,
)
from palimpsest.cli.terminal import answer_and_tell, diagnose_and_show, forecast_and_show
from palimpsest.errors import UserError

if TYPE_CHECKING:
    from palimpsest.lm.models import Budget

OneShard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="i/n",
        help="Answer the i-th of n parts alone, on a machine of its own; "
        "`palimpsest merge` puts them together.",
    ),
]
Plan = Annotated[
    bool,
    typer.Option(
        "--plan",
        help="Only say what would be asked, about how long it takes, and what it costs with "
        "--prices; a sample of 32 questions a model is asked and kept.",
    ),
]
NO_LIMIT_USD = 10**12


def diagnose(
    base: Annotated[str, typer.Argument(help=BASE_HELP)],
    tuned: Annotated[str, typer.Argument(help="The model after tuning.")],
    suite: Suite = None,
    sentences: Sentences = None,
    via: Via = None,
    base_form: BaseForm = None,
    tuned_form: TunedForm = None,
    out: Out = Path("palimpsest-out"),
    limit: Limit = None,
    scorer: Scorer = None,
    whole: Whole = WholeAnswers.sample,
    samples: SeveralSamples = None,
    inference: Inference = False,
    noise_floor: NoiseFloor = 0,
    until_sure: UntilSure = False,
    min_fidelity: MinFidelity = 0.0,
    engine: EngineName = "here",
    workers: NWorkers = None,
    address: Address = None,
    shard: OneShard = None,
    plan: Plan = False,
    budget: BudgetUSD = None,
    prices: Prices = None,
    seed: Seed = 0,
    fail_on: Failing = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Say which abilities the tuned model kept, suppressed or lost.

    \b
    palimpsest diagnose ./base ./tuned
    palimpsest diagnose ./base hf:./base,adapter=./lora \\
        --suite jsonl:mine.jsonl --via leet --via fr

    Without `--suite` it asks short tasks of what people fear to lose: facts, sums, reading,
    JSON, tool calls and more, in four languages. Bring prompts of your own for what you need.

    A model's options, FOLDER,key=value: chat=auto (messages go through the chat template,
    text stays plain) or true or false, dtype=bfloat16, device=cuda:1, batch_tokens=8192,
    adapter=FOLDER; docs/how-to/your-models.md has them all. First see whether the pair is
    what it claims to be: `palimpsest doctor BASE TUNED`.

    Interrupt it whenever you like: the same command continues. Then open report.html.
    """
    asked: dict[str, Any] = {
        "base": with_form(base, base_form),
        "tuned": with_form(tuned, tuned_form),
        "suite": suite if sentences is None else f"{suite or 'icl-vs-if'},sentences={sentences}",
        "via": via,
        "limit": limit,
        "scorer": scorer,
        "whole": whole.value,
        "min_fidelity": min_fidelity,
        "seed": seed,
        **({} if samples is None else {"samples": samples}),
    }
    again: dict[str, Any] = {"noise_floor": noise_floor, "until_sure": until_sure}
    if plan:
        if shard is not None:
            _refuse_in_shard({"plan": plan})
        planned = {**asked, **again, "n_workers": n_planned(engine, workers, address)}
        forecast_and_show(planned, out, prices, quiet=quiet, as_json=json)
        return
    measured = {"inference": inference, **again}
    held_by = workers_of(engine, workers, address)
    if shard is not None:
        _refuse_in_shard({**measured, "budget": budget, "fail_on": fail_on})
        answer_and_tell(shard, asked, out, held_by, quiet=quiet or json)
        return
    paid = _budget(budget, prices)
    results = diagnose_and_show(
        **asked, **measured, out=out, budget=paid, workers=held_by, quiet=quiet, as_json=json
    )
    exit_if_failed(results, fail_on)


def _refuse_in_shard(options: Mapping[str, object]) -> None:
    for name, given in options.items():
        option = f"--{name.replace('_', '-')}"
        if given:
            raise UserError(
                f"A shard cannot have {option}: that is for a whole run.",
                hint=f"Leave out {option}, or --shard.",
            )


def _budget(limit: str | None, prices: Path | None) -> Budget | None:
    """Return what may be spent; with prices alone the cost is counted, but has no limit."""
    if prices is None and limit is None:
        return None
    if prices is None:
        raise UserError(
            f"A budget of ${limit} needs prices to count by.",
            hint="Add --prices FILE.toml; docs/how-to/endpoint.md shows one.",
        )
    from palimpsest.lm.models import Budget, PriceTable

    return Budget(limit or NO_LIMIT_USD, PriceTable.read(prices))
