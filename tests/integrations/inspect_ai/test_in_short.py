"""A conjugated evaluation and its log, in a second; the other files have the rest."""

from pathlib import Path

import pytest

from palimpsest.integrations.logs import read_run


@pytest.mark.slow
def test_an_evaluation_is_conjugated_and_its_log_has_both_texts_and_can_be_read(
    tmp_path: Path,
) -> None:
    # Imported by the process that runs this test alone: Inspect takes seconds to load.
    from inspect_ai import Task
    from inspect_ai.dataset import Sample
    from inspect_ai.scorer import includes
    from tests.integrations.inspect_ai.mock import Recorder, mock, run, samples_of

    recorder = Recorder()
    task = Task(dataset=[Sample(input="Say it.", target="Say it.")], scorer=includes())
    log = run(task, mock(recorder, "leet"), tmp_path)
    [sample] = samples_of(log)
    assert recorder.texts == [["S4y 17."]]
    assert sample.output.completion == "Say it."
    assert sample.output.metadata is not None
    assert sample.output.metadata["palimpsest"]["members"][0]["raw"] == ["S4y 17."]
    assert log.eval.model == "conjugate/mockllm/model@leet"
    [logged] = read_run(Path(log.location)).tasks
    assert [item.first.score for item in logged.items.values()] == [1.0]
