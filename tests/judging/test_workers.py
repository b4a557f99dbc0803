"""Models on workers: the rows are those of one process, whatever dies."""

from __future__ import annotations

import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mortal_models import POISON, MortalModel
from tests.records.test_failures import fill_up, small_disk

from palimpsest.engines import make_engine
from palimpsest.errors import UserError
from palimpsest.families import restore, trace
from palimpsest.judging.diagnosis import diagnose
from palimpsest.judging.evaluation import evaluate
from palimpsest.judging.recommend import recommend
from palimpsest.judging.via import parse_via
from palimpsest.judging.workers import N_DEATHS, HeldModel, Tally, Workers, answerer, pieces
from palimpsest.lm.models import (
    ROSETTA_WEIGHTS,
    LanguageModel,
    Origin,
    ScriptedModel,
    load_model,
)
from palimpsest.lm.suites import Example, Suite, load_suite
from palimpsest.records import AnswerRow, AnswerStore

__all__ = ["small_disk"]  # a fixture

VIAS = ("identity", "leet", "rot13")


def suite_of(words: Sequence[str]) -> Suite:
    examples = [
        Example(
            source_id=f"{number}",
            cell="repeat",
            language="en",
            prompt=f"Say {word} {number}",
            answers={"icl": (f"Say {word}",), "instruction": (word,)},
        )
        for number, word in enumerate(words)
    ]
    return Suite(name="words", examples=tuple(examples))


def answers(model: LanguageModel, suite: Suite, folder: Path) -> list[AnswerRow]:
    with AnswerStore(folder / "answers.sqlite") as store:
        vias = [parse_via(via, suite) for via in VIAS]
        rows = evaluate(model, suite, vias, store=store, role="base")
    return [row._replace(latency_seconds=0) for row in rows]


@contextmanager
def held(model: LanguageModel, n_workers: int, engine: str = "processes") -> Iterator[HeldModel]:
    made: Any = make_engine(engine, workers=n_workers)
    with Workers(made) as workers:
        yield cast("HeldModel", workers.hold(model))
    if engine == "ray":
        made.close()


@given(st.lists(st.integers(0, 500), max_size=600), st.integers(1, 9))
def test_pieces_hold_every_prompt_once_and_never_grow(lengths: list[int], n_workers: int) -> None:
    dealt = pieces(lengths, n_workers)
    assert sorted(index for piece in dealt for index in piece) == list(range(len(lengths)))
    sizes = list(map(len, dealt))
    assert sizes == sorted(sizes, reverse=True)
    in_order = [lengths[index] for piece in dealt for index in piece]
    assert in_order == sorted(lengths, reverse=True)


class FileModel(ScriptedModel):
    """Says what stands in a file, which is its fingerprint, too."""

    def __init__(self, path: str) -> None:
        says = Path(path).read_text(encoding="utf-8")
        super().__init__(lambda _: f" {says}", name=path, fingerprint=says)

    @property
    def origin(self) -> Origin:
        return Origin(FileModel, (self.spec,))


def test_a_worker_answers_with_no_other_model_than_the_one_that_is_asked(tmp_path: Path) -> None:
    file = tmp_path / "model"

    def said(model: LanguageModel) -> str:
        return next(model.generate(["?"], max_new_tokens=1))[1].text

    with Workers(make_engine("processes", workers=1)) as workers:
        for written in ("old", "new"):
            file.write_text(written, encoding="utf-8")
            model = workers.hold(FileModel(str(file)))
            assert said(model) == f" {written}"
        file.write_text("other", encoding="utf-8")
        again = workers.hold(ScriptedModel(str))
        assert said(again) == "?"
        file.write_text("asked", encoding="utf-8")
        model = workers.hold(FileModel(str(file)))
        file.write_text("another", encoding="utf-8")
        for _ in range(2):
            with pytest.raises(UserError, match=r"fingerprint is another, expected asked"):
                said(model)


def test_rows_are_those_of_one_process_though_workers_are_killed(tmp_path: Path) -> None:
    suite = suite_of(["word"] * 120)
    (tmp_path / "one").mkdir()
    whole = answers(MortalModel(str(tmp_path)), suite, tmp_path / "one")
    ours = {path.name for path in tmp_path.iterdir() if path.name.isdigit()}
    killed: list[int] = []

    def kill() -> None:
        while len(killed) < 3:
            time.sleep(0.05)
            for path in tmp_path.iterdir():
                if path.name.isdigit() and path.name not in ours and path.stat().st_size > 5:
                    ours.add(path.name)
                    killed.append(int(path.name))
                    os.kill(int(path.name), signal.SIGKILL)
                    break

    threading.Thread(target=kill, daemon=True).start()
    with held(MortalModel(str(tmp_path)), 2) as model:
        assert answers(cast("LanguageModel", model), suite, tmp_path) == whole
    assert len(killed) >= 1


