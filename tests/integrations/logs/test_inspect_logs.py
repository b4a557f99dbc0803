"""Real logs of Inspect AI, made with its mock model."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from gc import collect  # before a fixture for all tests replaces it
from os import utime
from pathlib import Path
from typing import Any

import pytest

from palimpsest.errors import MissingExtraError, UserError
from palimpsest.integrations.logs import read_run
from palimpsest.judging.compare import compare
from palimpsest.judging.compare.logged import LoggedRun, LoggedTask, LogOptions

inspect_ai = pytest.importorskip("inspect_ai")

from inspect_ai import Epochs, Task  # noqa: E402
from inspect_ai.dataset import MemoryDataset, Sample  # noqa: E402
from inspect_ai.log import EvalLog, list_eval_logs  # noqa: E402
from inspect_ai.model import ChatMessage, GenerateConfig, ModelOutput, ModelUsage, get_model  # noqa: E402
from inspect_ai.scorer import Score, Scorer, Target, accuracy, includes, mean, scorer  # noqa: E402
from inspect_ai.solver import TaskState, generate, multiple_choice, system_message  # noqa: E402

Answers = Callable[[str], str]

# When it evaluates, Inspect itself calls tenacity by a deprecated argument, and leaves streams of
# anyio open.
pytestmark = [
    pytest.mark.slow,  # quicker: inspect_ai/test_in_short.py
    pytest.mark.filterwarnings("ignore:The 'initial' parameter is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def a_place_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep traces and caches from the user's folders, and open streams from other tests."""
    folder = tmp_path_factory.mktemp("inspect")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
            patch.setenv(name, str(folder / name.lower()))
        yield
    collect()


def samples(n: int = 4) -> list[Sample]:
    return [
        Sample(id=f"q{i}", input=f"Question {i}?", target=f"answer {i}", metadata={"number": i})
        for i in range(n)
    ]


def evaluated(folder: Path, answers: Answers, **more: Any) -> Path:
    """Evaluate the mock model on a task and return the log's path."""

    def reply(
        messages: list[ChatMessage], tools: Any, choice: Any, config: GenerateConfig
    ) -> ModelOutput:
        output = ModelOutput.from_content("mockllm", answers(messages[-1].text))
        # Else the mock model counts tokens, for which it fetches an encoding from the network.
        output.usage = ModelUsage()
        return output

    fields = {"dataset": MemoryDataset(samples()), "solver": generate(), "scorer": includes()}
    task = Task(**{**fields, "name": "qa", **more})
    model = get_model("mockllm/model", custom_outputs=reply, memoize=False)
    (log,) = inspect_ai.eval(task, model=model, log_dir=str(folder), display="none")
    assert isinstance(log, EvalLog)
    return Path(log.location)


def right(question: str) -> str:
    return f"It is answer {question.removeprefix('Question ').rstrip('?')}."


def half_right(question: str) -> str:
    return right(question) if question[9] in "02" else "No idea."


def task_of(run: LoggedRun) -> LoggedTask:
    (task,) = run.tasks
    return task


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("logs")
    return evaluated(folder / "base", right), evaluated(folder / "tuned", half_right)


def test_a_log_is_read_with_texts_scores_and_what_it_says_of_the_run(
    logs: tuple[Path, Path],
) -> None:
    run = read_run(logs[1])
    task = task_of(run)
    assert (run.kind, run.model, task.name, task.metric) == (
        "Inspect AI",
        "mockllm/model",
        "qa",
        "includes",
    )
    assert [item.score for item in task.items.values()] == [1, 0, 1, 0]
    first = task.items["q0"].first
    assert (first.prompt, first.raw) == ("Question 0?", "It is answer 0.")
    assert first.target == "answer 0"
    assert "inspect_ai" in run.facts


def test_two_logs_are_compared_item_by_item(logs: tuple[Path, Path]) -> None:
    results = compare(read_run(logs[0].parent), read_run(logs[1]), n_resamples=200)
    assert results.plain.forgetting == 0.5
    assert (results.plain.n_lost, results.plain.n_gained) == (2, 0)
    assert results.warnings == []


