"""The page of a restoration: one HTML file that needs nothing outside itself."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from palimpsest.report.families.front_tables import (
    cell_rows,
    margin_text,
    mark_of,
    target_score,
)
from palimpsest.report.page import KeyNumber, NextStep, PageFigure, render
from palimpsest.report.text import (
    MISSING,
    crew_text,
    number,
    percent,
    percent_interval,
    ratio,
    ratio_interval,
)

if TYPE_CHECKING:
    from palimpsest.records import Estimate, Restoration

TITLES = {
    "weights": "A member of the weights",
    "prompting": "Prompting under a conjugation",
    "either": "Weights or prompting",
    "none": "None is good enough",
}
"""What is the better cure, as a heading."""

VERDICTS = {
    "good": "good enough",
    "none": "none is good enough",
    "inconclusive": "inconclusive",
}


def render_restoration(found: Restoration, figures: Sequence[PageFigure]) -> str:
    """Return the page.

    Args:
        found: What the restoration says.
        figures: In order.
    """
    return render(
        "restore.html.j2",
        figures,
        filters=_FILTERS,
        found=found,
        title=TITLES[found.cure.outcome],
        verdict=VERDICTS[found.choice.outcome],
        keys=list(_key_numbers(found)),
        margin=margin_text(found),
        mark_of=lambda point: mark_of(found, point),
        target_score=lambda point: target_score(found, point),
        cell_rows=cell_rows,
        steps=list(_next_steps(found)),
        run_facts=list(_run_facts(found)),
        model_facts=list(_model_facts(found)),
        is_text=found.target.unit == "bits a byte",
    )


def _value(found: Estimate | None, *, signed: bool = False) -> str:
    return MISSING if found is None else percent(found.value, signed=signed)


def _ends(found: Estimate | None, *, signed: bool = False) -> str:
    return "" if found is None else percent_interval(found.ci95, signed=signed)


def _ratio(found: Estimate) -> str:
    return ratio(found.value)


def _ratio_ends(found: Estimate) -> str:
    return ratio_interval(found.ci95)


_FILTERS: dict[str, Callable[..., object]] = {
    "value": _value,
    "ends": _ends,
    "ratio": _ratio,
    "ratio_ends": _ratio_ends,
    "percent": percent,
    "percent_interval": percent_interval,
    "number": number,
}


def _key_numbers(found: Restoration) -> Iterator[KeyNumber]:
    plain = found.plain
    yield KeyNumber(
        "Lost: base to tuned",
        f"{percent(plain.base.accuracy)} → {percent(plain.tuned.accuracy)}",
        "%",
        f"fall {percent_interval(plain.forgetting_hull95)} points",
    )
    text = found.target.unit == "bits a byte"
    yield KeyNumber(
        "Target: gain of the tuned model",
        percent(found.target_gain.value, signed=True),
        "% of its bits" if text else "points",
        percent_interval(found.target_gain.ci95, signed=True),
    )
    chosen = found.point(found.choice.name)
    if chosen is not None:
        note = "on the half that did not choose it"
        half = chosen.report
        value = "–" if half is None else percent(half.kept)
        yield KeyNumber(f"Kept by {chosen.name}", value, "%", note)
    best = found.point(found.cure.via)
    if best is not None and best.report is not None:
        yield KeyNumber(
            f"Kept under {best.name}",
            percent(best.report.kept),
            "%",
            "on the half that did not choose it",
        )


def _next_steps(found: Restoration) -> Iterator[NextStep]:
    base, tuned = shlex.quote(found.base.spec), shlex.quote(found.tuned.spec)
    suite, target = shlex.quote(found.suite.name), shlex.quote(found.target.name)
    again = found.provenance.command
    if not again.startswith("palimpsest restore "):
        again = f"palimpsest restore {base} {tuned} --suite {suite} --target {target}"
    if found.choice.outcome == "good" and found.choice.name is not None:
        yield NextStep(
            "Write the chosen member as a checkpoint, with a card that says what it is.",
            f"palimpsest restore write {shlex.quote(found.choice.name)} MY-MODEL",
        )
    if found.cure.via is not None and found.cure.outcome in ("prompting", "either"):
        yield NextStep(
            "Let programs send what needs it under the conjugation, over OpenAI’s API.",
            f"palimpsest serve --upstream {tuned}",
        )
    if found.choice.outcome != "good":
        yield NextStep(
            "Try other members between those that were asked, or allow the target to fall further: "
            "answers on file are not asked again.",
            f"{again} --members interpolate:0.7,0.85 --target-margin 5",
        )
    yield NextStep(
        "See which members there are; the rule of choice is in docs/verdicts.md.",
        "palimpsest list members",
    )
    yield NextStep(
        "See at which checkpoint of the training it went.",
        f"palimpsest trace {base} TRAINER-OUTPUT --suite {suite} --target {target}",
    )


def _model_facts(found: Restoration) -> Iterator[tuple[str, str, str]]:
    base, tuned = found.base, found.tuned
    yield "model", base.spec, tuned.spec
    yield "fingerprint", base.fingerprint, tuned.fingerprint
    for name in dict.fromkeys([*base.facts, *tuned.facts]):
        yield name, base.facts.get(name, MISSING), tuned.facts.get(name, MISSING)


def _run_facts(found: Restoration) -> Iterator[tuple[str, str]]:
    run = found.provenance
    yield "suite", found.suite.name
    yield "suite fingerprint", found.suite.fingerprint
    yield "target", found.target.name
    yield "target fingerprint", found.target.fingerprint
    yield "made", run.created
    yield "seed", str(run.seed)
    yield "bootstrap resamples", f"{run.n_resamples:,}"
    for name, facts in run.conjugations.items():
        for fact, value in facts.items():
            yield f"{name}: {fact}", value
    if run.crew is not None:
        yield "workers", crew_text(run.crew)
    yield "wall time", f"{run.seconds:.1f} s; answers already on file cost nothing"
    yield "commit", run.commit or "not in a repository"
    yield "platform", run.platform
    yield from run.versions.items()
    yield "schema", found.schema_
