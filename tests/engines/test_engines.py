from __future__ import annotations

import pytest

from palimpsest.engines.engine import ENGINES, Done, Engine, make_engine
from palimpsest.errors import UserError


def double(number: int) -> bytes:
    """Return twice the number, as text."""
    if number < 0:
        raise UserError(f"{number} is negative.")
    return str(2 * number).encode()


def _in_order(engine: Engine) -> list[Done]:
    return sorted(engine.map(double, [(1,), (-1,), (3,)]))


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "ray"])
def test_every_engine_does_each_piece_once_and_a_mistake_ends_no_other(name: str) -> None:
    assert _in_order(make_engine(name, workers=2)) == [
        Done(0, b"2", ""),
        Done(1, b"", "-1 is negative."),
        Done(2, b"6", ""),
    ]
    assert list(make_engine(name).map(double, [])) == []


def test_an_address_without_ray_is_a_mistake() -> None:
    with pytest.raises(UserError, match="The address 'auto' is for Ray"):
        make_engine("local", address="auto")


def test_an_unknown_engine_is_a_mistake_that_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"No engine named 'rey'\. Did you mean 'ray'"):
        make_engine("rey")