def test_the_json_format_says_the_same(logs: tuple[Path, Path], tmp_path: Path) -> None:
    inspect_ai.log.write_eval_log(
        inspect_ai.log.read_eval_log(str(logs[1])), str(tmp_path / "log.json")
    )
    as_json, as_eval = read_run(tmp_path / "log.json"), read_run(logs[1])
    assert task_of(as_json).items == task_of(as_eval).items


def test_other_inputs_under_the_same_ids_are_refused(
    logs: tuple[Path, Path], tmp_path: Path
) -> None:
    changed = [sample.model_copy(update={"input": "Something else?"}) for sample in samples()]
    other = evaluated(tmp_path, lambda _: "", dataset=MemoryDataset(changed))
    with pytest.raises(UserError, match="item 'q0' is not the same in"):
        compare(read_run(logs[0]), read_run(other), n_resamples=200)


def test_another_system_message_is_another_prompt(logs: tuple[Path, Path], tmp_path: Path) -> None:
    solver = [system_message("Be brief."), generate()]
    other = evaluated(tmp_path, right, solver=solver)
    results = compare(read_run(logs[0]), read_run(other), n_resamples=200)
    assert "different prompts for 4 items (the first: 'q0' of qa)" in results.warnings[0]


def test_epochs_are_answers_to_one_item(tmp_path: Path) -> None:
    seen: list[str] = []

    def every_other(question: str) -> str:
        seen.append(question)
        return right(question) if seen.count(question) == 1 else ""

    log = evaluated(tmp_path, every_other, epochs=Epochs(2))
    items = task_of(read_run(log)).items
    assert [(key, item.score) for key, item in items.items()] == [(f"q{i}", 0.5) for i in range(4)]


def test_multiple_choice_tells_the_chance_level(tmp_path: Path) -> None:
    asked = [Sample(id=1, input="Which?", choices=["a", "b", "c", "d"], target="B")]
    log = evaluated(
        tmp_path,
        lambda _: "ANSWER: B",
        dataset=MemoryDataset(asked),
        solver=multiple_choice(),
        scorer=inspect_ai.scorer.choice(),
    )
    item = task_of(read_run(log)).items["1"]
    assert (item.score, item.first.chance) == (1.0, 0.25)


@scorer(metrics={"brevity": [mean()], "right": [accuracy()]})
def two_values() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        found = target.text in state.output.completion
        return Score(value={"brevity": 0.25, "right": found}, answer="short")

    return score


@scorer(metrics=[accuracy()])
def three_outcomes() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        found = target.text in state.output.completion
        return Score(
            value="C" if found else "I", metadata={"outcome": "right" if found else "intruded"}
        )

    return score


def test_scorers_and_their_values_are_metrics(tmp_path: Path) -> None:
    log = evaluated(tmp_path, half_right, scorer=[two_values(), includes()])
    run = read_run(log)
    assert task_of(run).metric == "two_values.brevity"
    assert "not by 'two_values.right', 'includes' (--metric chooses)" in run.notes[0]
    chosen = read_run(log, LogOptions(metrics=("two_values.right",)))
    assert [item.score for item in task_of(chosen).items.values()] == [1, 0, 1, 0]
    assert task_of(chosen).items["q0"].first.answer == "short"
    with pytest.raises(UserError, match="Did you mean 'includes'"):
        read_run(log, LogOptions(metrics=("include",)))


@scorer(metrics={"seconds": [mean()], "right": [accuracy()]})
def sometimes_nothing() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        found = target.text in state.output.completion
        right = math.nan if target.text == "answer 3" else found
        return Score(value={"seconds": 12.5, "right": right})

    return score


