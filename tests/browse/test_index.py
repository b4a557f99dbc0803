from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.browse.runs import CELLS, OUTCOMES, VIAS, write_run

from palimpsest.browse import AnswerIndex, Query
from palimpsest.browse import index as module
from palimpsest.errors import UserError
from palimpsest.judging.diagnosis import diagnose
from palimpsest.lm.models import ScriptedModel
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records import AnswerRow, AnswerStore, Outcome

ROWS: list[AnswerRow] = []


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnswerIndex]:
    path = tmp_path_factory.mktemp("runs") / "run"
    ROWS[:] = write_run(path, 60)
    found = AnswerIndex(path)
    yield found
    found.close()


def flip_of(row: AnswerRow) -> str:
    outcomes = {
        each.role: each.outcome == "right"
        for each in ROWS
        if (each.key.source_id, each.via) == (row.key.source_id, row.via)
    }
    if outcomes["base"] == outcomes["tuned"]:
        return ""
    return "lost" if outcomes["base"] else "gained"


def passes(row: AnswerRow, values: dict[str, str]) -> bool:
    facts = {**row._asdict(), "source": row.key.source_id, "flip": flip_of(row)}
    return all(not value or facts[name] == value for name, value in values.items())


def all_pages(index: AnswerIndex, values: dict[str, str], text: str, n: int) -> list[AnswerRow]:
    found, start = [], 0
    while True:
        page = index.find(Query(values, text=text, start=start, n=n))
        found += page.rows
        assert page.flips == list(map(flip_of, page.rows))
        if page.next_start is None:
            return found
        assert page.next_start > start
        start = page.next_start


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["", "base", "tuned", "none"]),
        "via": st.sampled_from(["", *VIAS]),
        "cell": st.sampled_from(["", *CELLS]),
        "outcome": st.sampled_from(["", *OUTCOMES]),
        "flip": st.sampled_from(["", "lost", "gained", "nonsense"]),
        "source": st.sampled_from(["", "example-7", "example-none"]),
    },
)


@given(
    values=VALUES, text=st.sampled_from(["", "NUMBER 1", "<b>", "%", "zzz"]), n=st.integers(1, 90)
)
def test_all_pages_together_are_what_the_filters_say(
    index: AnswerIndex, values: dict[str, str], text: str, n: int
) -> None:
    expected = [
        row
        for row in ROWS
        if passes(row, values) and text.lower() in f"{row.prompt}\n{row.raw}\n{row.answer}".lower()
    ]
    assert all_pages(index, values, text, n) == expected


