"""Falls, differences in differences and verdicts of C6 to C8, from ``tables/outcomes.csv``.

``python -m experiments.real.claims`` prints them; ``make docs`` puts them into the page on real
models. What is computed, and what decides, stands in README.md and was written before the runs.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from experiments.real.ask import OUTCOMES, SUITE

from palimpsest.stats import (
    Interval,
    bootstrap_means,
    mean_over_runs,
    percentile_interval,
    wilson_interval,
)

Array = npt.NDArray[np.float64]

NATURAL = ("fr", "es", "nl", "de", "hu")
REWRITTEN = ("leet", "pig-latin")
NAMES = {
    "en": "English", "fr": "French", "es": "Spanish", "nl": "Dutch", "de": "German",
    "hu": "Hungarian", "zh": "Chinese", "leet": "leetspeak", "pig-latin": "pig latin",
}  # fmt: skip
CODE = ("fr", "es", "de")
"""The languages of ``nli`` besides English."""
DECIDES_AT = 80
LEAST_OF_BASE = 0.1
"""Accuracy in English above which a claim is asked of SmolLM2."""
CHOOSES = "icl-vs-if,seed=7200"
"""The suite by which a cell is chosen for C8."""
N_RESAMPLES = 10_000
_SEED = 0


class Model(NamedTuple):
    """A model that was asked."""

    model: str
    run: str
    seed: int
    step: int


Outcomes = Mapping[Model, Mapping[str, Mapping[str, str]]]
"""By model, language and cell: a letter a prompt."""


class Figure(NamedTuple):
    """A figure with its intervals, as shares."""

    value: float
    prompts: Interval
    """Over the source examples."""

    seeds: Interval | None
    """Over the seeds of tuning; nothing for the base."""

    @property
    def is_above_zero(self) -> tuple[bool, bool]:
        """Whether it is so by the interval over prompts, and by the one over seeds."""
        return self.prompts.low > 0, self.seeds is not None and self.seeds.low > 0

    def text(self, *, signed: bool = False) -> str:
        """Return value and intervals in per cent, or in points."""
        shown = [_interval(self.prompts, signed=signed)]
        if self.seeds is not None and signed:
            shown.append(_interval(self.seeds, signed=signed))
        return f"{_points(self.value, signed=signed)} ({'; '.join(shown)})"


def read(suite: str = SUITE) -> Outcomes:
    """Return the committed outcomes of a suite, which is named with its seed."""
    found: dict[Model, dict[str, dict[str, str]]] = {}
    with OUTCOMES.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["suite"] != suite:
                continue
            key = Model(row["model"], row["run"], int(row["seed"]), int(row["step"]))
            found.setdefault(key, {}).setdefault(row["language"], {})[row["cell"]] = row["outcomes"]
    return found


def correct(cells: Mapping[str, str], letters: str = "r") -> Array:
    """Return 1 for each prompt whose letter is one of these; cells in alphabetical order."""
    text = "".join(cells[cell] for cell in sorted(cells))
    return np.array([each in letters for each in text], dtype=np.float64)


class Comparison:
    """A base and the seeds of one tuning at one step, over the prompts that languages share.

    Args:
        outcomes: Of all models.
        model: The base's name.
        run: The configuration of the tuning.
        step: The checkpoint.
    """

    def __init__(self, outcomes: Outcomes, model: str, run: str, step: int) -> None:
        asked = {
            key.seed: found
            for key, found in outcomes.items()
            if key[:2] == (model, run) and key.step == step
        }
        self.n_prompts = min(
            len(letters)
            for found in asked.values()
            for cells in found.values()
            for letters in cells.values()
        )
        self.tuned = {seed: self._first(found) for seed, found in asked.items()}
        first = next(iter(self.tuned.values()))
        base = self._first(outcomes[Model(model, "base", 0, 0)])
        self.base = {
            name: {cell: base[name][cell] for cell in first[name]} for name in base if name in first
        }
        self.n_seeds = len(self.tuned)

    def _first(self, found: Mapping[str, Mapping[str, str]]) -> Mapping[str, Mapping[str, str]]:
        """Return the prompts that all were asked, which are the first of each cell."""
        return {
            language: {cell: letters[: self.n_prompts] for cell, letters in cells.items()}
            for language, cells in found.items()
        }

    @property
    def languages(self) -> list[str]:
        """The languages that every model was asked in."""
        asked = [self.base, *self.tuned.values()]
        return [name for name in NAMES if all(name in each for each in asked)]

    def accuracy(self, language: str) -> tuple[Figure, Figure]:
        """Return the base's accuracy, and the tuned models' mean."""
        base = self._mean([correct(self.base[language])], None)
        return base, self._of_seeds(lambda tuned: correct(tuned[language]))

    def share(self, language: str, letters: str) -> Figure:
        """Return the share of the tuned models' answers with one of these letters."""
        return self._of_seeds(lambda tuned: correct(tuned[language], letters))

    def fall(self, language: str) -> Figure:
        """Return the base's accuracy less the tuned models'."""
        return self._of_seeds(lambda tuned: self._fall(tuned, language, set(self.base[language])))

    def difference(self, languages: Sequence[str]) -> Figure:
        """Return English's fall less the mean of other languages' falls."""

        def of(tuned: Mapping[str, Mapping[str, str]]) -> Array:
            cells = set.intersection(*(set(self.base[name]) for name in ("en", *languages)))
            falls = [self._fall(tuned, name, cells) for name in languages]
            found: Array = self._fall(tuned, "en", cells) - np.mean(falls, axis=0)
            return found

        return self._of_seeds(of)

    def _fall(
        self, tuned: Mapping[str, Mapping[str, str]], language: str, cells: set[str]
    ) -> Array:
        before, after = (
            correct({cell: asked[language][cell] for cell in cells}) for asked in (self.base, tuned)
        )
        return before - after

    def _of_seeds(self, of: object) -> Figure:
        columns = [of(tuned) for _, tuned in sorted(self.tuned.items())]  # type: ignore[operator]
        seeds = mean_over_runs([float(column.mean()) for column in columns])
        interval = Interval(seeds.low, seeds.high) if len(columns) > 1 else None
        return self._mean(columns, interval)

    def _mean(self, columns: Sequence[Array], seeds: Interval | None) -> Figure:
        mean = np.mean(columns, axis=0)
        draws = bootstrap_means(
            mean[:, None],
            np.arange(len(mean)),
            rng=np.random.default_rng(_SEED),
            n_resamples=N_RESAMPLES,
        )
        return Figure(float(mean.mean()), percentile_interval(draws[:, 0]), seeds)


