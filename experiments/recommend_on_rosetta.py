"""Does ``palimpsest recommend`` rank conjugations as they deserve? Its score against the truth.

``python experiments/recommend_on_rosetta.py`` asks the Rosetta pair 100 prompts a cell (400 in all,
split ``report``) under every conjugation below, and compares what they recover with what the score
says without seeing an answer. It continues where it was stopped; ``--quick`` takes 10 a cell.

The score's formula was fixed before it was computed on anything, and what follows before the two
were compared. (The recovery of six of the conjugations had been published by then.)

- Truth: the recovery of each conjugation over all prompts, from ``palimpsest.diagnose``.
- Main figure: Spearman's rank correlation between the recovery and the order in which the
  conjugations are recommended with the base model, those that are excluded tied at the end.
- Beside it: the same without the base model; the score itself, of all conjugations and of those
  that are not excluded; shift and handling alone; everything by cell.
- Two 95 % percentile intervals: over prompts, and over prompts and conjugations. The same resample
  of prompts gives the recovery, the score and the exclusions.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

import palimpsest
from palimpsest.judging import PLAIN, PairedAnswers, parse_via
from palimpsest.judging.recommend import (
    MIN_FIDELITY,
    MIN_HANDLING,
    Likelihoods,
    Study,
    plain_text,
    score_texts,
    send,
    terms,
)
from palimpsest.lm.models import load_model
from palimpsest.records import AnswerStore, RunFolder

Array = npt.NDArray[np.float64]

MODELS = {"base": "rosetta:base", "tuned": "rosetta:tuned"}
NATIVE = ("fr", "es", "nl", "de")
REWRITTEN = (
    "leet",
    "pig-latin",
    "leet-paper",
    "pig-latin-paper",
    "upper",
    "rot13",
    "base64",
    "reverse-words",
)
TRANSLATED = ("translate:fr", "translate:es")
N_RESAMPLES = 4000


@dataclass(frozen=True)
class Data:
    """All that the analysis needs; rows are prompts, columns conjugations."""

    names: list[str]
    cells: npt.NDArray[np.str_]
    right: Array
    """1 where the tuned model is right under the conjugation."""
    plain: dict[str, Array]
    """Role to 1 where the model is right plainly."""
    sums: dict[bool, Array]
    """With or without base: (prompts, conjugations, columns of the evidence)."""


def main() -> None:
    """Collect, analyse, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("build/recommend-on-rosetta"))
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    n = 10 if given.quick else 100
    data = collect(given.out / f"n{n}", n)
    found = analyse(data, np.random.default_rng(0))
    (given.out / f"n{n}" / "correlations.json").write_text(json.dumps(found, indent=2) + "\n")
    sys.stdout.write(report(data, found))


def collect(folder: Path, n: int) -> Data:
    """Ask both models under every conjugation, and take the likelihoods of all prompts."""
    suite = palimpsest.load_suite(f"rosetta:n={n}")
    specs = [*NATIVE, *REWRITTEN, *(TRANSLATED if shutil.which("apertium") else ())]
    vias = [parse_via(spec, suite) for spec in specs]
    palimpsest.diagnose(
        MODELS["base"], MODELS["tuned"], suite=suite, via=specs, out=folder, n_resamples=2000
    )
    with AnswerStore(RunFolder.find(folder).answers, read_only=True) as store:
        answers = PairedAnswers(store.run_rows())
    examples = suite.in_language(suite.source_language)
    ids = [example.source_id for example in examples]

    def right(role: str, via: str) -> Array:
        return np.array([each == "right" for each in answers.outcomes(role, via, ids)], float)

    sent = [send(via, suite) for via in vias]
    plain = [plain_text(example.prompt) for example in examples]
    texts = dict.fromkeys([*plain, *(text for one in sent for text in one.texts if text)])
    likelihoods = {
        role: _likelihoods(role, spec, list(texts), folder) for role, spec in MODELS.items()
    }
    studies = {
        True: Study(plain, likelihoods),
        False: Study(plain, {"tuned": likelihoods["tuned"]}),
    }
    return Data(
        names=[via.name for via in vias],
        cells=np.array([example.cell for example in examples]),
        right=np.column_stack([right("tuned", via.name) for via in vias]),
        plain={role: right(role, PLAIN) for role in MODELS},
        sums={
            has_base: np.stack([study.evidence(one).columns for one in sent], axis=1)
            for has_base, study in studies.items()
        },
    )


def _likelihoods(role: str, spec: str, texts: Sequence[str], folder: Path) -> Likelihoods:
    """Return the bits of every text, remembered in the run folder."""
    model = load_model(spec)
    path = folder / f"bits-{model.fingerprint[:16]}.json"
    known: dict[str, float] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    missing = [text for text in texts if text not in known]
    if missing:
        known |= score_texts(model, missing, role=role).bits
        path.write_text(json.dumps(known), "utf-8")
    return Likelihoods({text: known[text] for text in texts}, None, None)


def analyse(data: Data, rng: np.random.Generator) -> dict[str, Any]:
    """Return every correlation with its intervals, over all prompts and by cell."""
    groups = {"all": np.ones(len(data.cells), bool)}
    groups |= {str(cell): data.cells == cell for cell in dict.fromkeys(data.cells.tolist())}
    return {name: _correlations(data, rows, rng) for name, rows in groups.items()}


