from __future__ import annotations

import copy
import json
import shutil
import socket
import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.records.test_failures import small_disk

from palimpsest.errors import UserError
from palimpsest.judging.diagnosis import diagnose
from palimpsest.judging.pairing import ROLES
from palimpsest.judging.planning import plan
from palimpsest.judging.shards import Shard, answer_shard, merge
from palimpsest.judging.workers import Workers
from palimpsest.lm import Prompt
from palimpsest.lm.models import (
    Generation,
    LanguageModel,
    ScoringUnavailableError,
    ScriptedModel,
)
from palimpsest.lm.suites import Example, Suite
from palimpsest.records import AnswerStore, RunFolder

__all__ = ["small_disk"]  # a fixture

CELLS = ("repeat", "add")
N = 40


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A scripted pair on a suite of files: the tuned model has lost the sums, unless conjugated."""
    folder = tmp_path_factory.mktemp("pair")
    rows, base, tuned = [], [], []
    for number in range(N):
        for cell in CELLS:
            prompt = f"{cell} {number}"
            rows.append(
                {
                    "id": f"{cell}-{number}",
                    "prompt": prompt,
                    "group": cell,
                    "answers": {"ability": ["yes"]},
                }
            )
            base.append({"contains": prompt, "answer": "yes" if number % 9 else "no, not now"})
            forgotten = cell == "add" and number % 5
            tuned.append({"contains": prompt, "answer": "no and never" if forgotten else "yes"})
    everything: Any = [{"contains": "", "answer": "yes"}]
    (folder / "suite.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "base.json").write_text(json.dumps(base + everything))
    (folder / "tuned.json").write_text(json.dumps(tuned + everything))
    return {
        "base": f"scripted:{folder / 'base.json'}",
        "tuned": f"scripted:{folder / 'tuned.json'}",
        "suite": f"jsonl:{folder / 'suite.jsonl'}",
        "via": ["leet", "rot13"],
        "n_resamples": 300,
    }


@pytest.fixture(scope="module")
def answered(arguments: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    for number in (1, 2, 3):
        answer_shard(Shard(number, 3), arguments, out=folder / f"shard-{number}")
    return folder


@pytest.fixture
def shards(answered: Path, tmp_path: Path) -> list[Path]:
    shutil.copytree(answered, tmp_path / "shards")
    return [tmp_path / "shards" / f"shard-{number}" for number in (1, 2, 3)]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.integers(1, 7))
def test_shards_part_the_examples_of_each_cell_evenly(sizes: list[int], n: int) -> None:
    examples = tuple(
        Example(f"{cell}-{i}", str(cell), language, "?", {"right": ("a",)})
        for cell, size in enumerate(sizes)
        for i in range(size)
        for language in ("en", "fr")
    )
    suite = Suite(name="any", examples=examples)
    found: list[str] = []
    for number in range(1, n + 1):
        try:
            part = Shard(number, n).of(suite)
        except UserError:
            assert max(sizes) < number
            continue
        for cell, size in enumerate(sizes):
            mine = {each.source_id for each in part.examples if each.cell == str(cell)}
            assert size // n <= len(mine) <= -(-size // n)
        assert len(part.in_language("en")) == len(part.in_language("fr"))
        found += [each.source_id for each in part.in_language("en")]
    assert sorted(found) == sorted(each.source_id for each in suite.in_language("en"))


def test_merged_shards_say_what_one_run_says(
    arguments: dict[str, Any], shards: list[Path], tmp_path: Path
) -> None:
    one = diagnose(**arguments, out=tmp_path / "one")
    merged = merge(reversed([*shards, shards[0]]), tmp_path / "merged")  # type: ignore[arg-type]
    assert merged.model_copy(update={"provenance": one.provenance}) == one
    assert merged.plain.base.n == len(CELLS) * N
    rows = {}
    for name in ("one", "merged"):
        with AnswerStore(tmp_path / name / "answers.sqlite", read_only=True) as store:
            rows[name] = {row.key: (row.role, row.outcome, row.via) for row in store.run_rows()}
    assert rows["merged"] == rows["one"]
    assert (tmp_path / "merged" / "report.html").is_file()


def test_a_shard_goes_on_where_it_was_and_asks_nothing_twice(
    arguments: dict[str, Any], shards: list[Path]
) -> None:
    told: list[tuple[int, int]] = []
    answer_shard(
        Shard(1, 3),
        arguments,
        out=shards[0],
        progress=lambda role, n_done, n_total, n_reused: told.append((n_total, n_reused)),
    )
    assert {n_total - n_reused for n_total, n_reused in told} == {0}


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5", ""])
def test_what_is_no_shard_is_a_mistake(text: str) -> None:
    with pytest.raises(UserError, match=r"expected i/n"):
        Shard.parse(text)


def test_more_shards_than_examples_is_a_mistake(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Shard 41/50 of .* has no examples"):
        answer_shard(Shard(41, 50), arguments, out=tmp_path / "none")


def test_a_missing_shard_is_named(shards: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Of 3 shards 1 are missing: 2/3\."):
        merge([shards[0], shards[2]], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_shard_that_was_killed_at_once_is_named(shards: list[Path], tmp_path: Path) -> None:
    shutil.rmtree(shards[1])
    RunFolder.create(shards[1])
    with pytest.raises(UserError, match=r"run in .*shard-2' ended before it had begun"):
        merge(shards, tmp_path / "merged")


def test_a_shard_is_not_merged_into(shards: list[Path]) -> None:
    with pytest.raises(UserError, match=r"shard-1/\.\./shard-2' is one of the shards"):
        merge(shards, shards[0] / ".." / "shard-2")
    assert RunFolder.find(shards[1]).config["shard"] == "2/3"


def test_the_answers_of_another_run_are_not_merged_into(
    arguments: dict[str, Any], shards: list[Path], tmp_path: Path
) -> None:
    diagnose(**arguments, out=tmp_path / "other")
    before = (tmp_path / "other" / "results.json").read_text()
    with pytest.raises(UserError, match=r"other' has 480 answers of another run"):
        merge(shards, tmp_path / "other")
    assert (tmp_path / "other" / "results.json").read_text() == before


def test_shards_are_merged_again_into_the_same_folder_but_no_others(
    arguments: dict[str, Any], shards: list[Path], tmp_path: Path
) -> None:
    first = merge(shards, tmp_path / "merged")
    again = merge(shards, tmp_path / "merged")
    assert again.model_copy(update={"provenance": first.provenance}) == first
    fewer = {**arguments, "limit": 10}
    others = [tmp_path / f"fewer-{number}" for number in (1, 2)]
    for number, path in enumerate(others, 1):
        answer_shard(Shard(number, 2), fewer, out=path)
    with pytest.raises(UserError, match=r"merged' has \d+ answers that none of the shards has"):
        merge(others, tmp_path / "merged")


def test_an_answer_that_no_shard_has_is_said_to_be_lacking_there(
    shards: list[Path], tmp_path: Path
) -> None:
    path = shards[0] / "answers.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM answers WHERE source_id = 'add-0' AND via = 'leet'")
    connection.close()
    [note] = [each for each in merge(shards, tmp_path / "merged").warnings if "left out" in each]
    assert note.startswith("1 example(s) are left out, as the shards brought no answer to them")
    assert "'add-0' (base, leet), 'add-0' (tuned, leet)" in note
    assert "died" not in note


class _DyingOf(Workers):
    """Workers whom every prompt with a text in it kills again and again."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def hold(self, model: LanguageModel, *, n_held: int = 1) -> LanguageModel:
        held: Any = copy.copy(model)
        held.generate = partial(self._generate, model)
        return cast("LanguageModel", held)

    def _generate(
        self, model: LanguageModel, prompts: Sequence[Prompt], **options: Any
    ) -> Iterator[tuple[int, Generation]]:
        for index, answer in model.generate(prompts, **options):
            died = self._text in str(prompts[index])
            yield index, Generation("", "failed", 0, 0.0) if died else answer


