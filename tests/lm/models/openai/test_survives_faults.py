"""Through all faults, and after being killed, each prompt has one answer in the records."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.faults import CONCURRENCY, SHARE, measure
from tests.fault_server import FAULTS


@pytest.mark.slow
def test_of_a_hundred_requests_with_a_third_faulty_none_is_lost_and_none_is_doubled(
    tmp_path: Path,
) -> None:
    found = measure(tmp_path / "run", n_prompts=100)
    assert (found.n_lost, found.n_doubled, found.n_wrong) == (0, 0, 0)


@pytest.mark.slow
def test_of_a_thousand_requests_with_a_third_faulty_none_is_lost_and_none_is_doubled(
    tmp_path: Path,
) -> None:
    found = measure(tmp_path / "run", n_prompts=1000)
    assert (found.n_lost, found.n_doubled, found.n_wrong) == (0, 0, 0)
    assert set(found.spoilt) == set(FAULTS)
    # Four standard errors of the share among the 1,500 draws.
    assert sum(found.spoilt.values()) / found.n_sent == pytest.approx(SHARE, abs=0.05)


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_every_answer_once(tmp_path: Path) -> None:
    found = measure(tmp_path / "run", n_prompts=1000, n_kills=5)
    assert (found.n_lost, found.n_doubled, found.n_wrong) == (0, 0, 0)
    assert list(found.kept) == sorted(set(found.kept))  # each part went on after the one before
    assert found.kept[-1] < 1000
    # A kill costs at most what was under way.
    assert found.n_again <= 5 * CONCURRENCY