def test_a_search_that_runs_out_of_time_goes_on_where_it_stopped(
    index: AnswerIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SEARCH_SECONDS", 0.0)
    monkeypatch.setattr(module, "_N_SEARCHED", 7)
    page = index.find(Query({}, text="number 59", n=50))
    assert (page.rows, page.is_whole, page.next_start) == ([], False, 7)
    assert len(all_pages(index, {}, "number 59", 50)) == 2 * len(VIAS)


def test_counts_add_up(index: AnswerIndex) -> None:
    counts = index.counts()
    assert {name: sum(each.values()) for name, each in counts.items() if name != "flip"} == (
        dict.fromkeys(module.FACETS, len(ROWS))
    )
    assert counts["flip"] == {
        name: sum(flip_of(row) == name for row in ROWS) for name in ("lost", "gained")
    }


def test_everything_that_was_answered_to_an_example_is_found(index: AnswerIndex) -> None:
    assert index.of_source("example-3") == [row for row in ROWS if row.key.source_id == "example-3"]
    assert index.of_source("nothing") == []


def test_only_the_answers_of_the_newest_finished_run_are_shown(tmp_path: Path) -> None:
    written = write_run(tmp_path / "run", 10)
    newest = [row for row in written if row.via in ("identity", "leet")]
    with AnswerStore(tmp_path / "run" / "answers.sqlite") as store:
        store.record_run(newest)
    assert len(AnswerIndex(tmp_path / "run")) == len(newest)


def test_a_model_that_is_compared_with_itself_is_shown_in_both_roles(tmp_path: Path) -> None:
    base = [row for row in write_run(tmp_path / "run", 6) if row.role == "base"]
    both = base + [row._replace(role="tuned") for row in base]
    with AnswerStore(tmp_path / "run" / "answers.sqlite") as store:
        store.record_run(both)
    index = AnswerIndex(tmp_path / "run")
    assert index.counts()["role"] == {"base": len(base), "tuned": len(base)}
    assert index.counts()["flip"] == {"lost": 0, "gained": 0}
    assert index.find(Query({}, n=200)).rows == both
    assert index.find(Query({"role": "tuned"}, text="number 3", n=200)).rows == [
        row for row in both if row.role == "tuned" and row.source_id == "example-3"
    ]
    assert index.of_source("example-3") == [row for row in both if row.source_id == "example-3"]


def test_an_older_run_in_the_folder_is_not_shown_though_both_have_as_many_answers(
    tmp_path: Path,
) -> None:
    written = write_run(tmp_path / "run", 6)
    base = [row for row in written if row.role == "base"]
    newest = base + [row._replace(role="tuned") for row in base]
    assert len(newest) == len(written)
    with AnswerStore(tmp_path / "run" / "answers.sqlite") as store:
        store.record_run(newest)
    assert AnswerIndex(tmp_path / "run").counts()["model"] == {"base": len(newest)}


def with_samples(path: Path, base: str, tuned: str) -> AnswerIndex:
    """Write a run of one prompt: a letter a sample, ``r`` for right and ``w`` for wrong."""
    plain = [row for row in write_run(path, 1) if row.via == "identity"]
    rows = [
        row._replace(
            key=row.key._replace(settings=f"sample {number}"),
            outcome="right" if letter == "r" else "broken",
        )
        for row, letters in zip(plain, (base, tuned), strict=True)
        for number, letter in enumerate(letters)
    ]
    with AnswerStore(path / "answers.sqlite") as store:
        store.add(rows)
        store.record_run(rows)
    return AnswerIndex(path)


@pytest.mark.parametrize(
    ("base", "tuned", "flip"),
    [
        ("rrw", "rwr", ""),
        ("wrr", "rrw", ""),
        ("rrw", "wwr", "lost"),
        ("wrw", "rrw", "gained"),
        ("rrr", "www", "lost"),
        ("rrr", "w", ""),  # the others have not been asked for yet
    ],
)
def test_a_prompt_is_lost_if_fewer_of_its_samples_are_right_whichever_these_are(
    base: str, tuned: str, flip: str, tmp_path: Path
) -> None:
    found = with_samples(tmp_path / "run", base, tuned).find(Query({}))
    assert set(found.flips) == {flip}
    assert [row.outcome == "right" for row in found.rows] == [each == "r" for each in base + tuned]


def test_graded_answers_are_lost_where_their_scores_fell(tmp_path: Path) -> None:
    plain = [row for row in write_run(tmp_path / "run", 3) if row.via == "identity"]
    scores = (0.8, 0.3, 0.3, 0.8, 0.5, 0.5)
    graded = [
        row._replace(outcome="broken", score=score)
        for row, score in zip(plain, scores, strict=True)
    ]
    with AnswerStore(tmp_path / "run" / "answers.sqlite") as store:
        store.add(graded)
        store.record_run(graded)
    assert AnswerIndex(tmp_path / "run").find(Query({})).flips == [
        *["lost"] * 2, *["gained"] * 2, *[""] * 2
    ]  # fmt: skip


def drawn_from(*rights: tuple[bool, ...]) -> Callable[[Prompt], list[str]]:
    """Return what gives three answers to a prompt, right where a list says so."""

    def answers(prompt: Prompt) -> list[str]:
        mine = rights[int(str(prompt).split()[-1].replace("\\", "")) % len(rights)]
        return [" yes" if is_right else " no" for is_right in mine]

    return answers


@pytest.mark.usefixtures("empty_figures")
def test_as_many_prompts_are_lost_and_gained_as_the_report_says(tmp_path: Path) -> None:
    examples = (
        Example(f"{at}", "cell", "en", f"Prompt {at}", {"say": ("yes",), "other": ("maybe",)})
        for at in range(20)
    )
    base = drawn_from((True, True, False), (True, False, False), (False, True, True))
    tuned = drawn_from((False, True, True), (False, False, True))
    results = diagnose(
        ScriptedModel(base, name="base", fingerprint="base"),
        ScriptedModel(tuned, name="tuned", fingerprint="tuned"),
        suite=Suite(name="suite", source_language="en", examples=tuple(examples)),
        via=["leet"],
        samples="3,temperature=1",
        out=tmp_path / "run",
        n_resamples=100,
    )
    index = AnswerIndex(tmp_path / "run")
    found = index.find(Query({"role": "tuned", "via": "identity"}, n=200))
    told = {(row.source_id, flip) for row, flip in zip(found.rows, found.flips, strict=True)}
    assert Counter(flip for _, flip in told) == {
        "": 20 - results.plain.n_lost - results.plain.n_gained,
        "lost": results.plain.n_lost,
        "gained": results.plain.n_gained,
    }
    assert (results.plain.n_lost, results.plain.n_gained) == (6, 3)


TRACE = Path(__file__).parents[2] / "experiments" / "tables" / "trace-rosetta.json"


def trace_of(path: Path, *, named: bool) -> list[AnswerRow]:
    """Write the folder of a trace: a base, a first step that is right as it was, and a bad one."""
    record = json.loads(TRACE.read_text())
    first, second = (each["model"]["fingerprint"] for each in record["checkpoints"][:2])
    plain = [row for row in write_run(path, 8) if row.via == "identity"]
    of = {
        role: [row._replace(outcome="right") for row in plain if row.role == role]
        for role in ("base", "tuned")
    }
    outcomes: dict[str, Outcome] = {first: "right", second: "broken"}
    rows = [
        row._replace(key=row.key._replace(model=record["base"]["fingerprint"]))
        for row in of["base"]
    ]
    for model, outcome in outcomes.items():
        rows += [
            row._replace(key=row.key._replace(model=model), outcome=outcome) for row in of["tuned"]
        ]
    with AnswerStore(path / "answers.sqlite") as store:
        store.add(rows)
        store.record_run(rows)
    if named:
        (path / "trace.json").write_text(TRACE.read_text())
    return rows


@pytest.mark.parametrize("named", [True, False])
def test_what_tuning_did_is_told_of_each_checkpoint_by_itself(named: bool, tmp_path: Path) -> None:
    rows = trace_of(tmp_path / "run", named=named)
    index = AnswerIndex(tmp_path / "run")
    fingerprints = list(dict.fromkeys(row.key.model for row in rows))
    names = ["base", "step 20", "step 40"] if named else [each[:12] for each in fingerprints]
    assert index.names["model"] == names
    assert [index.model_of(row) for row in rows[::8]] == names
    flips = {name: set(index.find(Query({"model": name})).flips) for name in names}
    assert flips == dict(zip(names, [{""}, {""}, {"lost"}], strict=True))
    assert index.counts()["flip"] == {"lost": 8, "gained": 0}


def test_what_became_of_an_example_is_told_of_each_member_of_a_restoration(tmp_path: Path) -> None:
    base, tuned = (row for row in write_run(tmp_path / "run", 1) if row.via == "identity")
    member = tuned._replace(key=tuned.key._replace(model="half"), role="interpolate:0.5")
    outcomes: tuple[Outcome, ...] = ("right", "broken", "right")
    other: tuple[Outcome, ...] = ("broken", "broken", "right")
    rows = [
        row._replace(outcome=outcome)
        for row, outcome in zip((base, tuned, member), outcomes, strict=True)
    ]
    rows += [
        row._replace(key=row.key._replace(source_id="other"), outcome=outcome)
        for row, outcome in zip(rows, other, strict=True)
    ]
    with AnswerStore(tmp_path / "run" / "answers.sqlite") as store:
        store.add(rows)
        store.record_run(rows)
    flips = AnswerIndex(tmp_path / "run").find(Query({})).flips
    assert flips == ["", "lost", "", "", "", "gained"]


def test_a_trace_of_another_release_leaves_its_models_unnamed(tmp_path: Path) -> None:
    rows = trace_of(tmp_path / "run", named=False)
    (tmp_path / "run" / "trace.json").write_text('{"schema": "palimpsest.trace/9"}')
    assert AnswerIndex(tmp_path / "run").names["model"][0] == rows[0].key.model[:12]


def test_models_that_would_have_one_name_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = trace_of(tmp_path / "run", named=False)
    fingerprints = list(dict.fromkeys(row.key.model for row in rows))
    monkeypatch.setattr(module, "names_of_models", lambda _: dict.fromkeys(fingerprints, "base"))
    index = AnswerIndex(tmp_path / "run")
    names = ["base", *(f"base ({each})" for each in fingerprints[1:])]
    assert index.counts()["model"] == dict.fromkeys(names, 8)


def test_examples_of_two_suites_with_one_name_have_nothing_to_do_with_each_other(
    tmp_path: Path,
) -> None:
    plain = [row for row in write_run(tmp_path / "run", 1) if row.via == "identity"]
    base, tuned = (row._replace(outcome="right") for row in plain)
    other = [
        base._replace(key=base.key._replace(suite="other"), outcome="broken"),
        tuned._replace(key=tuned.key._replace(suite="other")),
    ]
    with AnswerStore(tmp_path / "run" / "answers.sqlite") as store:
        store.add([base, tuned, *other])
        store.record_run([base, tuned, *other])
    assert AnswerIndex(tmp_path / "run").find(Query({})).flips == ["", "", "gained", "gained"]


@pytest.mark.parametrize("how", ["missing", "foreign", "empty"])
def test_a_folder_without_answers_is_a_mistake(how: str, tmp_path: Path) -> None:
    if how == "foreign":
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "file").write_text("mine")
    elif how == "empty":
        write_run(tmp_path / "run", 0)
    messages: dict[str, Any] = {
        "missing": "There is no folder",
        "foreign": "run",
        "empty": "There are no answers in",
    }
    with pytest.raises(UserError, match=messages[how]):
        AnswerIndex(tmp_path / "run")
