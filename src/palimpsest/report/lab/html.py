"""The report of a laboratory run as one HTML file that needs nothing outside itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from palimpsest.report import text as formatting
from palimpsest.report.page import (
    KeyNumber,
    PageFigure,
    asset,
    page_environment,
    page_figures,
    policy_hash,
)

if TYPE_CHECKING:
    from palimpsest.records.lab_results import Estimate, LabResults

TableRow = tuple[str, tuple["Estimate", ...]]
"""A name and its estimates."""

CONTENTS = (
    ("findings", "Findings"),
    ("figures", "Figures"),
    ("tables", "Tables"),
    ("method", "Method"),
    ("provenance", "Provenance"),
)


def render_lab_page(results: LabResults, figures: Sequence[PageFigure]) -> str:
    """Return the page.

    Args:
        results: What the run says.
        figures: In order.
    """
    style = asset("report.css")
    environment = page_environment()
    environment.filters |= {"number": _number, "interval": _interval}
    return environment.get_template("lab.html.j2").render(
        results=results,
        figures=page_figures(figures),
        style=Markup(style),
        style_hash=policy_hash(style),
        script_hash="",
        contents=CONTENTS,
        keys=_key_numbers(results),
        n_tasks=results.provenance.config["problem"]["n_tasks"],
        notes=list(dict.fromkeys(one.note for one in results.conjugations if one.note)),
        run_facts=_run_facts(results),
        config_facts=_flat(results.provenance.config),
        **_tables(results),
    )


def _tables(results: LabResults) -> dict[str, list[TableRow]]:
    from palimpsest.records.lab_results import Estimate

    return {
        "conjugations": [
            (
                one.name,
                (one.base, one.tuned, one.recovery, one.net_recovery, one.g_hat, one.tuned_disc),
            )
            for one in results.conjugations
        ],
        "oracles": [
            (one.name, (Estimate(value=one.disc), Estimate(value=one.cont)))
            for one in results.oracles
        ],
        "split": [
            (one.name, (one.excess, one.inference, one.overlap, one.bias, one.variance))
            for one in results.split
        ],
        "priors": [(one.name, (one.alpha, one.log_odds)) for one in results.priors],
        "remedies": [
            (one.name, (one.disc, one.cont, one.cont_ensemble)) for one in results.remedies
        ],
    }


def _key_numbers(results: LabResults) -> list[KeyNumber]:
    keys = [
        ("Base, D_cont", results.base_cont),
        ("Tuned, D_cont", results.tuned_cont),
        ("Forgetting", results.forgetting),
    ]
    best = results.best
    if best is not None:
        keys += [
            (f"Recovery, {best.name}", best.recovery),
            ("Net of what the base gains", best.net_recovery),
        ]
    return [KeyNumber(name, _number(one, 2), "", _interval(one, 2)) for name, one in keys]


def _run_facts(results: LabResults) -> list[tuple[str, str]]:
    run = results.provenance
    return [
        ("made", run.created),
        *((f"{role} model", fingerprint) for role, fingerprint in run.models.items()),
        ("device", run.device),
        ("commit", run.commit or "not in a repository"),
        ("platform", run.platform),
        *((f"time, {stage}", f"{seconds:.1f} s") for stage, seconds in run.seconds.items()),
        *run.versions.items(),
        ("schema", results.schema_),
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((prefix + key, formatting.MISSING if value is None else str(value)))
    return found


def _number(one: Estimate, digits: int = 3) -> str:
    return "undefined" if one.value is None else formatting.number(one.value, digits)


def _interval(one: Estimate, digits: int = 3) -> str:
    if one.ci95 is None:
        return ""
    low, high = (formatting.number(end, digits) for end in one.ci95)
    return f"[{low}, {high}]"
