"""Made-up traces and restorations that look like real ones."""

from __future__ import annotations

from typing import Literal

from palimpsest.records import (
    AccuracyCurve,
    Arm,
    CellFigures,
    Choice,
    ConjugationResult,
    Cure,
    Estimate,
    FrontPoint,
    Half,
    ModelInfo,
    Plain,
    Provenance,
    Restoration,
    SuiteInfo,
    TargetInfo,
    Trace,
    TraceCheckpoint,
    Window,
)


def quantity(value: float | None, spread: float = 0.05) -> Estimate:
    """Return a number with an interval around it."""
    return Estimate(value=value, ci95=None if value is None else (value - spread, value + spread))


def arm(accuracy: float) -> Arm:
    """Return a model that is right so often."""
    ends = max(0.0, accuracy - 0.05), min(1.0, accuracy + 0.05)
    return Arm(n=100, accuracy=accuracy, ci95=ends, intruded=0.0, broken=1 - accuracy)


def plain(base: float, tuned: float) -> Plain:
    """Return base against tuned."""
    fall = base - tuned
    return Plain(
        base=arm(base),
        tuned=arm(tuned),
        forgetting=fall,
        forgetting_ci95=(fall - 0.05, fall + 0.05),
        forgetting_newcombe95=(fall - 0.06, fall + 0.06),
        p_value=0.0001,
        n_lost=80,
        n_gained=1,
    )


def model(name: str) -> ModelInfo:
    """Return a model of this name."""
    return ModelInfo(spec=name, fingerprint="0123456789abcdef", facts={"parameters": "1,400,000"})


def suite(name: str = "lost") -> SuiteInfo:
    """Return a suite of this name."""
    return SuiteInfo(
        name=name,
        fingerprint="fedcba9876543210",
        description="Made up.",
        source_language="en",
        languages=["en"],
        n_source_examples=400,
    )


def target(unit: Literal["accuracy", "bits a byte"] = "accuracy") -> TargetInfo:
    """Return what was tuned for."""
    name = "goal" if unit == "accuracy" else "text:held-out.jsonl"
    return TargetInfo(name=name, unit=unit, fingerprint="aaaa", n_examples=300)


def provenance(command: str) -> Provenance:
    """Return how a run is repeated."""
    return Provenance(
        created="2026-11-29T10:00:00+00:00",
        command=command,
        versions={"python": "3.11"},
        platform="Linux",
        commit=None,
        seed=0,
        n_resamples=10_000,
        seconds=1.5,
    )


def point(
    name: str,
    kept: float,
    change: float | None,
    *,
    kind: Literal["base", "tuned", "member", "prompting"] = "member",
    text: bool = False,
) -> FrontPoint:
    """Return a point of a front."""
    score = None if change is None else quantity(0.7 - change if text else 0.9 + change)
    is_end = kind in ("base", "tuned")
    half = Half(n=200, kept=kept, gain=quantity(kept - 0.1))
    cell = CellFigures(
        cell="repeat/math",
        part="suite",
        n=100,
        healed=quantity(kept),
        n_fallen=90,
        preserved=quantity(None),
        damaged=quantity(0.01, 0.01),
    )
    goal = cell.model_copy(update={"part": "target", "cell": "sum", "target_kept": quantity(0.8)})
    return FrontPoint(
        name=name,
        title=name,
        kind=kind,
        formula="W = W_base + α (W_tuned − W_base)",
        source="somebody, somewhere",
        fingerprint="0123",
        kept=quantity(kept),
        recovery=quantity(kept - 0.1),
        target=score,
        target_change=None if change is None else quantity(change, 0.03),
        is_on_front=kind == "member",
        cells=[] if is_end else [cell, goal],
        selection=None if is_end else half,
        report=half if name in ("interpolate:0.6", "leet") else None,
    )