class Verdict(NamedTuple):
    """What a claim came to."""

    claim: str
    verdict: str
    reason: str


def judge(comparison: Comparison, claim: str, languages: Sequence[str]) -> Verdict:
    """Apply the rule of README.md to one group of languages."""
    fall = comparison.fall("en")
    whole = comparison.difference(languages)
    single = [name for name in languages if all(comparison.difference([name]).is_above_zero)]
    if all(fall.is_above_zero) and all(whole.is_above_zero):
        verdict = "holds"
    elif fall.is_above_zero[0] and (whole.is_above_zero[0] or single):
        verdict = "holds in part"
    else:
        verdict = "does not hold"
    reason = (
        f"English falls by {fall.text(signed=True)} points; difference in differences "
        f"{whole.text(signed=True)}; above zero by both intervals in "
        f"{', '.join(NAMES[name] for name in single) or 'no single language'}."
    )
    return Verdict(claim, verdict, reason)


def judge_code() -> Verdict | None:
    """Apply the rule of README.md for C8, as far as the tables allow; nothing without a base."""
    claim, base = "C8 on Gemma", Model("gemma3", "base", 0, 0)
    inference = read("nli").get(base)
    if inference is None:
        return None
    right = correct(inference["en"])
    interval = wilson_interval(int(right.sum()), len(right))
    said = f"{right.mean():.0%} ({interval.low:.0%} to {interval.high:.0%}) of {len(right)} `nli`"
    if interval.low > 1 / 3:
        outcomes, what = read("nli"), f"the base gets {said} rows right in English"
    elif (choosing := read(CHOOSES).get(base)) is None:
        reason = f"The base gets {said} rows right in English, which is not above chance."
        return Verdict(claim, "not decided", f"{reason} No other ability was chosen.")
    else:
        chosen = chosen_cell(choosing)
        outcomes = of_cell(read(), chosen)
        what = (
            f"the base gets {said} rows right in English, which is not above chance; the cell that "
            f"was chosen instead is `{chosen}`"
        )
    if not any(key[:2] == ("gemma3", "gemma-code") and key.step == DECIDES_AT for key in outcomes):
        return Verdict(claim, "not decided", f"{what[0].upper()}{what[1:]}. No tuning was asked.")
    found = judge(Comparison(outcomes, "gemma3", "gemma-code", DECIDES_AT), claim, CODE)
    return found._replace(reason=f"{what[0].upper()}{what[1:]}. {found.reason}")


def of_cell(outcomes: Outcomes, cell: str) -> Outcomes:
    """Return outcomes of one cell alone."""
    return {
        key: {name: {cell: cells[cell]} for name, cells in found.items() if cell in cells}
        for key, found in outcomes.items()
    }


def chosen_cell(base: Mapping[str, Mapping[str, str]]) -> str:
    """Return the cell that a base is best in: by English's accuracy or the others', the smaller."""

    def least(cell: str) -> float:
        of = [float(correct({cell: base[name][cell]}).mean()) for name in ("en", *CODE)]
        return min(of[0], float(np.mean(of[1:])))

    return max(sorted(base["en"]), key=least)


