"""Tasks of the harness on our own sentences, and models to put to them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.models import ROSETTA_WEIGHTS
from palimpsest.lm.suites import load_suite
from palimpsest.lm.suites.suite import Example

N_EACH = 4
"""Prompts of each of the four cells of the suite ``rosetta``."""

SHOTS = ["Cows eat green grass in the village.", "Tailors measure wide sleeves at the market."]
QUERIES = ["Boys throw blue balls in summer.", "What is 5 plus 7?", "_____ drink cold milk."]

TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

Results = dict[str, Any]


@pytest.fixture(scope="session")
def examples() -> Sequence[Example]:
    return load_suite(f"rosetta:n={N_EACH}").in_language("en")


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory: pytest.TempPathFactory, examples: Sequence[Example]) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    prompts = [
        {"prompt": each.prompt, "choices": [each.intruding[0], each.right[0]], "label": 1}
        for each in examples
    ]
    rows = {"prompts": prompts, "shots": [{"text": text} for text in SHOTS]}
    rows["queries"] = [{"text": text} for text in QUERIES]
    for name, data in rows.items():
        (folder / f"{name}.json").write_text(json.dumps(data), "utf-8")
    for path in (Path(__file__).parent / "tasks").glob("*.yaml"):
        (folder / path.name).write_text(
            path.read_text("utf-8").replace("DATA", str(folder)), "utf-8"
        )
    return folder


@pytest.fixture(scope="session")
def evaluate(task_folder: Path) -> Iterator[Callable[..., Results]]:
    """Return what runs tasks as ``lm_eval.simple_evaluate`` does."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(task_folder), include_defaults=False)

    def run(model: LM, *tasks: str, **options: Any) -> Results:
        results = lm_eval.simple_evaluate(
            model=model, tasks=list(tasks), task_manager=manager, bootstrap_iters=0, **options
        )
        assert results is not None
        return dict(results)

    with pytest.MonkeyPatch.context() as patch:
        # Asks a dozen programs about the machine, which takes longer than our tests.
        patch.setattr("lm_eval.evaluator.add_env_info", lambda _: None)
        patch.setattr("datasets.config.HF_UPDATE_DOWNLOAD_COUNTS", False)  # over the network
        yield run


@pytest.fixture(scope="session")
def tuned() -> LM:
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=str(ROSETTA_WEIGHTS / "tuned"), device="cpu", batch_size=8)
    model.tokenizer.chat_template = TEMPLATE
    return model


class Twin(TextConjugation):
    """Changes nothing, and yet goes all the way of a conjugation that does."""

    name = "twin"
    exact = True

    def apply(self, prompt: str) -> str:
        return prompt

    def invert(self, answer: str) -> str:
        return answer


class Recorder(LM):  # type: ignore[misc]  # the harness is untyped
    """Answers by a rule, hands each answer to the cache, and keeps what it was asked."""

    def __init__(
        self,
        *,
        say: Callable[[str], str] = lambda context: " yes",
        score: Callable[[str, str], float] = lambda context, continuation: -len(continuation),
    ) -> None:
        super().__init__()
        self.asked: list[Instance] = []
        self._say, self._score = say, score

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        return [self._answer(each, (self._score(*each.args), False)) for each in requests]

    def loglikelihood_rolling(self, requests: Sequence[Instance]) -> list[float]:
        return [self._answer(each, -1.0) for each in requests]

    def generate_until(self, requests: Sequence[Instance]) -> list[str]:
        return [self._answer(each, self._say(each.args[0])) for each in requests]

    def _answer(self, request: Instance, answer: Any) -> Any:
        self.asked.append(request)
        self.cache_hook.add_partial(request.request_type, request.args, answer)
        return answer

    @property
    def tokenizer_name(self) -> str:
        return "recorder"

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        turns = "".join(f"<|{turn['role']}|>{turn['content']}" for turn in chat_history)
        return turns + ("<|assistant|>" if add_generation_prompt else "")


def scoring(*pairs: tuple[str, str]) -> list[Instance]:
    return [Instance("loglikelihood", {}, pair, 0, ("a task", 0, 1)) for pair in pairs]


def generating(context: Any, **options: Any) -> Instance:
    return Instance("generate_until", {}, (context, options), 0, ("a task", 0, 1))


@pytest.fixture
def harness_log(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let ``caplog`` hear the harness, which keeps its log to itself."""
    logger = logging.getLogger("lm_eval")
    level, propagate = logger.level, logger.propagate
    logger.propagate = True
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(level)
    logger.propagate = propagate
