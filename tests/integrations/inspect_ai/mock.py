"""Inspect's mock model, which keeps what it is sent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from inspect_ai import Task, eval
from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    Model,
    ModelOutput,
    ModelUsage,
    get_model,
)
from inspect_ai.tool import ToolChoice, ToolInfo


class Recorder:
    """Answers the last message by rule.

    Args:
        answer: Gives the model's own text, or a whole output.
    """

    def __init__(self, answer: Callable[[str], str | ModelOutput] = str) -> None:
        self._answer = answer
        self.inputs: list[list[ChatMessage]] = []
        self.configs: list[GenerateConfig] = []

    def __call__(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        self.inputs.append(input)
        self.configs.append(config)
        answer = self._answer(input[-1].text)
        output = answer if isinstance(answer, ModelOutput) else said(answer)
        # Else the mock model counts tokens, for which it fetches an encoding from the network.
        output.usage = output.usage or ModelUsage()
        return output

    @property
    def texts(self) -> list[list[str]]:
        """What it was sent, each time."""
        return [[message.text for message in messages] for messages in self.inputs]


def said(*texts: str) -> ModelOutput:
    """Return an output with one choice for each text."""
    outputs = [ModelOutput.from_content("mockllm/model", text) for text in texts]
    return ModelOutput(model="mockllm/model", choices=[output.choices[0] for output in outputs])


def mock(recorder: Recorder | None = None, via: str | None = None, **args: Any) -> Model:
    """Return the mock model, conjugated or not."""
    name = "mockllm/model" if via is None else "conjugate/mockllm/model"
    given = args if via is None else {"via": via, **args}
    return get_model(name, custom_outputs=recorder or Recorder(), memoize=False, **given)


def run(task: Task | str, model: Model | str, logs: Path, **options: Any) -> EvalLog:
    """Evaluate a task and return its log, which must be a success."""
    [log] = eval(task, model=model, log_dir=str(logs), display="none", **options)
    assert log.status == "success", log.error
    return log


def samples_of(log: EvalLog) -> list[EvalSample]:
    assert log.samples
    return log.samples