def _correlations(data: Data, rows: npt.NDArray[np.bool_], rng: np.random.Generator) -> Any:
    n, n_vias = int(rows.sum()), len(data.names)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=N_RESAMPLES) / n
    picks = rng.integers(n_vias, size=(N_RESAMPLES, n_vias))
    right = data.right[rows]
    gap = (data.plain["base"] - data.plain["tuned"])[rows].mean()
    recovery = (right.mean(axis=0) - data.plain["tuned"][rows].mean()) / gap
    found: dict[str, Any] = {"n_prompts": n, "recovery": _by_name(data, recovery)}
    for has_base, sums in data.sums.items():
        point = _scores(sums[rows].mean(axis=0)[None])
        resampled = _scores(np.einsum("rp,pvc->rvc", weights, sums[rows]))
        truth = weights @ right  # recovery is an increasing function of it within a resample
        found["with base" if has_base else "without base"] = {
            what: {
                "values": _by_name(data, values[0]),
                **_interval(spearman(values, recovery[None]), resampled[what], truth, picks),
            }
            for what, values in point.items()
        }
    return found


def _by_name(data: Data, values: Array) -> dict[str, float | None]:
    finite = [float(value) if np.isfinite(value) else None for value in values]
    return dict(zip(data.names, finite, strict=True))


def _scores(sums: Array) -> Mapping[str, Array]:
    """Return what is correlated; (resamples, conjugations), NaN for those left out."""
    found = terms(sums)
    eligible = (found.handling >= MIN_HANDLING) & (found.fidelity >= MIN_FIDELITY)
    score = np.nan_to_num(found.score, nan=-np.inf)
    return {
        "as recommended": np.where(eligible, score, -np.inf),
        "score of all": score,
        "score of those not excluded": np.where(eligible, score, np.nan),
        "shift alone": found.shift,
        "handling alone": found.handling,
    }


def _interval(point: Array, resampled: Array, truth: Array, picks: npt.NDArray[np.int64]) -> Any:
    over_prompts = spearman(resampled, truth)
    rows = np.arange(len(picks))[:, None]
    over_both = spearman(resampled[rows, picks], truth[rows, picks])
    return {
        "spearman": float(point[0]) if np.isfinite(point[0]) else None,
        "over prompts": _percentiles(over_prompts),
        "over prompts and conjugations": _percentiles(over_both),
    }


def _percentiles(values: Array) -> list[float] | None:
    known = values[np.isfinite(values)]
    return np.percentile(known, [2.5, 97.5]).tolist() if len(known) else None


def spearman(one: Array, other: Array) -> Array:
    """Return the rank correlation of each row, over the columns in which neither is NaN."""
    known = ~(np.isnan(one) | np.isnan(other))
    ranks = [
        rankdata(np.where(known, values, np.nan), axis=1, nan_policy="omit")
        for values in (one, other)
    ]
    n = known.sum(axis=1, keepdims=True)
    centred = [
        np.where(known, rank - np.nansum(rank, axis=1, keepdims=True) / n, 0.0) for rank in ranks
    ]
    size = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    product = (centred[0] * centred[1]).sum(axis=1)
    result: Array = np.divide(product, size, out=np.full(len(one), np.nan), where=size > 0)
    return result


def report(data: Data, found: Mapping[str, Any]) -> str:
    """Return the tables in Markdown."""
    everything = found["all"]
    lines = [
        f"{everything['n_prompts']} prompts, {len(data.names)} conjugations.",
        "",
        "| conjugation | recovery | shift | handling | score | shift, no base | handling, no base "
        "| score, no base |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    recovery: dict[str, float] = everything["recovery"]
    for name in sorted(recovery, key=lambda name: -recovery[name]):
        cells = [f"{recovery[name]:.2f}"]
        for which in ("with base", "without base"):
            values = {what: one["values"][name] for what, one in everything[which].items()}
            out = values["score of those not excluded"] is None
            cells += [_number(values[f"{term} alone"]) for term in ("shift", "handling")]
            cells.append(_number(values["score of all"]) + (" (excluded)" if out else ""))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| Spearman's ρ | with base | without base |", "|---|---|---|"]
    for what in everything["with base"]:
        lines.append(f"| {what} | {_rho(found, 'all', what)} |")
    for cell in list(found)[1:]:
        lines.append(f"| {cell}, as recommended | {_rho(found, cell, 'as recommended')} |")
    lines += ["", "Intervals over prompts; then over prompts and conjugations.", ""]
    return "\n".join(lines)


def _rho(found: Mapping[str, Any], group: str, what: str) -> str:
    parts = []
    for which in ("with base", "without base"):
        one = found[group][which][what]
        both = [one["over prompts"], one["over prompts and conjugations"]]
        intervals = ["–" if ends is None else f"{ends[0]:.2f} to {ends[1]:.2f}" for ends in both]
        parts.append(f"{_number(one['spearman'], 2)} ({'; '.join(intervals)})")
    return " | ".join(parts)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    main()
