"""How fast ``palimpsest browse`` answers, over a million answers.

    python -m benchmarks.browse            # writes a run of a million answers first, half a minute
    python -m benchmarks.browse --n 100000

Times are of whole requests to the app, as the page makes them; the peer is the same statement put
to SQLite without the index.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from starlette.testclient import TestClient
from tests.browse.runs import VIAS, write_run

from palimpsest.browse import AnswerIndex, create_app

FIRST_PAGE_SECONDS, FILTER_SECONDS = 0.3, 0.5
N_ROUNDS = 5

FILTERS: dict[str, dict[str, str]] = {
    "first page": {},
    "one facet": {"outcome": "broken"},
    "four facets": {"role": "tuned", "via": "leet", "cell": "sums", "outcome": "right"},
    "flips": {"flip": "lost", "via": "fr"},
    "one example": {"source": "example-77"},
    "last page": {"start": "999950"},
    "text": {"text": "Question 4321 "},
}


def median_seconds(work: Callable[[], object]) -> float:
    """Return the median of the seconds of some rounds."""
    seconds = []
    for _ in range(N_ROUNDS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def main(n: int) -> int:
    """Print the times, and return 1 if a goal is missed."""
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        write_run(run, n // (2 * len(VIAS)), is_finished=True)
        started = time.perf_counter()
        index = AnswerIndex(run)
        print(f"{len(index):,} answers, opened in {time.perf_counter() - started:.1f} s")
        client = TestClient(create_app([index]), base_url="http://127.0.0.1")
        for name, parameters in FILTERS.items():

            def ask(parameters: dict[str, str] = parameters) -> None:
                assert client.get("/api/answers", params=parameters).is_success

            seconds = median_seconds(ask)
            goal = FIRST_PAGE_SECONDS if name == "first page" else FILTER_SECONDS
            missed |= seconds > goal
            print(f"  {name:12} {1000 * seconds:6.0f} ms (goal {1000 * goal:.0f} ms)")
        connection = sqlite3.connect(index.folder.answers)
        counting = (
            "SELECT count(*) FROM answers WHERE role = 'tuned' AND via = 'leet' AND cell = 'sums' "
            "AND outcome = 'right'"
        )
        plain = median_seconds(lambda: connection.execute(counting).fetchall())
        print(f"  SQLite alone, to count four facets: {1000 * plain:.0f} ms")
        index.close()
    print(f"  {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB at most")
    return int(missed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000)
    sys.exit(main(parser.parse_args().n))
