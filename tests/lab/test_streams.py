import numpy as np
import pytest
import torch

from palimpsest.errors import UserError
from palimpsest.lab.streams import STREAMS, numpy_stream, stream


def draws(seed: int = 0, name: str = "inputs", step: int = 0, purpose: str = "training") -> bytes:
    return torch.rand(4, generator=stream(seed, name, step, purpose=purpose)).numpy().tobytes()


def test_a_stream_gives_the_same_numbers_again() -> None:
    assert draws(3, "noise", 12) == draws(3, "noise", 12)


def test_streams_differ_by_name_seed_step_and_purpose() -> None:
    found = {
        draws(seed, name, step, purpose)
        for seed in (0, 1, -1, 2**40)
        for name in STREAMS
        for step in (0, 1, 2**33)
        for purpose in ("training", "evaluation")
    }
    # Steps 0 and 2³³ are the same to 32 bits; no run is as long.
    assert len(found) == 4 * len(STREAMS) * 2 * 2


@pytest.mark.slow
def test_no_two_steps_of_a_stream_share_their_numbers() -> None:
    # PyTorch's generator takes 32 bits of a seed: hashing would repeat some of so many steps.
    n = 200_000
    assert len({stream(0, "tasks", step).initial_seed() for step in range(n)}) == n


def test_numpy_streams_follow_name_seed_and_step() -> None:
    first = numpy_stream(0, "bootstrap", 1).random(3)
    assert np.array_equal(first, numpy_stream(0, "bootstrap", 1).random(3))
    assert not np.array_equal(first, numpy_stream(0, "bootstrap", 2).random(3))
    assert not np.array_equal(first, numpy_stream(1, "bootstrap", 1).random(3))


def test_an_unknown_stream_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"named 'input'. Did you mean 'inputs'"):
        stream(0, "input")
    with pytest.raises(UserError, match="not for 'testing'"):
        stream(0, "inputs", purpose="testing")