def test_a_prompt_that_kills_its_workers_is_set_aside_and_all_others_are_answered(
    tmp_path: Path,
) -> None:
    words = ["word"] * 40
    words[7] = POISON
    suite = suite_of(words)
    with held(MortalModel(str(tmp_path)), 2) as model:
        rows = answers(cast("LanguageModel", model), suite, tmp_path)
        assert model.n_answers.total() == 3 * 40 - 1  # leet and rot13 hide the word
    lacking = {(row.key.source_id, row.via) for row in rows}
    assert len(rows) == 3 * 40 - 1
    assert ("7", "identity") not in lacking


@pytest.mark.slow
def test_a_diagnosis_leaves_such_an_example_out_and_names_it(tmp_path: Path) -> None:
    words = ["word"] * 30
    words[3] = POISON
    base, tuned = MortalModel(str(tmp_path)), ScriptedModel(str, fingerprint="tuned")
    with Workers(make_engine("processes", workers=1)) as workers:
        results = diagnose(base, tuned, suite=suite_of(words), via=["leet"], workers=workers)
    assert results.plain.base.n == 29
    [note] = [warning for warning in results.warnings if "left out" in warning]
    assert f"{N_DEATHS} workers died answering: '3' (base, identity)" in note


@pytest.mark.slow
def test_a_diagnosis_that_nothing_is_left_of_is_a_mistake(tmp_path: Path) -> None:
    base, tuned = ScriptedModel(str, fingerprint="base"), MortalModel(str(tmp_path))
    with (
        Workers(make_engine("processes", workers=1)) as workers,
        pytest.raises(UserError, match=r"No example of 'words' has all of its answers\. 2 exam"),
    ):
        diagnose(base, tuned, suite=suite_of([POISON] * 2), via=[], workers=workers)


@pytest.mark.slow
def test_a_run_in_rounds_names_such_an_example_as_well(tmp_path: Path) -> None:
    words = ["word"] * 30
    words[3] = POISON
    base, tuned = MortalModel(str(tmp_path)), ScriptedModel(str, fingerprint="tuned")
    with Workers(make_engine("processes", workers=1)) as workers:
        results = diagnose(
            base, tuned, suite=suite_of(words), via=["leet"], workers=workers, until_sure=True,
            n_resamples=200,
        )  # fmt: skip
    asked = results.until_sure
    assert asked is not None
    assert asked.cells[0].n_plain == 30
    assert results.plain.base.n == 29
    [note] = [warning for warning in results.warnings if "left out" in warning]
    assert note.startswith("1 example(s) are left out")
    assert "'3' (base, identity)" in note


@pytest.mark.parametrize(("n_held", "opened"), [(1, "abab"), (2, "ab")])
def test_a_worker_keeps_as_many_models_as_are_asked_in_turns(n_held: int, opened: str) -> None:
    OPENED.clear()
    answer = answerer()
    for name in "abab":
        here = Opened(name)
        call = HeldModel(here, Mock(shares_memory=False), Tally(), n_held=n_held)._call(
            "generate", ["x"], [0], {"max_new_tokens": 1, "stop": []}
        )
        assert [index for parcel in answer(call) for index, _ in parcel] == [0]
    assert "".join(OPENED) == opened


OPENED: list[str] = []


class Opened(ScriptedModel):
    """Says of itself when it is opened anew."""

    def __init__(self, name: str) -> None:
        super().__init__(str, name=name, fingerprint=name)

    @property
    def origin(self) -> Origin:
        """By its name."""
        return Origin(opened, (self.spec,))


def opened(name: str) -> Opened:
    OPENED.append(name)
    return Opened(name)


@pytest.mark.slow
def test_likelihoods_of_such_a_prompt_are_no_numbers(tmp_path: Path) -> None:
    with held(MortalModel(str(tmp_path)), 1) as model:
        scored = model.score(["a", POISON, "b"], [["a", "x"]] * 3)
    assert [list(map(math.isnan, each)) for each in scored] == [
        [False] * 2,
        [True] * 2,
        [False] * 2,
    ]


@pytest.mark.slow
def test_workers_that_die_of_all_they_are_asked_are_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palimpsest.judging.workers._MOST_SET_ASIDE", 3)
    with (
        held(MortalModel(str(tmp_path)), 1) as model,
        pytest.raises(UserError, match=r"died one after the other.*exit code -9"),
    ):
        list(model.generate([f"{POISON} {i}" for i in range(200)], max_new_tokens=1))


def test_a_worker_with_other_files_is_a_mistake(tmp_path: Path) -> None:
    with (
        held(MortalModel(str(tmp_path), fingerprint="of other files"), 1) as model,
        pytest.raises(UserError, match=r"finds another model.*expected of other files"),
    ):
        list(model.generate(["a"], max_new_tokens=1))


