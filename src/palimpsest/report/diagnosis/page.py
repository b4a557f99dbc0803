"""The page of a diagnosis: one HTML file that needs nothing outside itself."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from markupsafe import Markup, escape

from palimpsest.records import THRESHOLDS
from palimpsest.report.diagnosis.answer import answer_in_three_lines
from palimpsest.report.diagnosis.basis import of_accuracies, of_differences, of_falls
from palimpsest.report.diagnosis.explained_answers import Suspect
from palimpsest.report.diagnosis.next_steps import next_steps
from palimpsest.report.diagnosis.prompts import PromptData
from palimpsest.report.diagnosis.regressions import worst_regressions
from palimpsest.report.diagnosis.tables import COLUMNS, Column, TableRow, table_rows
from palimpsest.report.page import KeyNumber, PageFigure, render
from palimpsest.report.text import (
    MISSING,
    agreement_text,
    conjugation_label,
    crew_text,
    flips_and_noise,
    flips_text,
    floor_text,
    guessing_text,
    how_many,
    noise_text,
    number,
    p_value,
    percent,
    percent_interval,
    ratio,
    ratio_interval,
    relation,
    rounds_text,
    samples_text,
    visible,
)

if TYPE_CHECKING:
    from palimpsest.records import AnswerRow, Results

MAX_CELLS = 300
"""Rows of the table of cells; the files beside the page have all."""

MAX_CELL_TABLES = 40
"""Cells with a whole table of their own on the page."""


def render_page(
    results: Results,
    figures: Sequence[PageFigure],
    data: PromptData,
    rows: Sequence[AnswerRow] = (),
    suspects: Sequence[Suspect] = (),
) -> str:
    """Return the page.

    Args:
        results: What the diagnosis says.
        figures: In order.
        data: The answers for the browser of single prompts.
        rows: The answers themselves, for the sections that pick some of them.
        suspects: Wrong answers that show no loss.
    """
    best = results.best.name if results.best else None
    tells_abilities = results.suite.scoring == "abilities"
    over = {
        "accuracies": of_accuracies(results),
        "differences": of_differences(results),
        "falls": of_falls(results),
    }
    return render(
        "report.html.j2",
        figures,
        script="report.js",
        filters=_FILTERS,
        results=results,
        data=data,
        suspects=suspects,
        data_json=Markup(data.json),
        over=over,
        answer=answer_in_three_lines(results),
        keys=_key_numbers(results),
        regressions=worst_regressions(rows, best, tells_abilities=tells_abilities),
        steps=next_steps(results),
        columns_of=_columns_of,
        spans=_spans,
        table_rows=table_rows,
        max_cells=MAX_CELLS,
        max_cell_tables=MAX_CELL_TABLES,
        thresholds=THRESHOLDS,
        model_facts=_model_facts(results),
        run_facts=_run_facts(results),
    )


def _columns_of(rows: Sequence[TableRow]) -> list[Column]:
    """Return the columns that hold something: without a conjugation, half of them would not."""
    return [column for column in COLUMNS if any(column.value(row) != MISSING for row in rows)]


def _spans(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Return what is compared in columns beside each other, and how many they are."""
    groups = itertools.groupby(columns, lambda column: column.group)
    return [(group, len(list(members))) for group, members in groups]


def _breakable(text: str) -> Markup:
    """Return a name that a narrow column may break after its punctuation, not within words."""
    parts = re.split(r"(?<=[:@|,(_])", visible(text))
    return Markup("<wbr>").join(map(escape, parts))


def _p_relation(p: float | None) -> str:
    return relation(p_value(p)).replace(" ", "\u00a0")


def _versions(source_id: str) -> str:
    """Return the link to all versions of an example: what the program writes into the address."""
    return "#prompts?" + urlencode({"source": re.sub("[\ud800-\udfff]", "\ufffd", source_id)})


def _flag_kinds(rows: Sequence[TableRow]) -> list[str]:
    """Return what any answer was flagged for, in the order of its first row."""
    arms = (arm for row in rows for arm in (row.base, row.tuned))
    return list(dict.fromkeys(kind for arm in arms for kind in arm.flags))


_FILTERS: dict[str, Callable[..., object]] = {
    "label": conjugation_label,
    "breakable": _breakable,
    "percent": percent,
    "percent_interval": percent_interval,
    "ratio": ratio,
    "ratio_interval": ratio_interval,
    "p_value": p_value,
    "p_relation": _p_relation,
    "agreement": agreement_text,
    "floor": floor_text,
    "guessing": guessing_text,
    "flips": flips_text,
    "noise": noise_text,
    "rounds": rounds_text,
    "samples": samples_text,
    "flips_and_noise": flips_and_noise,
    "flag_kinds": _flag_kinds,
    "how_many": how_many,
    "versions": _versions,
}


