"""Prompts that kill whoever answers them, however many, and workers that can answer nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from palimpsest.engines.crew import Crew, Death, Seat, Staff, Told, Worker
from palimpsest.errors import UserError
from palimpsest.judging.workers import N_DEATHS, HeldModel, Tally
from palimpsest.lm.models import Generation, Origin, ScriptedModel

DEADLY = "deadly"


class Answering(Worker):
    """Answers a piece up to the prompt that kills it."""

    def __init__(self, deadly: str) -> None:
        self.deadly = deadly
        self.says = [Told("ready", Seat("here", 1))]

    def give(self, piece: Any) -> None:
        self.says = []
        for index, prompt in enumerate(piece.prompts):
            if self.deadly in prompt:
                self.says.append(Told("dead", Death("its process ended with exit code -9")))
                return
            self.says.append(Told("part", [(index, Generation(" ok", "stop", 1, 0.0))]))
        self.says.append(Told("done"))

    def kill(self) -> None:
        self.says = []


class Hall(Staff):
    is_here = True

    def __init__(self, n_workers: int, deadly: str) -> None:
        self.n_workers = n_workers
        self.deadly = deadly
        self.n_hired = 0
        self.n_heard = 0

    def need(self, n_gpus: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def hire(self, place: int) -> Worker:
        self.n_hired += 1
        return Answering(self.deadly)

    def listen(self, workers: Sequence[Worker], *, wait: bool) -> list[tuple[Worker, Told]]:
        self.n_heard += 1
        speaking = [each for each in workers if isinstance(each, Answering) and each.says]
        # One at a time, whoever has been quiet longest: a real one takes seconds to begin.
        return [(each, each.says.pop(0)) for each in speaking[self.n_heard % len(speaking) :][:1]]


class Scripted(ScriptedModel):
    @property
    def origin(self) -> Origin:
        return Origin(Scripted, ())


def asked(prompts: Sequence[str], staff: Hall) -> tuple[dict[int, Generation], Tally]:
    tally = Tally()
    held = HeldModel(Scripted(str, fingerprint="said"), Crew(staff), tally)
    return dict(held.generate(prompts, max_new_tokens=3)), tally


@pytest.mark.parametrize("n_workers", [1, 2, 4, 8])
@pytest.mark.parametrize("n_deadly", [1, 5, 20])
@pytest.mark.parametrize("n_sound", [0, 300])
def test_any_number_of_them_is_set_aside_and_all_others_are_answered(
    n_workers: int, n_deadly: int, n_sound: int
) -> None:
    prompts = [f"{DEADLY} {number}" for number in range(n_deadly)]
    prompts += [f"word {number}" for number in range(n_sound)]
    found, tally = asked(prompts, Hall(n_workers, DEADLY))
    failed = {index for index, answer in found.items() if answer.finish == "failed"}
    assert failed == set(range(n_deadly))
    assert len(found) == len(prompts)
    assert tally.n_set_aside == n_deadly
    assert tally.n_answers.total() == n_sound


@pytest.mark.parametrize("n_workers", [1, 8])
def test_workers_that_can_answer_nothing_end_the_run_before_long(n_workers: int) -> None:
    hall = Hall(n_workers, deadly="")
    with pytest.raises(UserError, match=r"workers died one after the other .*-9\.\n.*lack of mem"):
        asked([f"word {number}" for number in range(4000)], hall)
    assert hall.n_hired <= 8 * (n_workers + 1)


def test_so_many_without_an_answer_between_them_are_the_fault_of_the_workers() -> None:
    prompts = [f"{DEADLY} {number}" for number in range(4000)]
    hall = Hall(2, DEADLY)
    with pytest.raises(UserError, match="153 workers died one after the other without an answer"):
        asked(prompts, hall)


def test_a_prompt_kills_as_many_as_it_may_and_no_more() -> None:
    hall = Hall(1, DEADLY)
    asked([DEADLY, *(f"word {number}" for number in range(7))], hall)
    halvings = 3
    assert hall.n_hired == 1 + halvings + N_DEATHS