def test_scores_that_are_no_number_are_left_out_and_no_fraction_counts(tmp_path: Path) -> None:
    log = evaluated(tmp_path, half_right, scorer=sometimes_nothing())
    as_json = tmp_path / "log.json"
    inspect_ai.log.write_eval_log(inspect_ai.log.read_eval_log(str(log)), str(as_json))
    for path in (log, as_json):
        with pytest.raises(UserError, match=r"1 of 4 answers to qa .*'q3', epoch 1: .* is missing"):
            read_run(path)
        run = read_run(path, LogOptions(complete=False))
        assert task_of(run).metric == "sometimes_nothing.right"
        assert [item.score for item in task_of(run).items.values()] == [1, 0, 1]
        assert "which goes from 12.5 to 12.5" in run.notes[0]


def test_a_scorer_may_tell_whose_answer_it_is(tmp_path: Path) -> None:
    task = task_of(read_run(evaluated(tmp_path, half_right, scorer=three_outcomes())))
    assert task.says_abilities
    assert [item.outcome for item in task.items.values()] == ["right", "intruded"] * 2


def test_metadata_may_identify_items(logs: tuple[Path, Path]) -> None:
    assert list(task_of(read_run(logs[0], LogOptions(key=("number",)))).items) == list("0123")


def test_a_log_that_broke_off_is_refused_unless_asked_for(tmp_path: Path) -> None:
    def fails(question: str) -> str:
        if question == "Question 2?":
            raise ValueError("the model is down")
        return right(question)

    log = evaluated(tmp_path, fails)
    with pytest.raises(UserError, match="did not finish, its status is 'error'"):
        read_run(log)
    run = read_run(log, LogOptions(complete=False))
    assert "q2" not in task_of(run).items
    assert any("did not finish" in note for note in run.notes)


def test_a_failed_sample_has_no_score(tmp_path: Path) -> None:
    def fails(question: str) -> str:
        if question == "Question 2?":
            raise ValueError("the model is down")
        return right(question)

    log = evaluated(tmp_path, fails, fail_on_error=False)
    with pytest.raises(
        UserError, match=r"1 of 4 answers to qa have no .* sample 'q2', epoch 1: it failed: "
    ):
        read_run(log)
    run = read_run(log, LogOptions(complete=False))
    assert list(task_of(run).items) == ["q0", "q1", "q3"]
    assert task_of(run).unscored["q2"].startswith("it failed: ")


def test_of_several_logs_of_a_task_the_newest_counts(tmp_path: Path) -> None:
    evaluated(tmp_path, lambda _: "")
    newest = evaluated(tmp_path, right)
    assert len(list_eval_logs(str(tmp_path))) == 2
    run = read_run(tmp_path)
    assert [item.score for item in task_of(run).items.values()] == [1] * 4
    assert run.fingerprint == read_run(newest).fingerprint
    assert "the newest counts" in run.notes[0]


def test_of_logs_of_one_second_the_one_written_last_counts(
    logs: tuple[Path, Path], tmp_path: Path
) -> None:
    base, tuned = (inspect_ai.log.read_eval_log(str(path)) for path in logs)
    tuned.eval.created = base.eval.created
    for name, log in (("b.eval", base), ("a.eval", tuned)):
        inspect_ai.log.write_eval_log(log, str(tmp_path / name))
    for newest, other in (("a.eval", "b.eval"), ("b.eval", "a.eval")):
        utime(tmp_path / other, ns=(10**18, 10**18))
        utime(tmp_path / newest, ns=(10**18 + 10**6, 10**18 + 10**6))
        assert read_run(tmp_path).fingerprint == read_run(tmp_path / newest).fingerprint


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "fake.eval"
    path.write_text("no zip")
    with pytest.raises(UserError, match=r"fake\.eval is no zip file that can be read") as error:
        read_run(path)
    assert error.value.hint == "Name a .eval file that inspect eval has written."


def test_without_inspect_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    (tmp_path / "log.eval").write_text("")
    with pytest.raises(MissingExtraError, match=r"pip install 'inspect.ai"):
        read_run(tmp_path / "log.eval")
