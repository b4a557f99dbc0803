"""The report as one HTML file that needs nothing outside itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from jinja2 import Environment
from markupsafe import Markup, escape

from palimpsest.report import text as formatting
from palimpsest.report.diagnosis import wording
from palimpsest.report.diagnosis.prompt_data import PromptData
from palimpsest.report.diagnosis.tables import COLUMNS, Row, table_rows
from palimpsest.report.page import (
    KeyNumber,
    PageFigure,
    asset,
    page_environment,
    page_figures,
    policy_hash,
)

if TYPE_CHECKING:
    from palimpsest.records.results import Cell, Results

MAX_CELLS = 300
"""Rows of the table of cells; the files beside the page have all."""

MAX_CELL_TABLES = 40
"""Cells with a whole table of their own on the page."""


def render_page(results: Results, figures: Sequence[PageFigure], data: PromptData) -> str:
    """Return the page.

    Args:
        results: What the diagnosis says.
        figures: In order.
        data: The answers for the browser of single prompts.
    """
    style, script = asset("report.css"), asset("report.js")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            results=results,
            figures=page_figures(figures),
            data=data,
            data_json=Markup(data.json),
            style=Markup(style),
            script=Markup(script),
            style_hash=policy_hash(style),
            script_hash=policy_hash(script),
            contents=_contents(results),
            keys=_key_numbers(results),
            columns=COLUMNS,
            rows=table_rows(results.plain, results.conjugations),
            best_name=results.best.name if results.best else None,
            lossy=[result for result in results.conjugations if _is_lossy(result)],
            cells_shown=results.cells[:MAX_CELLS],
            n_cells_left_out=max(0, len(results.cells) - MAX_CELLS),
            max_cell_tables=MAX_CELL_TABLES,
            tells_abilities=results.suite.scoring == "abilities",
            quantities=wording.quantities(results.suite.scoring),
            model_facts=_model_facts(results),
            run_facts=_run_facts(results),
        )
    )


def _environment() -> Environment:
    environment = page_environment()
    environment.filters |= {
        "label": formatting.conjugation_label,
        "breakable": _breakable,
        "percent": formatting.percent,
        "percent_interval": formatting.percent_interval,
        "signed": lambda value: formatting.percent(value, signed=True),
        "signed_interval": lambda value: formatting.percent_interval(value, signed=True),
        "ratio": formatting.ratio,
        "ratio_interval": formatting.ratio_interval,
        "p_value": formatting.p_value,
        "guessing": formatting.guessing_text,
        "relation": lambda value: _relation(formatting.p_value(value)),
    }
    environment.globals |= {
        "verdicts": wording.VERDICTS,
        "rules": wording.RULES,
        "cell_rows": _cell_rows,
    }
    return environment


def _breakable(text: str) -> Markup:
    """Return a name that a narrow column may break after its punctuation, not within words."""
    parts = re.split(r"(?<=[:@|,(_])", formatting.visible(text))
    return Markup("<wbr>").join(map(escape, parts))


def _contents(results: Results) -> list[tuple[str, str]]:
    cells = [("cells", "Cells")] if results.cells else []
    return [
        ("verdict", "Verdict"),
        ("table", "Table"),
        ("figures", "Figures"),
        *cells,
        ("prompts", "Single prompts"),
        ("method", "Method"),
        ("provenance", "Provenance"),
    ]


def _key_numbers(results: Results) -> list[KeyNumber]:
    plain, best = results.plain, results.best
    arms = [
        KeyNumber(
            f"{role}, asked plainly",
            formatting.percent(arm.accuracy),
            "%",
            f"{formatting.percent_interval(arm.ci95)}, n\u00a0=\u00a0{arm.n:,}",
        )
        for role, arm in (("Base", plain.base), ("Tuned", plain.tuned))
    ]
    forgetting = KeyNumber(
        "Forgetting",
        formatting.percent(plain.forgetting),
        "points",
        f"{formatting.percent_interval(plain.forgetting_ci95)}, "
        f"p\u00a0{_relation(formatting.p_value(plain.p_value))}",
    )
    errors = _errors(results)
    if best is None:
        return [*arms, forgetting, errors]
    recovery = KeyNumber(
        f"Recovery, best: {formatting.conjugation_label(best.name)}",
        formatting.ratio(best.recovery),
        "",
        f"{formatting.ratio_interval(best.recovery_ci95)} on {best.n_report:,} "
        "that did not choose it",
    )
    return [*arms, forgetting, errors, recovery]


def _errors(results: Results) -> KeyNumber:
    """Return what became of the tuned model's answers, as far as is known."""
    plain = results.plain
    if results.suite.scoring == "abilities":
        return KeyNumber(
            "Tuned, intruded",
            formatting.percent(plain.tuned.intruded),
            "%",
            f"another ability’s answer; {formatting.percent(plain.tuned.broken)} % broken",
        )
    graded = results.suite.scoring == "graded"
    return KeyNumber(
        "Fell, rose" if graded else "Flips 1→0, 0→1",
        f"{plain.n_lost:,}, {plain.n_gained:,}",
        "",
        f"of {plain.base.n:,} items, from base to tuned",
    )


def _relation(p: str) -> str:
    return formatting.relation(p).replace(" ", "\u00a0")


def _is_lossy(result: Any) -> bool:
    return not result.exact and result.round_trip is not None


def _cell_rows(cell: Cell) -> list[Row]:
    return table_rows(cell.plain, cell.conjugations)


def _model_facts(results: Results) -> list[tuple[str, str, str]]:
    base, tuned = results.base, results.tuned
    names = dict.fromkeys([*base.facts, *tuned.facts])
    return [
        ("model", base.spec, tuned.spec),
        ("fingerprint", base.fingerprint, tuned.fingerprint),
        *(
            (name, base.facts.get(name, formatting.MISSING), tuned.facts.get(name, "–"))
            for name in names
        ),
    ]


def _run_facts(results: Results) -> list[tuple[str, str]]:
    run, suite = results.provenance, results.suite
    return [
        ("suite", suite.name),
        ("suite fingerprint", suite.fingerprint),
        ("languages", ", ".join(suite.languages)),
        ("conjugations", ", ".join(result.name for result in results.conjugations) or "none"),
        ("made", run.created),
        ("seed", str(run.seed)),
        ("bootstrap resamples", f"{run.n_resamples:,}"),
        *(
            (f"{name}: {fact}", value)
            for name, facts in run.conjugations.items()
            for fact, value in facts.items()
        ),
        *_usage_facts(results),
        ("wall time", f"{run.seconds:.1f} s; answers already on file cost nothing"),
        ("commit", run.commit or "not in a repository"),
        ("platform", run.platform),
        *run.versions.items(),
        ("schema", results.schema_),
    ]


def _usage_facts(results: Results) -> Iterator[tuple[str, str]]:
    for role, model in (("base", results.base), ("tuned", results.tuned)):
        if model.usage is not None:
            sent = model.usage.n_prompt_tokens
            prompts = "" if sent is None else f"{sent:,} of prompts, "
            yield f"tokens, {role}", f"{prompts}{model.usage.n_answer_tokens:,} of answers"
    if results.provenance.cost_usd is not None:
        yield "cost", f"${results.provenance.cost_usd:.4f}, by the price table"