def test_what_a_shard_has_set_aside_is_told_by_it_and_by_the_whole(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    paths = [tmp_path / "half-1", tmp_path / "half-2"]
    workers = _DyingOf("add 4")  # as it is: no conjugation writes it so
    few = {**arguments, "limit": 6}
    found, other = (
        answer_shard(Shard(number, 2), few, out=path, workers=workers)
        for number, path in enumerate(paths, 1)
    )
    assert (found.n_answers, found.n_left_out) == (2 * 3 * 5, 1)
    assert (other.n_answers, other.n_left_out, other.notes) == (2 * 3 * 6, 0, [])
    [note] = found.notes
    assert note.startswith("1 example(s) are left out, as 3 workers died answering: 'add-4' (base")
    merged = merge(paths, tmp_path / "merged")
    assert f"Shard 1/2: {note}" in merged.warnings
    assert merged.plain.base.n == len(CELLS) * 6 - 1
    answer_shard(Shard(1, 2), few, out=tmp_path / "anew")
    whole = merge([*paths, tmp_path / "anew"], tmp_path / "whole")
    assert whole.plain.base.n == len(CELLS) * 6
    assert not any("left out" in warning for warning in whole.warnings)


def test_the_whole_took_as_long_as_its_shards(
    arguments: dict[str, Any], shards: list[Path], tmp_path: Path
) -> None:
    """What plans further runs goes by it, and not by how long the merging took."""
    for path, seconds in zip(shards, (100.0, 20.0, 3.0), strict=True):
        folder = RunFolder.find(path)
        assert folder.config["seconds"] > 0
        folder.record({**folder.config, "seconds": seconds})
    merged = merge([*shards, shards[0]], tmp_path / "merged")
    assert merged.provenance.seconds_in_all == 123
    assert merge(shards, tmp_path / "merged").provenance.seconds_in_all == 123
    planned = plan(tmp_path / "merged", prompts=[], n_runs=2, n_resamples=100)
    assert planned.cost.seconds == pytest.approx(123 / N)
    later = diagnose(**arguments, out=tmp_path / "merged")
    assert later.provenance.seconds_in_all == 123
    folder.record({**folder.config, "seconds": None})
    merge(shards, tmp_path / "merged")
    planned = plan(tmp_path / "merged", prompts=[], n_runs=2, n_resamples=100)
    assert planned.cost.seconds is None


@pytest.mark.slow
def test_a_full_disk_is_told_and_the_shards_are_merged_elsewhere(
    shards: list[Path], small_disk: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"The disk that holds '.*' is full"):
        merge(shards, small_disk / "merged")  # the report alone is as large as the disk
    assert merge(shards, tmp_path / "merged").plain.base.n == len(CELLS) * N


def test_an_unfinished_shard_is_named(shards: list[Path], tmp_path: Path) -> None:
    folder = RunFolder.find(shards[1])
    folder.record({**folder.config, "finished": False})
    with pytest.raises(UserError, match=r"Shard 2/3 in .*shard-2' is not finished"):
        merge(shards, tmp_path / "merged")


def test_shards_of_other_diagnoses_are_refused(
    arguments: dict[str, Any], shards: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "other"
    answer_shard(Shard(2, 3), {**arguments, "via": ["leet"]}, out=other)
    with pytest.raises(UserError, match=r"different diagnoses: 'via' is \['leet', 'rot13'\] in"):
        merge([shards[0], other, shards[2]], tmp_path / "merged")
    answer_shard(Shard(2, 4), arguments, out=tmp_path / "quarter")
    with pytest.raises(UserError, match=r"parts of different size: 1/3, 2/4, 3/3"):
        merge([shards[0], tmp_path / "quarter", shards[2]], tmp_path / "merged")


@pytest.mark.slow
def test_a_run_that_is_no_shard_is_refused(arguments: dict[str, Any], tmp_path: Path) -> None:
    diagnose(**arguments, out=tmp_path / "one")
    with pytest.raises(UserError, match=r"is no shard"):
        merge([tmp_path / "one"], tmp_path / "merged")


def test_folders_that_disagree_about_an_answer_are_refused(
    arguments: dict[str, Any], shards: list[Path], tmp_path: Path
) -> None:
    again = tmp_path / "again"
    answer_shard(Shard(1, 3), arguments, out=again)
    with AnswerStore(again / "answers.sqlite") as store:
        [row, *_] = store.run_rows()
        store.add([row._replace(raw="something else")])
    with pytest.raises(UserError, match=r"have different answers of the base model to"):
        merge([*shards, again], tmp_path / "merged")


def test_merging_opens_no_model(
    shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("palimpsest.judging.subject.load_model", refuse)
    merged = merge(shards, tmp_path / "merged")
    assert merged.plain.base.n == len(CELLS) * N


@pytest.mark.parametrize("scores", [True, False])
def test_merging_contacts_no_endpoint_that_a_shard_names(
    scores: bool, arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint is asked whether it tells likelihoods; a merging knows it from the shards."""

    def refuse(*_: object) -> None:
        raise ScoringUnavailableError("It tells none.")

    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-whoever-merges")
    if not scores:
        monkeypatch.setattr(ScriptedModel, "score", refuse)
    with_choices = {**arguments, "suite": _with_choices(arguments["suite"], tmp_path)}
    paths = [tmp_path / "half-1", tmp_path / "half-2"]
    for number, path in enumerate(paths, 1):
        answer_shard(Shard(number, 2), with_choices, out=path)
    one = diagnose(**with_choices, out=tmp_path / "one")
    with socket.create_server(("127.0.0.1", 0)) as endpoint:
        spec = f"openai:m@http://127.0.0.1:{endpoint.getsockname()[1]}/v1"
        _rewrite(paths, {"base": spec, "tuned": spec})
        merged = merge(paths, tmp_path / "merged")
        endpoint.setblocking(False)
        with pytest.raises(BlockingIOError):
            endpoint.accept()
    assert (merged.plain, merged.warnings) == (one.plain, one.warnings)
    assert scores != any("cannot say how likely" in warning for warning in merged.warnings)


def _with_choices(suite: str, folder: Path) -> str:
    rows = map(json.loads, Path(suite.removeprefix("jsonl:")).read_text().splitlines())
    lines = [json.dumps({**row, "choices": ["yes", "no"]}) for row in rows]
    (folder / "choices.jsonl").write_text("\n".join(lines))
    return f"jsonl:{folder / 'choices.jsonl'}"


def _rewrite(paths: list[Path], changed: dict[str, Any]) -> None:
    """Change what shards say that they were asked, as somebody might who hands them on."""
    for path in paths:
        folder = RunFolder.find(path)
        folder.record({**folder.config, "arguments": {**folder.config["arguments"], **changed}})


def test_a_shard_of_other_weights_is_refused_with_how_each_was_computed(
    shards: list[Path], tmp_path: Path
) -> None:
    folder = RunFolder.find(shards[1])
    prints = {**folder.config["fingerprints"], "tuned": "0123abcd"}
    facts = {**folder.config["facts"], "tuned": {"device": "cpu", "dtype": "float32"}}
    folder.record({**folder.config, "fingerprints": prints, "facts": facts})
    with pytest.raises(UserError) as error:
        merge(shards, tmp_path / "merged")
    expected = RunFolder.find(shards[0]).config["fingerprints"]["tuned"]
    assert "asked another tuned model under 'scripted:" in error.value.message
    assert f"its fingerprint is 0123abcd (cpu, float32), expected {expected}" in error.value.message
    assert not (tmp_path / "merged").exists()


def test_facts_in_which_shards_differ_are_all_told(shards: list[Path], tmp_path: Path) -> None:
    for path, gpu in zip(shards, ("A100", "H100", "A100"), strict=True):
        folder = RunFolder.find(path)
        facts = {role: {"device": f"cuda ({gpu})", "dtype": "bfloat16"} for role in ROLES}
        folder.record({**folder.config, "facts": facts})
    assert merge(shards, tmp_path / "merged").base.facts == {
        "device": "cuda (A100); cuda (H100)",
        "dtype": "bfloat16",
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scorer", "python:evil:score"),
        ("scorer", "judge:openai:x@http://127.0.0.1:9"),
        ("suite", "{suite},scorer=python:evil:score"),
        ("suite", "rows:a.jsonl,prompt={{q}},scorer.ability=python:evil:score"),
        ("suite", "lm-eval:say,include_path=."),
        ("via", ["translate:de@model:hf:./evil,trust_remote_code=true"]),
        ("via", ["protect(leet|translate:de@libretranslate:http://127.0.0.1:9,urls)"]),
        ("via", ["leet", "upper|translate:fr @ deepl"]),
        ("via", ["translate:fr@seq2seq:somebody/weights"]),
    ],
)
def test_no_shard_may_name_what_runs_code(
    name: str,
    value: str | list[str],
    arguments: dict[str, Any],
    shards: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('the code of a shard ran')")
    monkeypatch.syspath_prepend(tmp_path)
    if isinstance(value, str):
        value = value.format(suite=arguments["suite"])
    _rewrite(shards, {name: value})
    with pytest.raises(UserError, match=r"may run code or ask others\.\n.*--trust"):
        merge(shards, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_with_trust_a_scorer_of_ones_own_is_used(
    arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("def score(answer, right, others): return answer[0] in 'yn'")
    monkeypatch.syspath_prepend(tmp_path)
    mine = {**arguments, "suite": f"{arguments['suite']},scorer=python:mine:score", "limit": 6}
    paths = [tmp_path / "half-1", tmp_path / "half-2"]
    for number, path in enumerate(paths, 1):
        answer_shard(Shard(number, 2), mine, out=path)
    assert merge(paths, tmp_path / "merged", trust=True).plain.tuned.accuracy == 1


@pytest.mark.parametrize("name", ["budget", "workers", "inference"])
def test_what_no_shard_can_have_is_refused(
    name: str, arguments: dict[str, Any], shards: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"A diagnosis with '{name}' cannot be answered in shards"):
        answer_shard(Shard(1, 2), {**arguments, name: 1}, out=tmp_path / "half")
    _rewrite(shards, {name: 1})
    with pytest.raises(UserError, match=f"A diagnosis with '{name}' cannot be answered in shards"):
        merge(shards, tmp_path / "merged")
