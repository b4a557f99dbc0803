"""With how many fewer prompts does inference see what accuracy sees?

``python -m experiments.inference_gain PAIR --out DIR`` measures both models of ``rosetta`` or
``gemma`` (which needs ``--models DIR``) plainly and in languages, and writes
``experiments/tables/inference-PAIR.csv``, a line a language and prompt.
``python -m experiments.inference_gain PAIR`` prints, of that table, figures by language and

- *width*: how many times as many prompts accuracy needs for an interval of the fall as wide as that
  of the fall of the right mass, the ratio of the variances of the two differences between models;
- *z*: how many times as many for the same z-score against no change, for the fall of the right mass
  and for the shift: the ratio of squared means over variances.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from experiments.recommend_check import TABLES, Pair, pair_of

from palimpsest.judging import evaluate, parse_via
from palimpsest.judging.inference import FLOOR, Inferred, measure
from palimpsest.lm import TextCache
from palimpsest.lm.models import load_model
from palimpsest.records import AnswerStore

Array = npt.NDArray[np.float64]

LANGUAGES = {"rosetta": ("fr", "nl", "leet"), "gemma": ("fr", "nl")}


class Line(NamedTuple):
    """One prompt, asked of both models."""

    via: str
    cell: str
    source: str
    base_outcome: str
    tuned_outcome: str
    base_right: float
    base_intruding: float
    tuned_right: float
    tuned_intruding: float
    base_unseen: float
    tuned_unseen: float
    base_rest: float
    tuned_rest: float


def collect(pair: Pair, languages: Sequence[str], out: Path) -> list[Line]:
    """Ask both models and measure them; what is in the folder is not asked again."""
    out.mkdir(parents=True, exist_ok=True)
    vias = [parse_via(spec, pair.suite) for spec in ("identity", *languages)]
    kept = TextCache(out / "inference.sqlite")
    found: dict[str, dict[tuple[str, str], Inferred]] = {}
    outcomes: dict[tuple[str, str, str], str] = {}
    cells: dict[str, str] = {}
    with AnswerStore(out / "inference-answers.sqlite") as store:
        for role in ("base", "tuned"):
            with closing(load_model(getattr(pair, role))) as model:
                rows = evaluate(model, pair.suite, vias, store=store, role=role, whole="none")
                found[role] = measure(model, pair.suite, vias, kept=kept)
            outcomes |= {(role, row.via, row.key.source_id): row.outcome for row in rows}
            cells |= {row.key.source_id: row.cell for row in rows}
    lines = []
    for (via, source), base in found["base"].items():
        tuned = found["tuned"][via, source]
        lines.append(
            Line(
                via,
                cells[source],
                source,
                *(outcomes[role, via, source] for role in ("base", "tuned")),
                *base.masses[:2],
                *tuned.masses[:2],
                base.masses.unseen,
                tuned.masses.unseen,
                *(np.nan if each.rest is None else each.rest for each in (base, tuned)),
            )
        )
    return lines


def log_odds(intruding: Array, right: Array) -> Array:
    """Return natural-log odds, as :mod:`palimpsest.judging.inference` takes them."""
    return np.log((intruding + FLOOR) / (right + FLOOR))


def report(name: str) -> str:
    """Return the tables in Markdown."""
    with (TABLES / f"inference-{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [
        f"{name}, {len({row['source'] for row in rows})} prompts a language.",
        "",
        "| asked in | accuracy, base → tuned | right mass | intruding mass | ĝ | unseen | shift | "
        "drift | prompts for width | for z, right mass | for z, shift |",
        f"|---|{'---|' * 10}",
    ]
    for via in dict.fromkeys(row["via"] for row in rows):
        mine = [row for row in rows if row["via"] == via]
        lines.append(f"| {via} | {' | '.join(_figures(mine, np.random.default_rng(0)))} |")
    return "\n".join([*lines, ""])


def _figures(rows: Sequence[dict[str, str]], rng: np.random.Generator) -> list[str]:
    def of(field: str) -> Array:
        return np.array([float(row[field]) for row in rows])

    right = {
        role: np.array([float(row[f"{role}_outcome"] == "right") for row in rows])
        for role in ("base", "tuned")
    }
    mass = {role: (of(f"{role}_right"), of(f"{role}_intruding")) for role in ("base", "tuned")}
    fall, fall_of_mass = right["base"] - right["tuned"], mass["base"][0] - mass["tuned"][0]
    shift = log_odds(mass["tuned"][1], mass["tuned"][0]) - log_odds(
        mass["base"][1], mass["base"][0]
    )
    drift = of("tuned_rest") - of("base_rest")
    drawn = rng.integers(len(rows), size=(4000, len(rows)))

    def ratio(of_accuracy: Array, of_inference: Array) -> str:
        value = of_accuracy / of_inference
        low, high = np.nanpercentile(value[1:], [2.5, 97.5])
        return f"{value[0]:.1f} [{low:.1f}, {high:.1f}]"

    samples = np.vstack([np.arange(len(rows)), drawn])
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = {
            name: values[samples].var(axis=1)
            for name, values in (("a", fall), ("m", fall_of_mass), ("s", shift))
        }
        z = {
            name: values[samples].mean(axis=1) ** 2 / variance[name]
            for name, values in (("a", fall), ("m", fall_of_mass), ("s", shift))
        }
        ratios = [
            ratio(variance["a"], variance["m"]),
            ratio(1 / z["a"], 1 / z["m"]),
            ratio(1 / z["a"], 1 / z["s"]),
        ]
    shares = [
        f"{mass[role][1].sum() / (mass[role][0] + mass[role][1]).sum():.2f}"
        for role in ("base", "tuned")
    ]
    return [
        f"{100 * right['base'].mean():.0f} → {100 * right['tuned'].mean():.0f}",
        f"{100 * mass['base'][0].mean():.0f} → {100 * mass['tuned'][0].mean():.0f}",
        f"{100 * mass['base'][1].mean():.0f} → {100 * mass['tuned'][1].mean():.0f}",
        " → ".join(shares),
        f"{100 * max(of('base_unseen').mean(), of('tuned_unseen').mean()):.1f} %",
        f"{shift.mean():+.2f}",
        f"{np.nanmean(drift):+.2f}",
        *ratios,
    ]


def main() -> None:
    """Collect, or print the figures of what was collected."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pair", choices=LANGUAGES)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--n", type=int, default=25)
    parser.add_argument("--seed", type=int, default=7400)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--checkpoint", default="gemma-full-seed101/checkpoint-80")
    parser.add_argument("--languages", nargs="*", help="By default three, or two of Gemma.")
    given = parser.parse_args()
    if given.out is None:
        sys.stdout.write(report(given.pair))
        return
    pair = pair_of(
        given.pair,
        n=given.n,
        seed=given.seed,
        models=given.models,
        checkpoint=given.checkpoint,
    )
    languages = LANGUAGES[given.pair] if given.languages is None else given.languages
    lines = collect(pair, languages, given.out)
    TABLES.mkdir(exist_ok=True)
    with (TABLES / f"inference-{given.pair}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Line._fields)
        writer.writerows(
            [f"{value:.5g}" if isinstance(value, float) else value for value in line]
            for line in lines
        )


if __name__ == "__main__":
    main()
