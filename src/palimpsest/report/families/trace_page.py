"""The page of a trace, which needs nothing outside itself, and the tables beside it."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from palimpsest.report.families.front_tables import csv_estimate
from palimpsest.report.families.trace_figures import PLAIN, drawn_curves
from palimpsest.report.page import KeyNumber, NextStep, PageFigure, render
from palimpsest.report.terminal import FittedTable, TextColumn
from palimpsest.report.text import (
    MISSING,
    conjugation_label,
    crew_text,
    csv_interval,
    csv_text,
    number,
    percent,
    percent_interval,
    ratio,
    ratio_interval,
    visible,
)

if TYPE_CHECKING:
    from palimpsest.records import ConjugationResult, Estimate, Trace, TraceCheckpoint


def render_trace(found: Trace, figures: Sequence[PageFigure]) -> str:
    """Return the page.

    Args:
        found: What the trace says.
        figures: In order.
    """
    shown = [curve.via for curve in drawn_curves(found)]
    windows = [window for window in found.windows if window.steps]
    return render(
        "trace.html.j2",
        figures,
        filters=_FILTERS,
        found=found,
        keys=list(_key_numbers(found)),
        vias=shown,
        others=[name for name in _vias(found) if name not in shown],
        under=_under,
        target_text=lambda one: _target_text(found, one),
        gain_header=_gain_header(found),
        windows=sorted(windows, key=lambda window: -len(window.steps)),
        cells=list(found.checkpoints[0].cells),
        steps=list(_next_steps(found)),
        run_facts=list(_run_facts(found)),
    )


def _vias(found: Trace) -> list[str]:
    return [curve.via for curve in found.curves if curve.via != PLAIN]


def _under(one: TraceCheckpoint, via: str) -> ConjugationResult | None:
    return next((under for under in one.conjugations if under.name == via), None)


def _target_text(found: Trace, one: TraceCheckpoint) -> tuple[str, str]:
    """Return the score on the target with its interval, in its unit."""
    return _score(found, one.target)


def _score(found: Trace, score: Estimate | None) -> tuple[str, str]:
    if score is None or score.value is None or found.target is None:
        return MISSING, ""
    if found.target.unit == "accuracy":
        return percent(score.value), percent_interval(score.ci95)
    low, high = score.ci95 or (None, None)
    return number(score.value, 3), f"[{number(low, 3)}, {number(high, 3)}]"


def _gain_header(found: Trace) -> str:
    text = found.target is not None and found.target.unit == "bits a byte"
    return "Bits a byte" if text else "Target, %"


def _value(found: Estimate | None) -> str:
    return MISSING if found is None else percent(found.value)


def _ends(found: Estimate | None) -> str:
    return "" if found is None else percent_interval(found.ci95)


_FILTERS: dict[str, Callable[..., object]] = {
    "label": conjugation_label,
    "percent": percent,
    "percent_interval": percent_interval,
    "ratio": ratio,
    "ratio_ends": ratio_interval,
    "value": _value,
    "ends": _ends,
}


def csv_trace(found: Trace) -> str:
    """Return a row for each step and way of asking, with unrounded fractions."""
    rows: list[dict[str, object]] = []
    at = {one.step: one for one in found.checkpoints}
    for curve in found.curves:
        for step, accuracy in zip(curve.steps, curve.accuracy, strict=True):
            one = at.get(step)
            is_plain = curve.via == PLAIN
            under = None if one is None or is_plain else _under(one, curve.via)
            score = found.base_target if one is None else one.target
            rows.append(
                {
                    "step": step,
                    "conjugation": conjugation_label(curve.via),
                    **csv_estimate("accuracy", accuracy),
                    **csv_estimate("fall", one.fall if one is not None and is_plain else None),
                    **_csv_under(under),
                    **csv_estimate("target", score if is_plain else None),
                    **csv_estimate("target_gain", one.target_gain if one and is_plain else None),
                    "verdict": one.verdict if one is not None and is_plain else None,
                }
            )
    return csv_text(rows)


def _csv_under(found: ConjugationResult | None) -> dict[str, object]:
    if found is None:
        return csv_interval("recovery", None, None) | csv_interval("did", None, None)
    return {
        **csv_interval("recovery", found.recovery, found.recovery_ci95),
        **csv_interval("did", found.did, found.did_ci95),
    }


class TraceTable(FittedTable):
    """The checkpoints as rich prints them: the most important columns that fit the terminal."""

    def __init__(self, found: Trace) -> None:
        curves = {curve.via: curve for curve in found.curves}
        steps = curves[PLAIN].steps
        columns = {
            "Step": [("base" if not step else f"{step:,}", "") for step in steps],
            "Plain, %": [_cell(one) for one in curves[PLAIN].accuracy],
            "Fall, points": [(MISSING, ""), *(_cell(one.fall) for one in found.checkpoints)],
        }
        ways = [curve.via for curve in drawn_curves(found)]
        named = {f"{visible(conjugation_label(via))}, %": via for via in ways}
        for header, via in named.items():
            columns[header] = [_cell(one) for one in curves[via].accuracy]
        if found.target is not None:
            scores = [found.base_target, *(one.target for one in found.checkpoints)]
            columns[_gain_header(found)] = [_score(found, one) for one in scores]
        columns["Verdict"] = [(MISSING, ""), *((one.verdict, "") for one in found.checkpoints)]
        essential = ["Plain, %", "Fall, points", *list(named)[:1]]
        others = [header for header in columns if header not in ("Step", *essential)]
        super().__init__(
            [
                TextColumn(header, cells, is_number=header != "Verdict")
                for header, cells in columns.items()
            ],
            [
                *((header, False) for header in essential),
                *((header, False) for header in [*others[-2:], *others[:-2]]),
                ("Fall, points", True),
                *((header, True) for header in columns if header not in ("Step", "Fall, points")),
            ],
            n_essential=len(essential),
            elsewhere="trace.csv in the run folder",
        )


def _cell(found: Estimate) -> tuple[str, str]:
    return _value(found), _ends(found)


def _key_numbers(found: Trace) -> Iterator[KeyNumber]:
    first, last = found.first_clear_fall, found.last_kept
    margin = percent(found.margin).removesuffix(".0")
    yield KeyNumber(
        "Last kept", MISSING if last is None else f"{last:,}", "", f"a fall of {margin} points "
        "is excluded",
    )  # fmt: skip
    yield KeyNumber(
        "First clear fall", MISSING if first is None else f"{first:,}", "", "step of the training"
    )
    end = found.checkpoints[-1]
    yield KeyNumber(
        f"Fall at step {end.step:,}", percent(end.fall.value), "points", percent_interval(
            end.fall.ci95
        ),
    )  # fmt: skip
    windows = [window for window in found.windows if window.steps]
    if windows:
        longest = max(windows, key=lambda window: len(window.steps))
        span = f"{longest.steps[0]:,}–{longest.steps[-1]:,}"
        yield KeyNumber("Longest window", span, "", f"of steps, under {longest.via}")
    gain = end.target_gain
    if gain is not None and found.target is not None:
        unit = "% of its bits" if found.target.unit == "bits a byte" else "points"
        value = percent(gain.value, signed=True)
        yield KeyNumber("Target gained", value, unit, percent_interval(gain.ci95, signed=True))


def _next_steps(found: Trace) -> Iterator[NextStep]:
    base, suite = shlex.quote(found.base.spec), shlex.quote(found.suite.name)
    end = shlex.quote(found.checkpoints[-1].model.spec)
    target = "TARGET" if found.target is None else shlex.quote(found.target.name)
    if found.first_clear_fall is not None:
        yield NextStep(
            "Get it back without losing what you tuned for: members between base and tuned model, "
            "and the best conjugations, on both suites.",
            f"palimpsest restore {base} {end} --suite {suite} --target {target}",
        )
        at = next(one for one in found.checkpoints if one.step == found.first_clear_fall)
        yield NextStep(
            "Look at single prompts at the first clear fall.",
            f"palimpsest diagnose {base} {shlex.quote(at.model.spec)} --suite {suite} "
            "--out AT-THE-FALL",
        )
    if found.target is None:
        yield NextStep(
            "See what the training gains meanwhile: answers on file are not asked again.",
            f"{found.provenance.command} --target TARGET",
        )
    yield NextStep(
        "Watch the next training while it runs, and stop it in time.",
        f"palimpsest trace {base} TRAINER-OUTPUT --suite {suite} --watch",
    )


def _run_facts(found: Trace) -> Iterator[tuple[str, str]]:
    run = found.provenance
    yield "base", found.base.spec
    yield "base fingerprint", found.base.fingerprint
    for one in found.checkpoints:
        yield f"step {one.step:,}", f"{one.model.spec} ({one.model.fingerprint})"
    yield "suite", found.suite.name
    yield "suite fingerprint", found.suite.fingerprint
    if found.target is not None:
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