def language_table(comparison: Comparison) -> str:
    """Return accuracies, falls and differences in differences by language, as Markdown."""
    lines = [
        "| asked in | base, % | tuned, % | intruded | of them wrong in their own task "
        "| fall, points | English's fall less its own |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in comparison.languages:
        base, tuned = comparison.accuracy(name)
        cells = [
            NAMES[name],
            base.text(),
            tuned.text(),
            _points(comparison.share(name, "ia").value),
            _points(comparison.share(name, "a").value),
            comparison.fall(name).text(signed=True),
            "" if name == "en" else comparison.difference([name]).text(signed=True),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def step_table(outcomes: Outcomes, model: str, run: str) -> str:
    """Return accuracies by step and language, as Markdown."""
    steps = sorted({key.step for key in outcomes if key[:2] == (model, run)})
    comparisons = [Comparison(outcomes, model, run, step) for step in steps]
    languages = [name for name in NAMES if all(name in each.languages for each in comparisons)]
    head = ["step", *(NAMES[name] for name in languages), "mean of the five less English"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for step, each in zip(steps, comparisons, strict=True):
        if step == steps[0]:
            row = [each.accuracy(name)[0].text() for name in languages]
            lines.append(f"| 0 | {' | '.join(row)} | |")
        row = [each.accuracy(name)[1].text() for name in languages]
        lines.append(
            f"| {step} | {' | '.join(row)} | {each.difference(NATURAL).text(signed=True)} |"
        )
    return "\n".join(lines)


def verdicts(outcomes: Outcomes) -> list[Verdict]:
    """Return the verdicts that the tables allow."""
    found = []
    for model, run, claim, languages in (
        ("gemma3", "gemma-full", "C6 on Gemma", NATURAL),
        ("gemma3", "gemma-full", "C7 on Gemma", REWRITTEN),
        ("smollm2", "smollm2-full", "C7 on SmolLM2", REWRITTEN),
    ):
        if any(key[:2] == (model, run) and key.step == DECIDES_AT for key in outcomes):
            found.append(judge(Comparison(outcomes, model, run, DECIDES_AT), claim, languages))
        elif (base := outcomes.get(Model(model, "base", 0, 0))) and model == "smollm2":
            found.append(not_asked(claim, correct(base["en"])))
    return [*found, *filter(None, [judge_code()])]


def not_asked(claim: str, right: Array) -> Verdict:
    """Return that a claim has no tuning yet, and whether the base is good enough to be asked."""
    said = f"The base gets {right.sum():.0f} of {len(right)} English prompts right"
    if right.mean() > LEAST_OF_BASE:
        return Verdict(claim, "not decided", f"{said}. No tuning was asked.")
    return Verdict(claim, "cannot be asked", f"{said}, which is not above a tenth.")


def parts(outcomes: Outcomes, others: Sequence[Verdict] = ()) -> Mapping[str, str]:
    """Return what the page on real models takes from the table, by the name of its place.

    Args:
        outcomes: Of ``icl-vs-if``.
        others: Verdicts of other tables.
    """
    found = [*verdicts(outcomes), *others]
    lines = [f"- **{each.claim}: {each.verdict}.** {each.reason}" for each in found]
    languages, steps = [], []
    for model, run in sorted({key[:2] for key in outcomes if key.run != "base"}):
        mine = {key: each for key, each in outcomes.items() if key[:2] == (model, run)}
        cells = sorted(
            {cell for each in mine.values() for found in each.values() for cell in found}
        )
        part = outcomes if len(cells) > 1 else of_cell(outcomes, cells[0])
        if any(key.step == DECIDES_AT for key in mine):
            comparison = Comparison(part, model, run, DECIDES_AT)
            n, n_seeds = comparison.n_prompts, comparison.n_seeds
            where = "a cell and language" if len(cells) > 1 else f"of `{cells[0]}` a language"
            head = f"`{run}`, {n} prompts {where}, {n_seeds} seeds of tuning:"
            languages.append(f"{head}\n\n{language_table(comparison)}")
        if all({"en", *NATURAL} <= each.keys() for each in mine.values()):
            steps.append(f"`{run}`:\n\n{step_table(outcomes, model, run)}")
    figure = (
        "![In-context accuracy of Gemma by language, over the steps of tuning on English "
        "instructions](figures/real-models.png)"
    )
    return {
        "verdicts": "\n".join(lines),
        "figure": figure,
        "languages": "\n\n".join(languages),
        "steps": "\n\n".join(steps),
    }


def _points(share: float, *, signed: bool = False) -> str:
    return f"{100 * share:+.0f}" if signed else f"{100 * share:.0f}"


def _interval(interval: Interval, *, signed: bool) -> str:
    low, high = (_points(end, signed=signed) for end in interval)
    return f"{low} to {high}"


def main() -> None:
    """Print every table that there is."""
    for name, text in parts(read()).items():
        if name != "figure":
            sys.stdout.write(f"\n{name}\n\n{text}\n")


if __name__ == "__main__":
    main()
