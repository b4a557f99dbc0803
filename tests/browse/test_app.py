from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.browse.runs import VIAS, write_run

from palimpsest.browse import AnswerIndex, browse, create_app
from palimpsest.errors import UserError


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("runs")
    for number, name in enumerate(("before", "after")):
        write_run(folder / name, 40, seed=number)
    indexes = [AnswerIndex(folder / name) for name in ("before", "after")]
    yield TestClient(create_app(indexes), base_url="http://127.0.0.1")
    for each in indexes:
        each.close()


def test_runs_are_named_with_their_counts(client: TestClient) -> None:
    before, after = client.get("/api/runs").json()
    assert (before["name"], after["name"]) == ("before", "after")
    assert before["n"] == 40 * 2 * len(VIAS)
    assert before["counts"]["via"] == dict.fromkeys(VIAS, 80)


def test_a_page_has_its_answers_and_where_the_next_starts(client: TestClient) -> None:
    page = client.get("/api/answers", params={"role": "base", "via": "leet", "n": 15}).json()
    assert (len(page["rows"]), page["n"], page["next"]) == (15, 40, 15)
    assert {(row["role"], row["via"]) for row in page["rows"]} == {("base", "leet")}
    last = client.get("/api/answers", params={"role": "base", "via": "leet", "start": 30}).json()
    assert (len(last["rows"]), last["next"]) == (10, None)


def test_an_example_is_compared_over_both_runs(client: TestClient) -> None:
    before, after = client.get("/api/source", params={"source": "example-5"}).json()
    assert len(before) == len(after) == 2 * len(VIAS)
    assert before != after


@pytest.mark.parametrize(
    "parameters",
    [
        {"start": "-5"},
        {"start": "10000000000000000000000"},
        {"start": "x", "n": "y"},
        {"n": "100000"},
        {"run": "99"},
        {"text": "a" * 10_000},
        {"via": "'; DROP TABLE answers; --"},
        {"unknown": "1"},
    ],
)
def test_odd_requests_are_answered_within_bounds(
    client: TestClient, parameters: dict[str, str]
) -> None:
    page = client.get("/api/answers", params=parameters)
    assert page.status_code == 200
    assert len(page.json()["rows"]) <= 200


def test_nothing_is_written_and_no_other_name_is_served(client: TestClient) -> None:
    assert client.post("/api/answers").status_code == 405
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    assert client.get("/../pyproject.toml").status_code == 404


@pytest.mark.parametrize("path", ["/", "/browse.js", "/browse.css", "/api/runs"])
def test_the_page_may_load_and_ask_nothing_from_elsewhere(client: TestClient, path: str) -> None:
    answer = client.get(path)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in answer.text.replace("http-equiv", "")


def test_a_port_that_another_program_has_is_a_mistake(tmp_path: Path) -> None:
    write_run(tmp_path / "run", 1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"Cannot listen on 127.0.0.1:{port}.*\n.*--port"):
            browse([tmp_path / "run"], port=port, announce=lambda url: None)
