"""Finished runs asked again until sure, from their own answers.

``python -m experiments.until_sure.replay FOLDER…`` takes run folders whose models can be opened (no
model is asked: the answers are on file); without one, the embedded pair is first asked everything.
The tuned Gemma of ``experiments/real`` is replayed from its committed outcomes. Writes
``tables/replay.csv``, a line a cell.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from experiments.real.claims import DECIDES_AT, Model, Outcomes
from experiments.real.claims import read as read_outcomes
from experiments.until_sure.run import TABLES

from palimpsest.judging import Analysis, analyse, analyse_rounds, ask_in_rounds, diagnose, parse_via
from palimpsest.judging import Via as WayOfAsking
from palimpsest.lm.suites import Example, Suite
from palimpsest.records import AnswerKey, AnswerRow, Cell, Outcome, RunFolder, UntilSure

LETTERS: Mapping[str, Outcome] = {"r": "right", "i": "intruded", "a": "intruded", "b": "broken"}


class Line(NamedTuple):
    """One cell, asked everything and asked until sure."""

    pair: str
    cell: str
    full: str
    """The verdict of the full run."""
    sure: str
    """The verdict of the run in rounds."""
    n_full: int
    """Answers of both models."""
    n_sure: int


def lines_of(pair: str, full: list[Cell], sure: list[Cell], rounds: UntilSure) -> Iterator[Line]:
    """Yield the lines of a pair."""
    verdicts = {cell.name: cell.verdict for cell in sure}
    asked = {each.name: each for each in rounds.cells}
    for cell in full:
        n_full = 2 * (cell.plain.base.n + sum(one.base.n for one in cell.conjugations))
        mine = asked[cell.name]
        n_sure = 2 * (mine.n_plain + sum(mine.n_under.values()))
        yield Line(pair, cell.name, cell.verdict, verdicts[cell.name], n_full, n_sure)


def replay_folder(path: Path) -> list[Line]:
    """Ask a finished run again until sure, in a copy of its folder."""
    config = RunFolder.find(path).config
    models, via = config["models"], [name for name in config["via"] if name != "identity"]
    from palimpsest.judging.conclude import read_results

    full = read_results(RunFolder.find(path))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(path, copy)
        sure = diagnose(
            models["base"], models["tuned"], suite=config["suite"], via=via, out=copy,
            until_sure=True,
        )  # fmt: skip
    assert sure.until_sure is not None
    return list(lines_of(path.name, full.cells, sure.cells, sure.until_sure))


def replay_gemma(outcomes: Outcomes, tuned: Model) -> list[Line]:
    """Replay a tuned Gemma against its base from the committed outcomes."""
    base = next(model for model in outcomes if model.run == "base")
    ways = {"identity": "en"} | {name: name for name in outcomes[tuned] if name != "en"}
    rows: dict[tuple[str, str], list[AnswerRow]] = {
        (role, via): list(_rows(role, via, outcomes[model][language]))
        for role, model in (("base", base), ("tuned", tuned))
        for via, language in ways.items()
    }
    suite = _suite(outcomes[base])
    vias = [parse_via(name, suite) for name in ways]
    by_source = {key: {row.key.source_id: row for row in mine} for key, mine in rows.items()}

    def ask(role: str, via: WayOfAsking, part: Suite, _: int) -> list[AnswerRow]:
        mine = by_source[role, via.name]
        return [mine[each.source_id] for each in via.examples(part) if each.source_id in mine]

    everything = [row for mine in rows.values() for row in mine]
    full = analyse(everything, vias=vias[1:], cells=suite.cells)
    found = ask_in_rounds(suite, vias, ask, recorded={}, keep=lambda _: None)
    sure: Analysis = analyse_rounds(found, vias=vias[1:])
    assert sure.until_sure is not None
    name = f"{tuned.run} {tuned.seed}, step {tuned.step}"
    return list(lines_of(name, full.cells, sure.cells, sure.until_sure))


def _rows(role: str, via: str, cells: Mapping[str, str]) -> Iterator[AnswerRow]:
    for cell, letters in cells.items():
        for i, each in enumerate(letters):
            source = f"{cell}/{i:04d}"
            yield AnswerRow(
                key=AnswerKey(role, "outcomes", source, via, ""),
                role=role, via=via, cell=cell, language="en", prompt="", raw="", answer="",
                right_answers="[]", intruding_answers="[]", outcome=LETTERS[each],
                finish="logged", round_trip=None, latency_seconds=0.0,
            )  # fmt: skip


def _suite(languages: Mapping[str, Mapping[str, str]]) -> Suite:
    """Return a suite of as many examples as there are outcomes, with nothing in them."""
    native = {name: cells for name, cells in languages.items() if name not in ("leet", "pig-latin")}
    ordered = {"en": native["en"], **native}
    return Suite(
        "outcomes",
        tuple(
            Example(f"{cell}/{i:04d}", cell, language, f"{cell} {i}", {"right": ("x",)})
            for language, cells in ordered.items()
            for cell, letters in cells.items()
            for i in range(len(letters))
        ),
    )


def main() -> None:
    """Replay all, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=TABLES)
    options = parser.parse_args()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as folder:
        folders = options.folders
        if not folders:
            folders = [Path(folder) / "rosetta"]
            diagnose("rosetta:base", "rosetta:tuned", suite="rosetta", out=folders[0])
        for path in folders:
            lines += replay_folder(path)
    outcomes = read_outcomes()
    for model in outcomes:
        if model.run != "base" and model.step == DECIDES_AT:  # others have fewer answers
            lines += replay_gemma(outcomes, model)
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "replay.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Line._fields)
        writer.writerows(lines)
    for line in lines:
        sys.stdout.write(f"{', '.join(map(str, line))}\n")


if __name__ == "__main__":
    main()
