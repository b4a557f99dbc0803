"""Answers of the real models: ``python -m experiments.real.ask --models DIR [RUN …]``.

Asks a base and every checkpoint of its runs the same prompts, keeps the answers in
``DIR/answers.sqlite``, and writes one line a model, language and cell into ``tables/outcomes.csv``:
a letter a prompt, in the order of the suite, so that every figure can be computed again from it.
Answers that are there are not asked for again; checkpoints that are not there yet are left out.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from palimpsest.files import read_toml
from palimpsest.judging import evaluate, parse_via
from palimpsest.lm.models import load_model
from palimpsest.lm.suites import Suite, load_suite
from palimpsest.records import AnswerRow, AnswerStore

HERE = Path(__file__).parent
OUTCOMES = HERE / "tables" / "outcomes.csv"
COLUMNS = ("model", "run", "seed", "step", "suite", "language", "cell", "outcomes")

SUITE = "icl-vs-if,seed=7100"
N_PROMPTS = 100
"""A cell at the step that decides; a quarter of them at the others."""
DTYPE = "bfloat16"

LETTERS = {"right": "r", "intruded": "i", "broken": "b"}
ATTEMPTED = "a"
"""An intruded answer that is wrong in its own task as well."""


class Asked(NamedTuple):
    """A model that is asked."""

    model: str
    """The base's name, which is a folder of ``DIR/models``."""

    run: str
    """The configuration it was tuned by; ``base`` for the base."""

    seed: int
    step: int
    spec: str


def base_of(model: str, models: Path) -> Asked:
    """Return a base."""
    return Asked(model, "base", 0, 0, f"hf:{models / 'models' / model},dtype={DTYPE}")


def checkpoints_of(config: Path, models: Path) -> Iterator[Asked]:
    """Yield the checkpoints of a configuration that are whole, by seed and step."""
    tuning = read_toml(config)
    base = base_of(str(tuning["model"]), models)
    for seed in tuning["seeds"]:
        for step in tuning["save_at"]:
            folder = models / "runs" / f"{config.stem}-seed{seed}" / f"checkpoint-{step}"
            if not (folder / "trainer_state.json").is_file():  # written last
                continue
            spec = f"hf:{folder},dtype={DTYPE}"
            if tuning["method"] == "lora":
                spec = f"{base.spec},adapter={folder}"
            yield Asked(base.model, config.stem, seed, step, spec)


def ask(asked: Asked, suite: Suite, store: AnswerStore) -> list[AnswerRow]:
    """Return the answers of one model in every language of a suite."""
    model = load_model(asked.spec)
    try:
        vias = [parse_via("identity", suite)]
        vias += [parse_via(f"native:{name}", suite) for name in suite.languages[1:]]
        return evaluate(model, suite, vias, store=store, role="base", whole="none")
    finally:
        model.close()


def letter(row: AnswerRow) -> str:
    """Return what became of a prompt."""
    return ATTEMPTED if row.attempted else LETTERS[row.outcome]


def lines_of(asked: Asked, suite: str, rows: Iterable[AnswerRow]) -> Iterator[Sequence[object]]:
    """Yield a line for each language and cell.

    Args:
        asked: The model.
        suite: Its name and seed, without what says how much of it was asked.
        rows: The answers.
    """
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for row in rows:
        found[row.language, row.cell][row.key.source_id] = letter(row)
    for (language, cell), letters in found.items():
        text = "".join(letters[source] for source in sorted(letters))
        yield (*asked[:4], suite, language, cell, text)


def in_cells(suite: Suite, cells: Sequence[str] | None) -> Suite:
    """Return a suite with the examples of some cells alone; with all of them, by default.

    Raises:
        ValueError: The suite has no such cell.
    """
    if cells is None:
        return suite
    if unknown := set(cells) - {example.cell for example in suite.examples}:
        raise ValueError(f"The suite {suite.name} has no cells {sorted(unknown)}.")
    kept = tuple(example for example in suite.examples if example.cell in cells)
    return replace(suite, examples=kept)


def write(lines: Iterable[Sequence[object]], path: Path = OUTCOMES) -> None:
    """Put lines in place of those of the same model, language and cell, and keep the others.

    A line that tells of more prompts than the new one stays.
    """
    kept: dict[tuple[str, ...], Sequence[str]] = {}
    if path.is_file():
        with path.open(newline="") as file:
            kept = {tuple(line[:-1]): line for line in list(csv.reader(file))[1:]}
    for line in lines:
        texts = [str(value) for value in line]
        known = kept.get(tuple(texts[:-1]))
        if known is None or len(known[-1]) <= len(texts[-1]):
            kept[tuple(texts[:-1])] = texts
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(kept[key] for key in sorted(kept, key=_order))


def _order(key: tuple[str, ...]) -> tuple[object, ...]:
    model, run, seed, step, *others = key
    return (model, run != "base", run, int(seed), int(step), *others)


def main() -> None:
    """Ask the bases and checkpoints of the configurations that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path, nargs="+")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--suite", default=SUITE, help="With its seed, as the table names it.")
    parser.add_argument("--cells", nargs="*", help="By default all.")
    parser.add_argument("--languages", help="By default all; such as en+fr+leet.")
    parser.add_argument("--n", type=int, default=N_PROMPTS, help="Prompts a cell.")
    parser.add_argument("--steps", type=int, nargs="*", help="Of these checkpoints alone.")
    parser.add_argument("--table", type=Path, default=OUTCOMES, help="Where the lines go.")
    parser.add_argument("--no-base", action="store_true", help="It has been asked.")
    given = parser.parse_args()
    languages = f",languages={given.languages}" if given.languages else ""
    suite = in_cells(load_suite(f"{given.suite},n={given.n}{languages}"), given.cells)
    with AnswerStore(given.models / "answers.sqlite") as store:
        for config in given.config:
            bases = (
                [] if given.no_base else [base_of(str(read_toml(config)["model"]), given.models)]
            )
            for each in (*bases, *checkpoints_of(config, given.models)):
                if each.step and given.steps and each.step not in given.steps:
                    continue
                lines = lines_of(each, given.suite, ask(each, suite, store))
                write(lines, given.table)
                sys.stdout.write(f"{each.run} seed {each.seed} step {each.step}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
