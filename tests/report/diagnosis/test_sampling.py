"""What a page shows of a run that is too large for it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from tests.report.diagnosis.factory import CELLS, VIAS, fake_results, fake_rows

from palimpsest.records import AnswerRow
from palimpsest.report import write_report
from palimpsest.report.diagnosis.prompts import prompt_data
from palimpsest.report.diagnosis.sampling import SourceIndex

N_EXAMPLES = 20_000


def kinds(rows: list[AnswerRow]) -> set[tuple[str, ...]]:
    """Return every outcome of each model, and every change, in a cell under a way of asking."""
    found: set[tuple[str, ...]] = set()
    right: dict[tuple[str, str], dict[str, bool]] = {}
    for row in rows:
        found.add((row.cell, row.via, row.role, row.outcome))
        right.setdefault((row.key.source_id, row.via), {})[row.role] = row.outcome == "right"
        pair = right[row.key.source_id, row.via]
        if len(pair) == 2 and pair["base"] != pair["tuned"]:
            found.add((row.cell, row.via, "lost" if pair["base"] else "gained"))
    return found


def test_everything_that_occurs_comes_within_the_first_examples() -> None:
    rows = fake_rows(6_000)
    rare = next(at for at, row in enumerate(rows) if row.cell == CELLS[2] and row.via == "leet")
    rows = [row._replace(outcome="broken") if row.outcome == "intruded" else row for row in rows]
    rows[rare] = rows[rare]._replace(outcome="intruded")
    index = SourceIndex(rows)
    drawn = list(index.drawn())
    assert sorted(drawn) == list(range(len({row.key.source_id for row in rows})))
    most = 3 * len(kinds(rows))  # three of each kind, if no two are in one example
    first = [rows[at] for source in drawn[:most] for at in index.positions(source)]
    assert kinds(first) == kinds(rows)


def test_which_of_several_are_shown_depends_on_the_seed_alone() -> None:
    rows = fake_rows(2_000)
    one, again, other = (list(SourceIndex(rows).drawn(seed)) for seed in (0, 0, 1))
    assert one == again != other


def test_what_is_shown_is_no_more_of_one_cell_than_of_another() -> None:
    index = SourceIndex(rows := fake_rows(6_000))
    drawn = list(index.drawn())
    for n in (200, 400, len(drawn)):
        shown = Counter(rows[index.positions(source)[0]].cell for source in drawn[:n])
        assert max(shown.values()) - min(shown.values()) <= 1


@pytest.mark.slow
def test_the_page_of_a_large_run_stays_below_five_megabytes_and_says_what_it_shows(
    tmp_path: Path,
) -> None:
    rows = fake_rows(N_EXAMPLES * 2 * (1 + len(VIAS)))
    page = write_report(tmp_path, fake_results(), rows)
    assert page.stat().st_size < 5e6
    text = page.read_text("utf-8")
    assert f"of {len(rows):,} answers</strong>" in text
    assert "palimpsest browse" in text
    shown = json.loads(prompt_data(rows).json)["items"]
    assert {item[1] for item in shown} == set(range(len(CELLS)))
    larger = write_report(tmp_path, fake_results(), rows, page_megabytes=8)
    assert 7e6 < larger.stat().st_size < 1e7
