"""Closeness of prompts to the tuning data: ``python -m experiments.real.closeness CONFIG …``.

How much likelier tuning made the text of each prompt, ``log p_tuned − log p_base`` in nats a
character; one line a model, language and cell goes into ``tables/closeness.csv``. It measures S2:
do the tasks that are closest to the tuning data suffer most?
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from experiments.real.ask import HERE, N_PROMPTS, SUITE, Asked, base_of, checkpoints_of, write
from experiments.real.claims import DECIDES_AT, Comparison, Model, Outcomes, Verdict, correct
from scipy.stats import spearmanr

from palimpsest.files import read_toml
from palimpsest.lm.models import load_model
from palimpsest.lm.suites import Suite, load_suite
from palimpsest.stats import Interval, percentile_interval

TABLE = HERE / "tables" / "closeness.csv"
N_RESAMPLES = 2000

Array = npt.NDArray[np.float64]
Likelihoods = Mapping[Model, Mapping[tuple[str, str], Array]]
"""By model, then by language and cell: nats a character of each prompt."""


class Correlation(NamedTuple):
    """Spearman's correlation with its interval over source examples."""

    value: float
    interval: Interval


def lines_of(asked: Asked, suite: Suite) -> Iterator[Sequence[object]]:
    """Yield the likelihoods of one model, a line for each language and cell."""
    model = load_model(asked.spec)
    try:
        scores = model.score([""] * len(suite.examples), [[str(e.prompt)] for e in suite.examples])
    finally:
        model.close()
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for example, [score] in zip(suite.examples, scores, strict=True):
        nats = score / len(str(example.prompt))
        found[example.language, example.cell][example.source_id] = f"{nats:.5f}"
    for (language, cell), values in found.items():
        text = " ".join(values[source] for source in sorted(values))
        yield (*asked[:4], SUITE, language, cell, text)


def read() -> Likelihoods:
    """Return the committed likelihoods."""
    found: dict[Model, dict[tuple[str, str], Array]] = {}
    with TABLE.open(newline="") as file:
        for row in csv.DictReader(file):
            key = Model(row["model"], row["run"], int(row["seed"]), int(row["step"]))
            values = np.array(row["outcomes"].split(), dtype=np.float64)
            found.setdefault(key, {})[row["language"], row["cell"]] = values
    return found


def correlation(
    outcomes: Outcomes, likelihoods: Likelihoods, model: str, run: str, languages: Sequence[str]
) -> Correlation:
    """Correlate the change of correctness with closeness, over the prompts of some languages.

    Closeness is the mean over the seeds whose likelihoods are known.
    """
    comparison = Comparison(outcomes, model, run, DECIDES_AT)
    changes, nearness, sources = [], [], []
    before = likelihoods[Model(model, "base", 0, 0)]
    for language in languages:
        for cell in sorted(comparison.base[language]):
            base = {cell: comparison.base[language][cell]}
            tuned = [{cell: each[language][cell]} for each in comparison.tuned.values()]
            change = np.mean([correct(each) for each in tuned], axis=0) - correct(base)
            after = [
                found[language, cell]
                for key, found in likelihoods.items()
                if key[:2] == (model, run) and key.step == DECIDES_AT
            ]
            near = np.mean(after, axis=0) - before[language, cell]
            n = min(len(change), len(near))
            changes.append(change[:n])
            nearness.append(near[:n])
            sources += [f"{cell}/{index}" for index in range(n)]
    return _spearman(np.concatenate(changes), np.concatenate(nearness), np.array(sources))


def _spearman(changes: Array, nearness: Array, sources: npt.NDArray[np.str_]) -> Correlation:
    names, which = np.unique(sources, return_inverse=True)
    members = [np.flatnonzero(which == index) for index in range(len(names))]
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(N_RESAMPLES):
        chosen = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        draws.append(float(spearmanr(changes[chosen], nearness[chosen]).statistic))
    value = float(spearmanr(changes, nearness).statistic)
    return Correlation(value, percentile_interval(draws))


def judge(outcomes: Outcomes, likelihoods: Likelihoods, model: str, run: str) -> Verdict:
    """Apply the rule of README.md for S2."""
    comparison = Comparison(outcomes, model, run, DECIDES_AT)
    within = correlation(outcomes, likelihoods, model, run, ["en"])
    over_all = correlation(outcomes, likelihoods, model, run, comparison.languages)
    n_below = sum(each.interval.high < 0 for each in (within, over_all))
    verdict = ("does not hold", "holds in part", "holds")[n_below]
    reason = (
        "Spearman's correlation of the change of correctness with closeness: "
        f"{_text(within)} within English, {_text(over_all)} over all languages."
    )
    return Verdict("S2 on Gemma", verdict, reason)


def verdicts(outcomes: Outcomes) -> list[Verdict]:
    """Return the verdict on S2, if the table has both models."""
    likelihoods = read() if TABLE.is_file() else {}
    runs = {key[:2] for key in likelihoods if key.step == DECIDES_AT}
    return [judge(outcomes, likelihoods, model, run) for model, run in sorted(runs)]


def _text(found: Correlation) -> str:
    low, high = found.interval
    return f"{found.value:+.2f} [{low:+.2f}, {high:+.2f}]"


def main() -> None:
    """Measure the base and the checkpoints at which the claims are decided."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--n", type=int, default=N_PROMPTS, help="Prompts a cell.")
    given = parser.parse_args()
    suite = load_suite(f"{SUITE},n={given.n}")
    known = read() if TABLE.is_file() else {}
    base = base_of(str(read_toml(given.config)["model"]), given.models)
    for asked in (base, *checkpoints_of(given.config, given.models)):
        told = known.get(Model(*asked[:4]), {})
        n_told = min((len(values) for values in told.values()), default=0)
        if asked.step in {0, DECIDES_AT} and n_told < given.n:
            write(lines_of(asked, suite), TABLE)
            sys.stdout.write(f"{asked.run} seed {asked.seed} step {asked.step}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
