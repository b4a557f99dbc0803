"""What is saved where prompts begin alike: tokens computed, and the processor's time.

    python -m benchmarks.prefixes             # some minutes of one core
    python -m benchmarks.prefixes --quick     # fewer prompts, once

Each suite is asked twice in turn: with every prompt read whole, and with what several prompts of a
batch begin with read once. The model's own work is measured, on one core: tokenising, reading,
decoding or scoring; no conjugating, judging or storing. Equal answers are asserted, and scores to
1e-3. ``icl-vs-if`` is asked in every way that it has; each of its prompts draws demonstrations of
its own. The few-shot tasks are those of ``benchmarks.lm_eval_tasks`` with five examples in front
(``sampler: first_n``, as MMLU and its like have it): answers of up to 32 tokens, choices of several
words, letters of choices, and one text a prompt (the right choice alone).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from benchmarks.random_llama import SUITE_60M, save_random_llama
from palimpsest.judging import Question, default_vias, parse_via, settings_for
from palimpsest.lm.models import load_model
from palimpsest.lm.models.huggingface import HuggingFaceModel, decoding, likelihood
from palimpsest.lm.suites import Example, Suite, load_suite

N_SHOTS = 5
TOLERANCE = 1e-3
"""Of a sum of natural-log probabilities in float32."""

Ask = Callable[[HuggingFaceModel], list[object]]


class Cost(NamedTuple):
    """What one run took."""

    n_tokens: int
    """Positions that the network computed, padding included."""

    seconds: float
    """Of the processor."""

    found: list[object]
    """Answers, or scores."""


def measured(model: HuggingFaceModel, ask: Ask, *, share: bool) -> Cost:
    """Ask once."""
    n_tokens = 0
    real = decoding.run

    def counting(network: Any, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        nonlocal n_tokens
        n_tokens += ids.numel()
        return real(network, ids, *rest)

    model.shares_prefixes = share
    with (
        mock.patch.object(decoding, "run", counting),
        mock.patch.object(likelihood, "run", counting),
    ):
        started = time.process_time()
        found = ask(model)
        return Cost(n_tokens, time.process_time() - started, found)


def generated(prompts: Sequence[str], suite: Suite) -> Ask:
    """Return what lets a model answer."""

    def ask(model: HuggingFaceModel) -> list[object]:
        found = dict(model.generate(prompts, max_new_tokens=suite.max_new_tokens, stop=suite.stop))
        return [found[at].text for at in range(len(prompts))]

    return ask


def scored(prompts: Sequence[str], choices: Sequence[Sequence[str]]) -> Ask:
    """Return what lets a model score continuations."""

    def ask(model: HuggingFaceModel) -> list[object]:
        return [score for row in model.score(prompts, choices) for score in row]

    return ask


def compare(model: HuggingFaceModel, title: str, n: int, ask: Ask, *, rounds: int) -> None:
    """Measure both ways in turn, assert that they find the same, and print what is saved."""
    costs: dict[bool, list[Cost]] = {False: [], True: []}
    for _ in range(rounds):
        for share, own in costs.items():
            own.append(measured(model, ask, share=share))
    for whole, shared in zip(*costs.values(), strict=True):
        assert all(map(is_equal, whole.found, shared.found)), f"{title}: something else was found"
    tokens = [costs[share][0].n_tokens / n for share in (False, True)]
    times = [
        1000 * statistics.median(cost.seconds for cost in costs[share]) / n
        for share in (False, True)
    ]
    print(
        f"  {title:26}{n:8}{tokens[0]:10.0f}{tokens[1]:8.0f}{tokens[0] / tokens[1]:8.2f}"
        f"{times[0]:10.1f}{times[1]:9.1f}{times[0] / times[1]:8.2f}"
    )


def is_equal(one: object, other: object) -> bool:
    """Return whether two answers or scores are the same."""
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= TOLERANCE
    return one == other


def few_shot(examples: Sequence[Example]) -> tuple[list[str], list[str], list[list[str]]]:
    """Return prompts with examples in front, prompts with listed choices, and the choices."""
    shown, asked = examples[:N_SHOTS], examples[N_SHOTS:]
    queries = [str(each.prompt).rpartition("Input: ")[2].partition("\n")[0] for each in examples]
    head = "".join(f"{each.prompt} {each.right[0]}\n\n" for each in shown)
    choices = [
        [f" {queries[(n + 7 * k) % len(queries)]}" for k in range(4)] for n in range(len(asked))
    ]
    prompts = [f"{head}{each.prompt}" for each in asked]
    listed = [
        f"{prompt}\n" + "\n".join(f"{a}.{text}" for a, text in zip("ABCD", row, strict=True))
        + "\nAnswer:"
        for prompt, row in zip(prompts, choices, strict=True)
    ]  # fmt: skip
    return prompts, listed, choices


def asked(model: HuggingFaceModel, suite: Suite) -> tuple[int, Ask]:
    """Return all questions of a suite, in every way that it has."""
    settings = settings_for(suite, [model])
    prompts = [
        str(Question.of(model.fingerprint, suite, via, example, settings).sent)
        for via in (parse_via(name, suite) for name in ("identity", *default_vias(suite)))
        for example in suite.in_language(via.language or suite.source_language)
    ]
    return len(prompts), generated(prompts, suite)


def few_shot_tasks(suite: Suite) -> dict[str, tuple[int, Ask]]:
    """Return what is asked behind examples."""
    prompts, listed, choices = few_shot(suite.in_language(suite.source_language))
    n = len(prompts)
    return {
        "few-shot, answers": (n, generated(prompts, suite)),
        "few-shot, choices": (n, scored(prompts, choices)),
        "few-shot, letters": (n, scored(listed, [list("ABCD")] * n)),
        "few-shot, one text": (n, scored(prompts, [row[:1] for row in choices])),
    }


def compare_all(
    title: str, model: HuggingFaceModel, asks: dict[str, tuple[int, Ask]], *, rounds: int
) -> None:
    """Print a line for each of the things that a model is asked."""
    model.score(["x"], [["y"]])  # loads the weights
    list(model.generate(["x"], max_new_tokens=1))
    print(f"\n{title}\n{'':28}{'prompts':>8}{'tokens':>10}{'shared':>8}{'ratio':>8}"
          f"{'ms':>10}{'shared':>9}{'ratio':>8}")  # fmt: skip
    for name, (n, ask) in asks.items():
        compare(model, name, n, ask, rounds=rounds)


def main() -> None:
    """Print what is saved."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer prompts, once")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    rounds = 1 if quick else 3
    model = load_model("rosetta:tuned,device=cpu")
    assert isinstance(model, HuggingFaceModel)
    n = 10 if quick else 50
    suites = {name: load_suite(f"{name}:n={n}") for name in ("rosetta", "icl-vs-if")}
    asks = {name: asked(model, suite) for name, suite in suites.items()}
    compare_all("Rosetta, tuned", model, asks, rounds=rounds)
    with tempfile.TemporaryDirectory() as name:
        suite = load_suite(SUITE_60M, limit=6 if quick else 12)
        texts = [str(each.prompt) for each in suite.examples]
        # Five examples before a prompt take more than the 512 tokens of the other benchmarks.
        spec = save_random_llama(Path(name), texts, n_context=2048)
        model = load_model(f"{spec},device=cpu")
        assert isinstance(model, HuggingFaceModel)
        title = "Random Llama, 58 million parameters"
        compare_all(title, model, few_shot_tasks(suite), rounds=rounds)


if __name__ == "__main__":
    main()
