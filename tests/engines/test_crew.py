from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.pieces import counter, keeper, stillborn

from palimpsest.engines.crew import Crew, Seat, Staff, Told, Worker
from palimpsest.engines.engine import Engine, make_engine
from palimpsest.errors import UserError


def crew_of(engine: Engine, start: Any = counter) -> Crew:
    crew = engine.crew(start)
    assert crew is not None
    return crew


@pytest.fixture
def crew() -> Iterator[Crew]:
    with closing(crew_of(make_engine("processes", workers=2))) as crew:
        yield crew


def test_each_piece_is_done_once_by_workers_that_remember(crew: Crew) -> None:
    numbers = [crew.submit(f"piece {i}") for i in range(6)]
    events = list(crew.events())
    assert sorted(event.piece for event in events if event.kind == "done") == numbers
    parts = {event.piece: event.value for event in events if isinstance(event.value, str)}
    assert parts == {number: f"piece {number}" for number in numbers}
    counted = [event.value for event in events if isinstance(event.value, tuple)]
    assert len({pid for pid, _ in counted}) <= 2
    assert max(n for _, n in counted) >= 3


def test_a_worker_that_dies_is_replaced_and_its_piece_is_said_to_be_lost(crew: Crew) -> None:
    lost, kept = crew.submit("die"), crew.submit("live")
    events = list(crew.events())
    assert {(event.piece, event.kind) for event in events} == {
        (lost, "lost"),
        (kept, "part"),
        (kept, "done"),
    }
    assert "exit code -9" in next(event.value.why for event in events if event.kind == "lost")
    again = crew.submit("live")
    assert (again, "done") in {(event.piece, event.kind) for event in crew.events()}


def test_a_worker_that_is_killed_while_idle_loses_its_next_piece_alone(crew: Crew) -> None:
    crew.submit("one")
    pids = {event.value[0] for event in crew.events() if isinstance(event.value, tuple)}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    pieces = [crew.submit(f"piece {number}") for number in range(4)]
    ends = {event.piece: event.kind for event in crew.events() if event.kind != "part"}
    assert set(ends) == set(pieces)
    assert list(ends.values()).count("lost") <= len(pids)


def test_a_worker_may_have_processes_of_its_own(crew: Crew) -> None:
    crew.submit("child")
    assert [event.value for event in crew.events() if event.kind == "part"] == [0]


def test_mistakes_and_faults_in_a_worker_are_raised_here(crew: Crew) -> None:
    crew.submit("mistake")
    with pytest.raises(UserError, match=r"It is wrong\.\nWrite it right\."):
        list(crew.events())
    crew.submit("fault")
    with pytest.raises(RuntimeError, match=r"ZeroDivisionError: by nothing"):
        list(crew.events())


def test_whoever_stops_listening_gets_no_event_of_old_pieces(crew: Crew) -> None:
    crew.submit("sleep")
    crew.submit("quick")
    for event in crew.events():
        assert event.value == "quick"
        break
    new = crew.submit("new")
    assert {event.piece for event in crew.events()} == {new}


def test_no_worker_waits_for_what_the_caller_does_with_the_parts() -> None:
    with closing(crew_of(make_engine("processes", workers=1))) as crew:
        crew.submit("slowly")
        crew.submit("when")
        seen, begun = [], []
        for event in crew.events():
            if event.value == "part":
                time.sleep(0.1)
                seen.append(time.monotonic())
            elif event.kind == "part":
                begun.append(event.value)
    assert len(seen) == 20
    assert begun[0] < seen[8]  # the second piece began when the first was done, after 0.2 s


def test_workers_that_never_begin_are_a_mistake_that_says_so() -> None:
    with closing(crew_of(make_engine("processes", workers=1), stillborn)) as crew:
        crew.submit("anything")
        with pytest.raises(UserError, match=r"3 workers ended before they had begun: .*code 7"):
            list(crew.events())


def test_work_that_is_done_here_has_no_crew() -> None:
    assert make_engine("here").crew(counter) is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own, of several kinds
def test_actors_of_ray_do_the_same() -> None:
    pytest.importorskip("ray", reason="needs the package ray")
    engine: Any = make_engine("ray", workers=2)
    try:
        with closing(crew_of(engine)) as crew:
            test_each_piece_is_done_once_by_workers_that_remember(crew)
            lost, kept = crew.submit("die"), crew.submit("live")
            kinds = {(event.piece, event.kind) for event in crew.events()}
            assert {(lost, "lost"), (kept, "done")} <= kinds
            test_mistakes_and_faults_in_a_worker_are_raised_here(crew)
            test_whoever_stops_listening_gets_no_event_of_old_pieces(crew)
    finally:
        engine.close()


class Late(Worker):
    """One of two workers, of whom the second is ready when the first has failed at a piece."""

    def __init__(self) -> None:
        self.says = [Told("ready", Seat("here", 1))]
        self.n_given = 0

    def give(self, piece: Any) -> None:
        self.n_given += 1
        if piece == "mistake":
            self.says = [Told("failed", UserError("It is wrong."))]
        else:
            self.says = [Told("part", piece), Told("done")]

    def kill(self) -> None:
        self.says = []


class Pair(Staff):
    is_here = True
    n_workers = 2

    def __init__(self) -> None:
        self.hired: list[Late] = []

    def need(self, n_gpus: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def hire(self, place: int) -> Worker:
        self.hired.append(Late())
        return self.hired[-1]

    def listen(self, workers: Sequence[Worker], *, wait: bool) -> list[tuple[Worker, Told]]:
        first, second = self.hired[:2]
        heard: list[tuple[Worker, Told]] = []
        for worker in workers:
            if isinstance(worker, Late) and (worker is not second or first.n_given):
                heard += [(worker, told) for told in worker.says]
                worker.says = []
        return heard


def test_what_others_say_beside_a_mistake_is_heard() -> None:
    staff = Pair()
    crew = Crew(staff)
    crew.submit("mistake")
    with pytest.raises(UserError, match="It is wrong"):
        list(crew.events())
    for number in range(10):
        crew.submit(number)
    assert sum(event.kind == "part" for event in crew.events()) == 10
    assert staff.hired[1].n_given == 5


@pytest.mark.slow
def test_what_a_worker_has_started_ends_with_it() -> None:
    crew = crew_of(make_engine("processes", workers=1), keeper)
    crew.submit("anything")
    [child] = [event.value for event in crew.events() if event.kind == "part"]
    os.kill(child, 0)
    crew.close()
    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or is_zombie(child):
            return
        time.sleep(0.05)
    pytest.fail("it lives on")


def is_zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
