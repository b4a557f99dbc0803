from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.browse.runs import VIAS, rows, write_run

from palimpsest.browse import AnswerIndex, browse, create_app
from palimpsest.browse.app import names_of
from palimpsest.errors import UserError
from palimpsest.records import AnswerStore, RunFolder


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


def test_an_unknown_run_is_the_first(client: TestClient) -> None:
    of_first, of_none = (client.get("/api/answers", params={"run": run}).json() for run in "09")
    assert of_none == of_first


def test_runs_in_folders_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    paths = [tmp_path / "before" / "out", tmp_path / "after" / "out"]
    assert names_of(paths) == list(map(str, paths))
    assert names_of([Path()]) == [Path.cwd().name]


def test_names_and_texts_that_have_no_utf8_form_are_shown(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"run \xff")
    [row, *_] = write_run(path, 1)
    odd = row._replace(
        key=row.key._replace(source_id="\ud800</script>"), cell="\ud800", raw="\x00\udfff"
    )
    with AnswerStore(path / "answers.sqlite") as store:
        store.add([odd])
    index = AnswerIndex(path)
    client = TestClient(create_app([index]), base_url="http://127.0.0.1")
    assert client.get("/api/runs").json()[0]["name"] == "run \udcff"
    found = client.get("/api/answers", params={"n": 200}).json()["rows"][-1]
    assert (found["source"], found["cell"], found["raw"]) == ("\ud800</script>", "\ud800", odd.raw)
    index.close()


def test_answers_that_come_meanwhile_change_no_page(tmp_path: Path) -> None:
    written = write_run(tmp_path / "run", 3)
    index = AnswerIndex(tmp_path / "run")
    client = TestClient(create_app([index]), base_url="http://127.0.0.1")
    with AnswerStore(tmp_path / "run" / "answers.sqlite") as store:
        store.add([written[0]._replace(outcome="broken"), *rows(20, seed=5)])
        page = client.get("/api/answers", params={"n": 200}).json()
    assert (len(page["rows"]), page["n"], page["next"]) == (len(written), len(written), None)
    index.close()


def test_runs_of_different_suites_are_compared_where_both_have_answers(tmp_path: Path) -> None:
    written = write_run(tmp_path / "one", 2)
    folder = RunFolder.create(tmp_path / "other")
    other = written[0]._replace(key=written[0].key._replace(source_id="another"), cell="another")
    with AnswerStore(folder.answers) as store:
        store.add([other])
    indexes = [AnswerIndex(tmp_path / "one"), AnswerIndex(tmp_path / "other")]
    client = TestClient(create_app(indexes), base_url="http://127.0.0.1")
    one, two = client.get("/api/source", params={"source": "another"}).json()
    assert (len(one), len(two)) == (0, 1)
    assert client.get("/api/answers", params={"run": 1, "cell": "facts"}).json()["n"] == 0
    assert client.get("/api/source", params={"source": "nothing"}).json() == [[], []]
    for each in indexes:
        each.close()


def test_a_run_without_answers_is_a_mistake(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "empty")
    AnswerStore(folder.answers).close()
    with pytest.raises(UserError, match=r"There are no answers in '.*empty'"):
        AnswerIndex(folder.path)


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
