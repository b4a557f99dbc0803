from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.pieces import die_at_one, double

from palimpsest.engines.engine import ENGINES, Done, Engine, make_engine
from palimpsest.errors import UserError

PAGE = Path(__file__).parents[2] / "docs" / "adding" / "engine.md"


def _check(engine: Engine) -> None:
    found = sorted(engine.map(double, [(1,), (-1,), (3,)]))
    assert found == [Done(0, b"2", ""), Done(1, b"", "-1 is negative."), Done(2, b"6", "")]
    assert list(engine.map(double, [])) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ENGINES if name != "ray"])
def test_every_engine_does_each_piece_once_and_a_mistake_ends_no_other(name: str) -> None:
    _check(make_engine(name, workers=2))


@pytest.mark.slow
def test_a_process_that_is_killed_ends_its_own_piece_alone() -> None:
    done = {
        each.number: (each.result, each.error)
        for each in make_engine("processes", workers=2).map(
            die_at_one, [(number,) for number in range(5)]
        )
    }
    assert {number: done[number] for number in (0, 2, 3, 4)} == {
        number: (str(number).encode(), "") for number in (0, 2, 3, 4)
    }
    assert done[1][0] == b""
    assert "its process ended" in done[1][1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own, of several kinds
def test_a_ray_cluster_does_too() -> None:
    pytest.importorskip("ray", reason="needs the package ray")
    engine: Any = make_engine("ray", workers=2)
    try:
        _check(engine)
    finally:
        engine.close()


def test_the_engine_of_the_page_does_too() -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    space: dict[str, Any] = {"__name__": "threads"}
    exec(compile(code, str(PAGE), "exec"), space)
    _check(space["ThreadsEngine"](workers=2))


@pytest.mark.slow
def test_a_start_that_gives_up_is_tried_again_and_then_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray: Any = pytest.importorskip("ray", reason="needs the package ray")
    starts: list[str] = []

    def give_up(address: str, **_: object) -> None:
        starts.append(address)
        if len(starts) < works_at:
            raise Exception("The current node timed out during startup.")  # as Ray

    monkeypatch.setattr(ray, "init", give_up)
    works_at = 3
    make_engine("ray", workers=1)
    assert starts == ["local"] * 3
    starts, works_at = [], 99
    with pytest.raises(UserError, match=r"timed out during startup[\s\S]*less busy"):
        make_engine("ray", workers=1)
    assert len(starts) == 3


def test_an_address_without_ray_is_a_mistake() -> None:
    with pytest.raises(UserError, match="The address 'auto' is for Ray"):
        make_engine("local", address="auto")


def test_an_unknown_engine_is_a_mistake_that_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"No engine named 'rey'\. Did you mean 'ray'"):
        make_engine("rey")
