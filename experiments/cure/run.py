"""Verdicts and cures of the pairs: ``python -m experiments.cure.run --models DIR --pairs DIR``.

Diagnoses each pair, asks its family, and writes a line a cell into ``tables/cells.csv``, and the
record of the family, from which fronts are drawn, into ``tables/restore-PAIR.json``. A pair that is
there already is left alone unless it is named; runs continue where they were stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from experiments.real.tune import DATA as TUNING_DATA
from experiments.real.tune import prompt_of, rows_of, split
from transformers import AutoTokenizer

import palimpsest
from palimpsest.errors import UserError
from palimpsest.families import restore
from palimpsest.records import Restoration, Results, Trace

HERE = Path(__file__).parent
TABLE = HERE / "tables" / "cells.csv"
COLUMNS = (
    "pair", "cell", "base", "tuned", "verdict", "via", "recovery", "member", "healed",
    "healed_low", "n_fallen", "target_change", "target_low",
)  # fmt: skip

MEMBERS = (
    "interpolate:0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
    "lines", "dg-hard", "ties:0.2", "only:attention", "only:mlp",
)  # fmt: skip
MARGIN = 0.02
SEED = 8100


class Pair(NamedTuple):
    """A base and a tuned model, what it is asked, and what it was tuned for."""

    name: str
    base: str
    tuned: str
    suite: str
    target: str


def rosetta_pairs(folder: Path) -> Iterator[Pair]:
    """Yield Rosetta's base tuned to several strengths."""
    for name in ("120", "300", "600", "muon-100", "muon-600"):
        yield Pair(
            f"rosetta-{name}",
            "rosetta:base",
            f"hf:{folder / f'rosetta-{name}'}",
            f"rosetta,n=100,seed={SEED}",
            "rosetta-instructions",
        )


def real_pairs(models: Path, data: Path) -> Iterator[Pair]:
    """Yield the tuned checkpoints of real models that are there."""
    for name, model, run in (
        ("gemma-full", "gemma3", "gemma-full-seed101/checkpoint-80"),
        ("gemma-full-160", "gemma3", "gemma-full-seed101/checkpoint-160"),
        ("smollm2-full", "smollm2", "smollm2-full-seed101/checkpoint-160"),
    ):
        base, tuned = models / "models" / model, models / "runs" / run
        if (tuned / "trainer_state.json").is_file():
            yield Pair(
                name,
                f"hf:{base},dtype=bfloat16",
                f"hf:{tuned},dtype=bfloat16",
                f"icl-vs-if,n=50,seed={SEED}",
                f"text:{_held_out(base, models / f'held-out-{model}.jsonl', data)}",
            )


def _held_out(model: Path, file: Path, data: Path) -> Path:
    """Write the rows that no model was tuned on."""
    if not file.exists():
        path = data / TUNING_DATA["instructions"]
        tokenizer = AutoTokenizer.from_pretrained(model)
        rows = {tuple(row["input_ids"]): row for row in rows_of(path, tokenizer)}
        _, held = split(list(rows))
        texts = {
            (
                *tokenizer(prompt_of(each))["input_ids"],
                *tokenizer(each["output"], add_special_tokens=False)["input_ids"],
                tokenizer.eos_token_id,
            ): each
            for each in json.loads(path.read_bytes())
        }  # fmt: skip
        lines = [json.dumps(texts[ids], ensure_ascii=False) for ids in held]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def lines_of(pair: Pair, found: Results, cured: Restoration | None) -> Iterator[list[object]]:
    """Yield a line for each cell: its verdict, and what the best member brings back."""
    for cell in found.cells:
        best = cell.best
        line: list[object] = [pair.name, cell.name]
        line += [cell.plain.base.accuracy, cell.plain.tuned.accuracy, cell.verdict]
        line += [best.name, best.recovery] if best is not None else ["", ""]
        yield [*line, *_cure(cell.name, cured)]


def _cure(cell: str, cured: Restoration | None) -> list[object]:
    """Return the member that heals most of a cell and keeps the target within the margin."""
    found = []
    for point in cured.points if cured is not None else []:
        change = point.target_change
        if point.kind != "member" or change is None or change.ci95 is None:
            continue
        figures = next(each for each in point.cells if (each.cell, each.part) == (cell, "suite"))
        if change.ci95[0] > -MARGIN and figures.healed.value is not None and figures.healed.ci95:
            low = figures.healed.ci95[0]
            found.append(
                [
                    point.name,
                    figures.healed.value,
                    low,
                    figures.n_fallen,
                    change.value,
                    change.ci95[0],
                ]
            )
    return max(found, key=lambda each: each[1]) if found else [""] * 6


def keep(record: Restoration | Trace, path: Path, *folders: Path) -> None:
    """Write a run's record beside the tables, for figures, without the folders of this machine."""
    text = record.to_json()
    for folder in sorted(map(str, folders), key=len, reverse=True):
        text = text.replace(folder, "MODELS")
    path.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="Of experiments.real.")
    parser.add_argument("--pairs", type=Path, required=True, help="Of tune_rosetta, and for runs.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/tuning"))
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    TABLE.parent.mkdir(exist_ok=True)
    lines = list(csv.reader(TABLE.open(newline=""))) if TABLE.exists() else [list(COLUMNS)]
    known = {line[0] for line in lines}
    for pair in (*rosetta_pairs(given.pairs), *real_pairs(given.models, given.data)):
        if pair.name in known if not given.names else pair.name not in given.names:
            continue
        out = given.pairs / "runs" / pair.name
        found = palimpsest.diagnose(
            base=pair.base, tuned=pair.tuned, suite=pair.suite, out=out, seed=SEED
        )
        try:
            cured = restore(
                pair.base, pair.tuned, suite=pair.suite, target=pair.target, members=MEMBERS,
                via=[], target_margin=MARGIN, out=out, seed=SEED,
            )  # fmt: skip
        except UserError as error:  # nothing lost, or nothing gained
            sys.stdout.write(f"{pair.name}: {error}\n")
            cured = None
        if cured is not None:
            keep(cured, HERE / "tables" / f"restore-{pair.name}.json", given.models, given.pairs)
        lines = [line for line in lines if line[0] != pair.name]
        lines += [[str(value) for value in line] for line in lines_of(pair, found, cured)]
        with TABLE.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
        sys.stdout.write(f"{pair.name}: {found.verdict}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
