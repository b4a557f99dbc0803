"""Made-up diagnoses and answers, seeded, that look like those of a real run."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from palimpsest.records.answers import AnswerKey, AnswerRow, Outcome
from palimpsest.records.results import (
    Arm,
    Best,
    Cell,
    CellRounds,
    ConjugationResult,
    InferenceArm,
    InferenceResult,
    Interval,
    ModelInfo,
    Plain,
    Pooled,
    PooledCell,
    Provenance,
    Results,
    Scoring,
    SuiteInfo,
    UntilSure,
    Verdict,
)

CELLS = ("repeat/math", "repeat/blank", "capitalise/math", "capitalise/blank")


class Via(NamedTuple):
    """A way of asking, with how often each model then answers right in the fake world."""

    name: str
    exact: bool
    keeps: str
    base: float
    tuned: float
    language: str = "en"
    native: bool = False


VIAS = (
    Via("fr", exact=False, keeps="the meaning", base=0.99, tuned=0.93, language="fr", native=True),
    Via("es", exact=False, keeps="the meaning", base=0.98, tuned=0.88, language="es", native=True),
    Via("nl", exact=False, keeps="the meaning", base=0.97, tuned=0.72, language="nl", native=True),
    Via("leet", exact=True, keeps="everything", base=0.95, tuned=0.81),
    Via("pig-latin", exact=True, keeps="everything", base=0.97, tuned=0.90),
    Via("upper", exact=False, keeps="everything but capitals", base=0.61, tuned=0.22),
    Via("base64", exact=True, keeps="everything", base=0.02, tuned=0.0),
)
PLAIN = Via("identity", exact=True, keeps="everything", base=0.985, tuned=0.24)


def arm(n: int, accuracy: float, *, intruded_share: float = 0.9) -> Arm:
    """Return an arm whose errors are intruded to the given share."""
    right = round(n * accuracy)
    intruded = round((n - right) * intruded_share)
    return Arm(
        n=n,
        accuracy=right / n,
        ci95=wilson(right, n),
        intruded=intruded / n,
        broken=(n - right - intruded) / n,
    )


def wilson(k: int, n: int) -> Interval:
    """Return Wilson's 95 % interval (a copy for these tests, apart from the package's)."""
    z, p = 1.959963985, k / n
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (centre - spread) / (1 + z * z / n), (centre + spread) / (1 + z * z / n)


def plain(n: int, *, base: float = PLAIN.base, tuned: float = PLAIN.tuned) -> Plain:
    """Return base against tuned asked plainly."""
    base_arm, tuned_arm = arm(n, base, intruded_share=0.3), arm(n, tuned)
    forgetting = base_arm.accuracy - tuned_arm.accuracy
    half = 1.0 / math.sqrt(n)
    return Plain(
        base=base_arm,
        tuned=tuned_arm,
        forgetting=forgetting,
        forgetting_ci95=(forgetting - half, forgetting + half),
        forgetting_newcombe95=(forgetting - 0.9 * half, forgetting + 0.9 * half),
        p_value=1e-40 if forgetting > 2 * half else 0.42,
        n_lost=max(0, round(forgetting * n)) + 1,
        n_gained=1,
    )


def conjugation(via: Via, against: Plain) -> ConjugationResult:
    """Return both models under one conjugation."""
    n = against.base.n
    base, tuned = arm(n, via.base, intruded_share=0.2), arm(n, via.tuned, intruded_share=0.6)
    gain = tuned.accuracy - against.tuned.accuracy
    did = gain - (base.accuracy - against.base.accuracy)
    half = 1.2 / math.sqrt(n)
    defined = against.forgetting_ci95[0] > 0
    recovery = gain / against.forgetting if defined else None
    return ConjugationResult(
        name=via.name,
        exact=via.exact,
        keeps=via.keeps,
        base=base,
        tuned=tuned,
        recovery=recovery,
        recovery_ci95=None if recovery is None else (recovery - half, recovery + half),
        did=did,
        did_ci95=(did - half, did + half),
        p_value=1e-20 if gain > half else 0.4,
        p_holm=1e-19 if gain > half else 0.8,
        n_lost=2,
        n_gained=max(0, round(gain * n)) + 2,
        round_trip=None if via.native else (1.0 if via.exact else 0.97),
        fidelity=None if via.native else (1.0 if via.exact else 0.83),
        survival=None if via.native else 1.0,
        n_excluded=0 if via.exact or via.native else 3,
    )


def best(results: Sequence[ConjugationResult], against: Plain) -> Best:
    """Return the best conjugation, as if measured on the other half."""
    chosen = max(results, key=lambda result: result.tuned.accuracy)
    half = against.base.n // 2
    return Best(
        name=chosen.name,
        n_selection=against.base.n - half,
        n_report=half,
        tuned_plain=arm(half, against.tuned.accuracy),
        tuned=arm(half, chosen.tuned.accuracy),
        base_plain=arm(half, against.base.accuracy),
        base=arm(half, chosen.base.accuracy),
        recovery=chosen.recovery,
        recovery_ci95=chosen.recovery_ci95,
        did=chosen.did,
        did_ci95=chosen.did_ci95,
        p_value=chosen.p_value,
    )


def fake_results(
    *,
    verdict: Verdict = "suppressed",
    cells: Sequence[str] = CELLS,
    vias: Sequence[Via] = VIAS,
    n_per_cell: int = 100,
    warnings: Sequence[str] = (),
) -> Results:
    """Return a diagnosis in which English was overwritten and the other languages were not."""
    overall = plain(n_per_cell * max(1, len(cells)))
    conjugations = [conjugation(via, overall) for via in vias]
    return Results(
        base=model("rosetta:base", "b0a1c2d3e4f50617"),
        tuned=model("rosetta:tuned", "70ed00112233aabb"),
        suite=SuiteInfo(
            name="icl-vs-if:rosetta",
            fingerprint="5017e5017e5017e5",
            description="In-context tasks whose query is itself a request.",
            source_language="en",
            languages=["en", "fr", "es", "nl"],
            n_source_examples=overall.base.n,
        ),
        plain=overall,
        conjugations=conjugations,
        cells=[cell(name, place, vias, n_per_cell) for place, name in enumerate(cells)],
        best=best(conjugations, overall) if conjugations else None,
        verdict=verdict,
        verdict_reason=(
            "Asked plainly the tuned model loses 74.5 points [69.5, 79.5]; asked in French it has "
            "0.93 of them back [0.87, 0.99], measured on the half that did not choose it."
        ),
        warnings=list(warnings),
        provenance=provenance(),
    )


def from_logs(results: Results, scoring: Scoring) -> Results:
    """Return the same figures as though they came from logs."""
    suite = results.suite.model_copy(
        update={"scoring": scoring, "from_logs": True, "description": "Logs of a test."}
    )
    found = results.model_copy(update={"suite": suite})
    if scoring != "graded":
        return found
    plain = results.plain.model_copy(update={"forgetting_newcombe95": None})
    return found.model_copy(update={"plain": plain})


def with_inference(results: Results) -> Results:
    """Return the same figures with what inference was measured besides, overall and in cells."""

    def arm_of(right: float, intruding: float) -> InferenceArm:
        other = 1 - right - intruding
        return InferenceArm(
            n=40,
            right=right,
            right_ci95=(right - 0.05, right + 0.05),
            intruding=intruding,
            intruding_ci95=(intruding - 0.05, intruding + 0.05),
            other=other,
            other_ci95=(other, other),
            unseen=0.01,
            g=intruding / (right + intruding),
            g_ci95=(0.0, 1.0),
        )

    found = [
        InferenceResult(
            via=name,
            base=arm_of(0.9, 0.05),
            tuned=arm_of(0.2, 0.7),
            shift=4.1,
            shift_ci95=(3.5, 4.8),
            n_drift=40 if name == "identity" else 0,
            drift=-0.25 if name == "identity" else None,
            drift_ci95=(-0.3, -0.2) if name == "identity" else None,
        )
        for name in ("identity", *(each.name for each in results.conjugations))
    ]
    cells = [each.model_copy(update={"inference": found}) for each in results.cells]
    return results.model_copy(update={"inference": found, "cells": cells})


def with_pooled(results: Results) -> Results:
    """Return the same figures with pooled ones beside them; the second cell did not fall."""
    cells = [
        PooledCell(
            name=each.name,
            fall=each.plain.forgetting * 0.9,
            fall_ci95=(each.plain.forgetting * 0.9 - 0.05, each.plain.forgetting * 0.9 + 0.05),
            n_fell=None if place == 1 else 40,
            n_returned=None if place == 1 else 30,
            returned=None if place == 1 else 0.74,
            returned_ci95=None if place == 1 else (0.6, 0.85),
        )
        for place, each in enumerate(results.cells)
    ]
    return results.model_copy(update={"pooled": Pooled(via="fr", cells=cells)})


def with_rounds(results: Results) -> Results:
    """Return the same figures as though they had been asked until sure."""
    rounds = [
        CellRounds(
            name=each.name,
            n_rounds=2,
            n_plain=each.plain.base.n,
            n_under={one.name: 10 for one in each.conjugations},
            n_available=400,
            is_decided=True,
            why="recovery",
        )
        for each in results.cells
    ]
    until_sure = UntilSure(
        alpha=0.05, first_round=20, n_rounds=2, cells=rounds, n_answers=900, n_all=5600
    )
    plain = results.plain.model_copy(update={"at_any_time": True})
    return results.model_copy(update={"plain": plain, "until_sure": until_sure})


def cell(name: str, place: int, vias: Sequence[Via], n: int) -> Cell:
    """Return one cell; the second one keeps the ability, the fourth is undecided."""
    verdicts: tuple[Verdict, ...] = ("suppressed", "kept", "lost", "inconclusive")
    verdict = verdicts[place % 4]
    against = plain(n, tuned=(0.1, 0.97, 0.05, 0.93)[place % 4])
    shift = -0.85 if verdict == "lost" else 0.0
    seen = [via._replace(tuned=max(0.0, via.tuned + shift)) for via in vias]
    conjugations = [conjugation(via, against) for via in seen]
    return Cell(
        name=name,
        plain=against,
        conjugations=conjugations,
        best=best(conjugations, against) if conjugations else None,
        verdict=verdict,
        verdict_reason=f"The interval of the forgetting in {name} decides it.",
    )


def model(spec: str, fingerprint: str) -> ModelInfo:
    """Return what is known of a model."""
    facts = {"parameters": "1 063 424", "dtype": "float32", "device": "cpu", "layers": "4"}
    return ModelInfo(spec=spec, fingerprint=fingerprint, facts=facts)


def provenance() -> Provenance:
    """Return what is needed to repeat the run."""
    return Provenance(
        created="2026-11-20T18:54:00Z",
        command="palimpsest diagnose rosetta:base rosetta:tuned --suite icl-vs-if:rosetta "
        "--via fr --via es --via nl --via leet --via pig-latin --out palimpsest-demo",
        versions={"palimpsest-lm": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
        platform="Linux x86_64, Python 3.11",
        commit=None,
        seed=0,
        n_resamples=10_000,
        seconds=41.7,
    )


_NOUNS = ("baker", "teacher", "sailor", "doctor", "farmer", "painter", "child", "queen")
_VERBS = ("sees", "carries", "paints", "sells", "loves", "hides")
_THINGS = ("the bread", "a lamp", "the blue boat", "an old map", "the letter", "a green chair")
_LEET = str.maketrans("abeiost", "4831057")


def fake_rows(
    n_rows: int = 400, *, seed: int = 0, cells: Sequence[str] = CELLS, vias: Sequence[Via] = VIAS
) -> list[AnswerRow]:
    """Return at most ``n_rows`` answers, base and tuned in turn, of every cell and conjugation."""
    rng = random.Random(seed)
    rows: list[AnswerRow] = []
    everything = _questions(rng, cells, (PLAIN, *vias))
    while len(rows) + 2 <= n_rows:
        rows += next(everything)
    return rows


def _questions(
    rng: random.Random, cells: Sequence[str], vias: Sequence[Via]
) -> Iterator[tuple[AnswerRow, AnswerRow]]:
    number = 0
    while True:
        for cell_name in cells:
            prompt, word, other = _prompt(rng, cell_name)
            for via in vias:
                source_id = f"{cell_name}/{number:04d}"
                yield tuple(  # type: ignore[misc]
                    _answer(rng, role, via, source_id, cell_name, prompt, word, other)
                    for role in ("base", "tuned")
                )
        number += 1


def _prompt(rng: random.Random, cell_name: str) -> tuple[str, str, str]:
    sentences = [
        f"The {rng.choice(_NOUNS)} {rng.choice(_VERBS)} {rng.choice(_THINGS)}." for _ in range(3)
    ]
    if cell_name.endswith("math"):
        a, b = rng.randint(4, 20), rng.randint(4, 20)
        query, other = f"What is {a} plus {b}?", str(a + b)
    else:
        other, _, rest = sentences[2].partition(" ")
        query = f"___ {rest}"
    capitals = cell_name.startswith("capital")
    shown = [text.upper() if capitals else text for text in sentences]
    order = "Capitalise" if capitals else "Repeat"
    examples = "\n\n".join(f"Input: {sentences[i]}\nOutput: {shown[i]}" for i in range(2))
    word = (query.upper() if capitals else query).split(" ", maxsplit=1)[0]
    return f"{order} the input.\n\n{examples}\n\nInput: {query}\nOutput:", word, other


def _answer(
    rng: random.Random,
    role: str,
    via: Via,
    source_id: str,
    cell_name: str,
    prompt: str,
    word: str,
    other: str,
) -> AnswerRow:
    outcome: Outcome = "right"
    if rng.random() > (via.base if role == "base" else via.tuned):
        outcome = "intruded" if rng.random() < 0.8 else "broken"
    answer = {"right": f" {word}", "intruded": f" {other}", "broken": " the the"}[outcome]
    rewrite = via.name == "leet"
    return AnswerRow(
        key=AnswerKey(role, "suite", source_id, via.name, "settings"),
        role=role,
        via=via.name,
        cell=cell_name,
        language=via.language,
        prompt=prompt.translate(_LEET) if rewrite else prompt,
        raw=answer.translate(_LEET) if rewrite else answer,
        answer=answer,
        right_answers=json.dumps([word]),
        intruding_answers=json.dumps([other, f"It is {other}"]),
        outcome=outcome,
        finish="decided",
        round_trip=None if via.native else via.exact,
        latency_seconds=rng.uniform(0.002, 0.02),
        fidelity=None if via.native else (1.0 if via.exact else 0.83),
        survival=None if via.native else 1.0,
    )
