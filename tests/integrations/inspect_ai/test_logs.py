"""Logs are read by Inspect's own tools, and runs that broke off go on."""

from pathlib import Path
from typing import Any

import pytest
from inspect_ai import Task, eval, eval_retry, score, task
from inspect_ai.analysis import evals_df, samples_df
from inspect_ai.dataset import Sample
from inspect_ai.log import read_eval_log
from inspect_ai.model import ChatMessage, ModelAPI, ModelOutput, ModelUsage, get_model, modelapi
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver
from tests.integrations.inspect_ai.mock import Recorder, mock, run, said, samples_of

from palimpsest.integrations.inspect_registry import conjugated, outcome, rosetta

pytestmark = pytest.mark.slow  # quicker: test_in_short.py


def test_a_log_reads_back_with_raw_and_inverted_text(tmp_path: Path) -> None:
    log = run(rosetta(via="leet", n=1), mock(Recorder(lambda _: "17 15.")), tmp_path)
    read = read_eval_log(log.location)
    assert read.status == "success"
    assert read.eval.metadata is not None
    assert read.eval.metadata["palimpsest"]["suite"].startswith("rosetta")
    for sample in samples_of(read):
        assert sample.output.completion == "it is."
        assert sample.store["palimpsest"][0]["members"][0]["raw"] == ["17 15."]
        assert sample.scores is not None
        assert "Under leet the model said: `17 15.`" in (sample.scores["outcome"].explanation or "")


def test_samples_become_a_table(tmp_path: Path) -> None:
    run(rosetta(n=1), mock(Recorder(lambda _: "nothing of the kind")), tmp_path)
    samples = samples_df(str(tmp_path))
    assert sorted(samples["id"]) == sorted(str(sample.id) for sample in rosetta(n=1).dataset)
    assert set(samples["metadata_language"]) == {"en"}
    [value] = set(samples["score_outcome"])
    assert value == '{"right": 0, "intruded": 0, "broken": 1, "unparsed": 0}'
    [row] = evals_df(str(tmp_path)).to_dict("records")
    assert row["score_right_accuracy"] == 0.0
    assert row["score_broken_mean"] == 1.0


def test_a_log_can_be_scored_anew(tmp_path: Path) -> None:
    log = run(rosetta(via="upper", n=1), mock(), tmp_path)
    again = score(log, outcome(), action="overwrite", display="none")
    assert [sample.scores for sample in samples_of(again)] == [
        sample.scores for sample in samples_of(log)
    ]


@modelapi(name="echo")
class Echo(ModelAPI):
    """Says what it hears, also when it is built again from a log."""

    async def generate(self, input: list[ChatMessage], *_: Any) -> ModelOutput:
        output = said(input[-1].text)
        output.usage = ModelUsage()
        return output


@solver
def failing_once(marker: str) -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        if not Path(marker).exists():
            Path(marker).touch()
            raise RuntimeError("broke off")
        return await generate(state)

    return solve


@task
def breaking_off(marker: str) -> Task:
    inner = failing_once(marker)
    return Task(dataset=[Sample(input="Say it.", id="1")], solver=inner, scorer=outcome())


def test_a_run_that_broke_off_is_retried_with_the_same_conjugation(tmp_path: Path) -> None:
    [log] = eval(
        breaking_off(str(tmp_path / "marker")),
        model=get_model("conjugate/echo/model", via="leet"),
        log_dir=str(tmp_path / "logs"),
        display="none",
    )
    assert log.status == "error"
    [again] = eval_retry(log, log_dir=str(tmp_path / "logs"), display="none")
    assert again.status == "success"
    assert again.eval.model == log.eval.model == "conjugate/echo/model@leet"
    [sample] = samples_of(again)
    assert sample.output.metadata is not None
    assert sample.output.metadata["palimpsest"]["via"] == "leet"


def test_identity_gives_the_log_of_the_unwrapped_model(tmp_path: Path) -> None:
    def kept(name: str, wrapped: bool) -> object:
        model = mock(Recorder(str.upper), "identity" if wrapped else None)
        log = run(rosetta(n=1), model, tmp_path / name)
        dropped = {"uuid", "events", "started_at", "completed_at", "total_time", "working_time"}
        return [
            {
                "messages": [(each.role, each.content) for each in sample.messages],
                "output": sample.output.completion,
                "usage": sample.output.usage,
                "scores": sample.scores,
                **sample.model_dump(
                    exclude=dropped
                    | {"messages", "output", "model_usage", "role_usage", "scores", "input"}
                    | {"events_data", "timelines", "attachments"}
                ),
            }
            for sample in samples_of(log)
        ]

    assert kept("plain", wrapped=False) == kept("wrapped", wrapped=True)


@pytest.mark.parametrize("solved", [False, True])
def test_several_epochs_give_mean_shares(tmp_path: Path, solved: bool) -> None:
    example = rosetta(n=1).dataset[0]
    right = str(example.target[0])
    answers = iter([right, "nothing of the kind"])
    recorder = Recorder(lambda _: next(answers))
    way = conjugated("identity") if solved else generate()
    repeated = Task(dataset=[example], solver=way, scorer=outcome(), epochs=2)
    log = run(repeated, mock(recorder), tmp_path)
    assert log.results is not None
    shares = {each.name: next(iter(each.metrics.values())).value for each in log.results.scores}
    assert shares == {"right": 0.5, "intruded": 0.0, "broken": 0.5, "unparsed": 0.0}