def fake_restoration(
    *,
    outcome: Literal["good", "none", "inconclusive"] = "good",
    cure: Literal["weights", "prompting", "either", "none"] = "prompting",
    text: bool = False,
    name: str = "interpolate:0.6",
) -> Restoration:
    """Return a restoration with five members, two of them close together."""
    members = [("interpolate:0.2", 0.95, -0.3), (name, 0.7, -0.02)]
    members += [("interpolate:0.9", 0.2, 0.0), ("dg-hard", 0.21, 0.002), ("lines:0", 0.4, -0.1)]
    return Restoration(
        base=model("./base"),
        tuned=model("./tuned"),
        suite=suite(),
        target=target("bits a byte" if text else "accuracy"),
        plain=plain(0.95, 0.1),
        target_gain=quantity(0.4),
        points=[
            point("base", 0.95, -0.4, kind="base", text=text),
            point("tuned", 0.1, 0.0, kind="tuned", text=text),
            *(point(*each, text=text) for each in members),
            point("leet", 0.9, None if text else -0.3, kind="prompting"),
        ],
        choice=Choice(
            outcome=outcome,
            name=name if outcome == "good" else None,
            reason="Because of this and that.",
            rule="The rule in a sentence.",
            margin=0.05,
        ),
        cure=Cure(
            outcome=cure,
            via=None if cure == "weights" else "leet",
            difference=quantity(0.2),
            reason="One is better than the other.",
        ),
        provenance=provenance("palimpsest restore ./base ./tuned --suite lost --target goal"),
    )


def fake_trace(
    *,
    n_conjugations: int = 2,
    with_target: bool = True,
    text: bool = False,
    forgets: bool = True,
    suite_name: str = "lost",
) -> Trace:
    """Return a trace of four checkpoints; the second way of asking reads for a shorter time."""
    steps = [100, 200, 300, 400]
    falls = [0.01, 0.2, 0.6, 0.85] if forgets else [0.0] * 4
    names = [f"via{number}" for number in range(n_conjugations)]
    return Trace(
        base=model("./base"),
        suite=suite(suite_name),
        target=target("bits a byte" if text else "accuracy") if with_target else None,
        base_target=quantity(0.9 if text else 0.4) if with_target else None,
        margin=0.05,
        checkpoints=[
            _checkpoint(step, fall, names, with_target=with_target)
            for step, fall in zip(steps, falls, strict=True)
        ],
        curves=[
            AccuracyCurve(
                via=via,
                steps=[0, *steps],
                accuracy=[quantity(0.95 - share * fall) for fall in (0.0, *falls)],
            )
            for via, share in [("identity", 1.0), *((name, 0.3) for name in names)]
        ],
        first_clear_fall=200 if forgets else None,
        last_kept=100 if forgets else 400,
        windows=[
            Window(via=name, steps=[200, 300, 400][: max(0, 3 - number)] if forgets else [])
            for number, name in enumerate(names)
        ],
        summary=["The first clear fall is at step 200.", "And so on."],
        provenance=provenance("palimpsest trace ./base runs/tuned"),
    )


def _checkpoint(step: int, fall: float, names: list[str], *, with_target: bool) -> TraceCheckpoint:
    return TraceCheckpoint(
        step=step,
        model=model(f"hf:runs/tuned/checkpoint-{step}"),
        plain=plain(0.95, 0.95 - fall),
        fall=quantity(fall),
        conjugations=[
            ConjugationResult(
                name=name,
                exact=True,
                keeps="everything",
                base=arm(0.95),
                tuned=arm(0.95 - 0.3 * fall),
                recovery=0.7 if fall > 0.1 else None,
                recovery_ci95=(0.6, 0.8) if fall > 0.1 else None,
                did=0.5,
                did_ci95=(0.4, 0.6),
                p_value=0.001,
                p_holm=0.002,
                n_lost=0,
                n_gained=50,
            )
            for name in names
        ],
        best=None,
        verdict="suppressed" if fall > 0.1 else "kept",
        verdict_reason="Because.",
        cells={"repeat/math": 0.95 - fall, "repeat/blank": 0.9 - fall},
        target=quantity(0.5 + step / 1_000) if with_target else None,
        target_gain=quantity(step / 1_000) if with_target else None,
    )
