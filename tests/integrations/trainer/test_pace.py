from itertools import pairwise

import pytest

from palimpsest.errors import UserError
from palimpsest.integrations.trainer.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def simulate(
    share: float | None,
    *,
    n_steps: int = 2000,
    every: int = 10,
    first_step_seconds: float = 1.0,
    cost: float = 2.0,
) -> tuple[Pace, list[int]]:
    """Train with steps of a second each, as the callback does; return the measured steps."""
    clock = Clock()
    pace = Pace(share, clock=clock)
    measured: list[int] = []

    def measure(step: int) -> None:
        with pace.measuring():
            clock.now += cost
        measured.append(step)

    measure(0)
    for step in range(1, n_steps + 1):
        clock.now += first_step_seconds if step == 1 else 1.0
        affordable = step % every == 0 and step - measured[-1] >= pace.spacing(
            step=step, n_steps=n_steps, last=measured[-1]
        )
        if affordable or step == n_steps:
            measure(step)
    return pace, measured


@pytest.mark.parametrize("share", [0.005, 0.01, 0.05, 0.1])
@pytest.mark.parametrize("n_steps", [1000, 2000, 5001])
@pytest.mark.parametrize("first_step_seconds", [1.0, 60.0])
def test_measuring_takes_no_more_than_its_share_of_the_whole_training(
    share: float, n_steps: int, first_step_seconds: float
) -> None:
    pace, measured = simulate(share, n_steps=n_steps, first_step_seconds=first_step_seconds)
    assert pace.share <= share
    assert measured[0] == 0
    assert measured[-1] == n_steps


def test_nearly_all_of_the_share_is_used_where_it_is_needed() -> None:
    pace, measured = simulate(0.02)
    assert pace.measuring_seconds == 2.0 * len(measured)
    # 0.02 of 2000 s pay for 20 measurements of 2 s; multiples of 10 steps do not fit evenly.
    assert 17 <= len(measured) <= 20


def test_measurements_are_spread_evenly_over_the_training() -> None:
    _, measured = simulate(0.02)
    gaps = [later - earlier for earlier, later in pairwise(measured)]
    assert max(gaps) <= 1.5 * min(gaps)


def test_every_step_that_is_asked_for_is_measured_if_it_can_be_paid() -> None:
    for share in (0.5, None):
        _, measured = simulate(share, n_steps=100)
        assert measured == list(range(0, 101, 10))


def test_a_training_too_short_to_pay_for_more_is_measured_at_the_start_and_the_end() -> None:
    pace, measured = simulate(0.05, n_steps=60)
    assert measured == [0, 60]
    assert pace.share == pytest.approx(4 / 60)


def test_an_interrupted_training_goes_on_with_the_times_that_it_had() -> None:
    clock = Clock()
    pace = Pace(0.1, clock=clock)
    clock.now += 3.0
    pace.resume(measuring_seconds=8.0, training_seconds=100.0, cost_seconds=4.0)
    clock.now += 20.0
    assert (pace.measuring_seconds, pace.training_seconds) == (8.0, 120.0)
    with pace.measuring():
        clock.now += 4.0
        assert (pace.measuring_seconds, pace.training_seconds) == (12.0, 120.0)
    assert pace.share == pytest.approx(0.1)


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="expected a number above zero"):
        Pace(0.0)