def test_a_worker_without_the_model_s_files_is_a_mistake_that_names_its_machine(
    tmp_path: Path,
) -> None:
    folder = shutil.copytree(ROSETTA_WEIGHTS / "base", tmp_path / "model")
    with held(load_model(str(folder)), 1) as model:
        shutil.rmtree(folder)
        with pytest.raises(UserError, match=r"machine '.+' cannot open the model: .*\n.*same name"):
            list(model.generate(["a"], max_new_tokens=1))


def test_a_full_disk_is_told_and_the_next_run_continues(small_disk: Path, tmp_path: Path) -> None:
    suite = suite_of(["word"] * 20)
    vias = [parse_via("identity", suite)]
    filled: list[Path] = []

    def fill(n_done: int, n_total: int, n_reused: int) -> None:
        if n_done > 5 and not filled:
            filled.append(fill_up(small_disk))

    with held(MortalModel(str(tmp_path)), 2) as held_model:
        model = cast("LanguageModel", held_model)
        asked: Any = {"role": "base"}
        with AnswerStore(small_disk / "answers.sqlite") as store:
            asked["store"] = store
            with pytest.raises(UserError, match=r"The disk that holds '.*' is full"):
                evaluate(model, suite, vias, **asked, progress=fill)
        filled[0].unlink()
        with AnswerStore(small_disk / "answers.sqlite") as store:
            asked["store"] = store
            assert len(evaluate(model, suite, vias, **asked)) == 20


def test_what_each_worker_did_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    words = ["word"] * 90
    words[3] = POISON
    suite = suite_of(words)
    with Workers(make_engine("processes", workers=2)) as workers:
        model = workers.hold(MortalModel(str(tmp_path / "log")))
        answers(model, suite, tmp_path)
        record = workers.record()
    assert record is not None
    assert record.engine == "processes"
    assert record.n_set_aside == 1
    assert len(record.workers) == 2
    assert sum(each.n_answers for each in record.workers) == 3 * 90 - 1
    assert sum(each.n_restarts for each in record.workers) >= N_DEATHS
    assert all(each.host and each.busy_seconds > 0 for each in record.workers)


def test_models_that_are_asked_elsewhere_are_asked_from_here() -> None:
    scripted = ScriptedModel(str)
    with Workers(make_engine("processes", workers=2)) as workers:
        assert workers.hold(scripted) is scripted


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own, of several kinds
@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_the_embedded_pair_answers_on_workers_as_it_does_here(engine: str, tmp_path: Path) -> None:
    if engine == "ray":
        pytest.importorskip("ray", reason="needs the package ray")
    suite = load_suite("rosetta", limit=10)
    (tmp_path / "one").mkdir()
    here = answers(load_model("rosetta:tuned"), suite, tmp_path / "one")
    with held(load_model("rosetta:tuned"), 2, engine) as model:
        assert answers(cast("LanguageModel", model), suite, tmp_path) == here
        choices = [[" one", " two"]] * 3
        scored = model.score(["a", "b", "c"], choices)
    for mine, theirs in zip(
        scored, load_model("rosetta:tuned").score(["a", "b", "c"], choices), strict=True
    ):
        assert mine == pytest.approx(theirs, abs=1e-5)


@pytest.mark.slow
def test_a_restoration_on_workers_is_the_one_made_here(tmp_path: Path) -> None:
    pair: Any = ("rosetta:base", "rosetta:tuned")
    how: Any = {
        "suite": "rosetta",
        "target": "rosetta-instructions",
        "members": ["interpolate:0.5", "dg-hard"],
        "via": ["leet"],
        "limit": 10,
        "n_resamples": 500,
    }
    here = restore(*pair, **how, out=tmp_path / "here")
    with Workers(make_engine("processes", workers=2)) as workers:
        there = restore(*pair, **how, out=tmp_path / "there", workers=workers)
    assert there.points == here.points


@pytest.mark.slow
def test_a_trace_and_a_recommendation_on_workers_are_those_made_here(tmp_path: Path) -> None:
    how: Any = {"suite": "rosetta", "via": ["leet"], "limit": 5, "n_resamples": 500}
    here = trace("rosetta:base", ["rosetta:tuned"], **how)
    asked: Any = {"base": "rosetta:base", "prompts": load_suite("rosetta:n=3"), "via": ["leet"]}
    with Workers(make_engine("processes", workers=2)) as workers:
        there = trace("rosetta:base", ["rosetta:tuned"], **how, workers=workers)
        found = recommend("rosetta:tuned", **asked, workers=workers)
    assert [each.plain for each in there.checkpoints] == [each.plain for each in here.checkpoints]
    assert found.to_json() == recommend("rosetta:tuned", **asked).to_json()
