"""The page of a laboratory run, which needs nothing outside itself, and the tables beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from palimpsest.report.page import KeyNumber, PageFigure, render
from palimpsest.report.text import MISSING, csv_interval, csv_text, interval, number, ratio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from palimpsest.records import Estimate, LabResults


def render_lab_page(results: LabResults, figures: Sequence[PageFigure]) -> str:
    """Return the page.

    Args:
        results: What the run says.
        figures: In order.
    """
    said = (results.check.convergence, *results.warnings)
    return render(
        "lab.html.j2",
        figures,
        filters={"number": _number, "interval": _interval},
        results=results,
        findings=[one for one in results.findings if one not in said],
        warned=[one for one in results.warnings if one != results.check.convergence],
        keys=_key_numbers(results),
        run_facts=_run_facts(results),
        config_facts=_flat(results.provenance.config),
    )


def csv_tables(results: LabResults) -> dict[str, str]:
    """Return the tables by name, as CSV: unrounded numbers, empty where undefined."""
    curve = ("disc", "cont", "cont_ensemble", "g_hat", "g_hat_ensemble")
    conjugated = ("base", "tuned", "tuned_disc", "recovery", "net_recovery", "g_hat")
    tables: dict[str, list[dict[str, object]]] = {
        "conjugations": [
            {"conjugation": one.name, "n_members": one.n_members, "is_symmetry": one.is_symmetry}
            | _csv_fields(one, conjugated)
            for one in results.conjugations
        ],
        "tuning": [{"step": one.step} | _csv_fields(one, curve) for one in results.curve],
        "by_exemplars": list(_by_exemplars(results)),
        "closeness": [
            {"by": one.by, "group": group, "closeness": decile.closeness}
            | _csv_fields(decile, ("change",))
            for one in results.closeness
            for group, decile in enumerate(one.deciles, 1)
        ],
        "remedies": [
            {"remedy": one.kind, "strength": one.strength} | _csv_fields(one, curve[:3])
            for one in results.remedies
        ],
    }
    return {name: csv_text(rows) for name, rows in tables.items()}


def _csv_fields(record: object, names: Sequence[str]) -> dict[str, object]:
    """Return the three fields of each of a record's estimates."""
    found: dict[str, object] = {}
    for name in names:
        estimate: Estimate = getattr(record, name)
        found |= csv_interval(name, estimate.value, estimate.ci95)
    return found


def _by_exemplars(results: LabResults) -> Iterator[dict[str, object]]:
    for quantity, lines in (("loss", results.by_exemplars), ("g_hat", results.inference)):
        for one in lines:
            for position, value in enumerate(one.values):
                yield {
                    "quantity": quantity,
                    "predictor": one.name,
                    "kind": one.kind,
                    "n_exemplars": position,
                    "value": value,
                    "low": one.low[position] if one.low else None,
                    "high": one.high[position] if one.high else None,
                }


def _key_numbers(results: LabResults) -> Iterator[KeyNumber]:
    keys = [
        ("Base, loss on D_cont", results.base_cont),
        ("Tuned, loss on D_cont", results.tuned_cont),
        ("Forgetting", results.forgetting),
    ]
    best = results.best
    if best is not None:
        keys.append((f"Recovery, {best.name}", best.recovery))
        keys.append(("Net of what the base gains", best.net_recovery))
    for name, one in keys:
        undefined = "undefined: no clear forgetting"
        note = undefined if one.value is None else interval(one.ci95, 2)
        yield KeyNumber(name, number(one.value, 2), "", note)


def _run_facts(results: LabResults) -> Iterator[tuple[str, str]]:
    run = results.provenance
    yield "made", run.created
    for role, fingerprint in run.models.items():
        yield f"{role} model", fingerprint
    yield "device", run.device
    yield "commit", run.commit or "not in a repository"
    yield "platform", run.platform
    for stage, seconds in run.seconds.items():
        yield f"time, {stage}", f"{seconds:.1f} s"
    yield from run.versions.items()
    yield "schema", results.schema_


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, MISSING if value is None else str(value)


def _number(one: Estimate | float, digits: int = 3) -> str:
    return ratio(one if isinstance(one, float) else one.value, digits)


def _interval(one: Estimate | float, digits: int = 3) -> str:
    return "" if isinstance(one, float) else interval(one.ci95, digits)