def _key_numbers(results: Results) -> Iterator[KeyNumber]:
    plain, best = results.plain, results.best
    for role, arm in (("Base", plain.base), ("Tuned", plain.tuned)):
        note = f"{percent_interval(arm.ci95)}, n\u00a0=\u00a0{arm.n:,}"
        yield KeyNumber(f"{role}, asked plainly", percent(arm.accuracy), "%", note)
    note = f"{percent_interval(plain.forgetting_hull95)}, p\u00a0{_p_relation(plain.p_value)}"
    yield KeyNumber("Forgetting", percent(plain.forgetting), "points", note)
    # What became of the tuned model's answers, as far as is known.
    if results.suite.scoring == "abilities":
        wrong = f" ({percent(plain.tuned.attempted)} % wrong)" if plain.tuned.attempted else ""
        note = f"another ability’s answer{wrong}; {percent(plain.tuned.broken)} % broken"
        yield KeyNumber("Tuned, intruded", percent(plain.tuned.intruded), "%", note)
    else:
        name = "Fell, rose" if results.suite.scoring == "graded" else "Flips 1→0, 0→1"
        note = f"of {plain.base.n:,} items, from base to tuned"
        yield KeyNumber(name, f"{plain.n_lost:,}, {plain.n_gained:,}", "", note)
    if best is not None:
        name = f"Recovery, best: {conjugation_label(best.name)}"
        of_all = next(one for one in results.conjugations if one.name == best.name)
        note = (
            f"{ratio_interval(best.recovery_ci95)} on the {best.n_report:,} examples that did not "
            f"choose it; {ratio(of_all.recovery)} on all {of_all.tuned.n:,}"
        )
        if best.recovery is None:
            note = f"undefined: no clear forgetting on the {best.n_report:,} that measure it"
        yield KeyNumber(name, number(best.recovery, 2), "", note.lstrip())


def _model_facts(results: Results) -> Iterator[tuple[str, str, str]]:
    base, tuned = results.base, results.tuned
    yield "model", base.spec, tuned.spec
    yield "fingerprint", base.fingerprint, tuned.fingerprint
    for name in dict.fromkeys([*base.facts, *tuned.facts]):
        yield name, base.facts.get(name, MISSING), tuned.facts.get(name, MISSING)


def _run_facts(results: Results) -> Iterator[tuple[str, str]]:
    run, suite = results.provenance, results.suite
    yield "suite", suite.name
    yield "suite fingerprint", suite.fingerprint
    yield "languages", ", ".join(suite.languages)
    yield "conjugations", ", ".join(result.name for result in results.conjugations) or "none"
    yield "made", run.created
    if results.samples is not None:
        drawn = results.samples
        how = f"temperature {drawn.temperature:g}, top_p {drawn.top_p:g}, seed {drawn.seed}"
        yield "samples of each prompt", f"{drawn.n}: {how}"
    yield "seed", str(run.seed)
    yield "bootstrap resamples", f"{run.n_resamples:,}"
    for name, facts in run.conjugations.items():
        for fact, value in facts.items():
            yield f"{name}: {fact}", value
    for role, model in (("base", results.base), ("tuned", results.tuned)):
        if model.usage is not None:
            sent = model.usage.n_prompt_tokens
            prompts = "" if sent is None else f"{sent:,} of prompts, "
            yield f"tokens, {role}", f"{prompts}{model.usage.n_answer_tokens:,} of answers"
            if model.usage.n_shared:
                shared = f"{model.usage.n_shared:,} answers, to prompts sent for others as well"
                yield f"asked once for several, {role}", shared
    if run.cost_usd is not None:
        yield "cost", f"${run.cost_usd:.4f}, by the price table"
    if run.crew is not None:
        yield "workers", crew_text(run.crew)
    yield "wall time", f"{run.seconds:.1f} s; answers already on file cost nothing"
    if run.seconds_in_all is not None and run.seconds_in_all > run.seconds + 1:
        yield "wall time of all sittings", f"{run.seconds_in_all:.1f} s"
    yield "commit", run.commit or "not in a repository"
    yield "platform", run.platform
    yield from run.versions.items()
    yield "schema", results.schema_
