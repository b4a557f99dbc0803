"""How fast answers come: ours against transformers and lm-evaluation-harness.

Run it on an otherwise idle machine:

    python -m benchmarks.decoding             # everything; about five minutes on two cores
    python -m benchmarks.decoding --quick     # fewer prompts and rounds; the ratios are rough

The comparison with lm-evaluation-harness needs the extra ``lm-eval``.

Ours is the whole of ``evaluate``: conjugating, asking, inverting, scoring, and writing every
answer to SQLite. The peers only generate, on an even sample of the
same prompts where they are slow. Loading the weights is left out on all sides, and so is
the time in which the harness seeks its batch size. Rounds alternate; each figure is the median of
its rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import torch

from benchmarks.peers import HARNESS_BATCH, harness, one_at_a_time
from benchmarks.random_llama import SUITE_60M, save_random_llama
from palimpsest.judging import Question, RawAnswer, Settings, Via, default_vias, evaluate, parse_via
from palimpsest.lm.models import load_model
from palimpsest.lm.models.huggingface import HuggingFaceModel
from palimpsest.lm.suites import Suite, load_suite
from palimpsest.records import AnswerStore


class Timing(NamedTuple):
    """What one run gave."""

    seconds: float
    texts: list[str]


@dataclass(frozen=True)
class Workload:
    """A model with the questions that it is asked."""

    title: str
    model: HuggingFaceModel
    suite: Suite
    vias: list[Via]
    questions: list[Question]
    """Under every via, in the order of the rows of ``evaluate``."""
    stride: int
    """The peers, which take many times as long, are asked only every ``stride``-th question."""
    targets: dict[str, float]
    """The ratio that each peer is to be beaten by."""

    @property
    def sample(self) -> list[Question]:
        """What the peers are asked."""
        return self.questions[:: self.stride]

    @property
    def prompts(self) -> list[str]:
        """What is sent to the peers."""
        return [str(question.sent) for question in self.sample]


def workload(
    title: str,
    spec: str,
    suite: Suite,
    *,
    vias: Sequence[str] = (),
    stride: int = 1,
    targets: dict[str, float],
) -> Workload:
    """Take all questions of a suite, asked plainly and under ``vias``."""
    model = load_model(f"{spec},device=cpu")
    assert isinstance(model, HuggingFaceModel)
    ways = [parse_via(via, suite) for via in ("identity", *vias)]
    settings = Settings.of(suite)
    questions = [
        Question.of(model.fingerprint, suite, way, example, settings)
        for way in ways
        for example in suite.in_language(way.language or suite.source_language)
    ]
    return Workload(title, model, suite, ways, questions, stride, targets)


def ours(work: Workload, *, early: bool = True) -> Timing:
    """Ask as ``diagnose`` does; without ``early``, to the last token."""
    with tempfile.TemporaryDirectory() as folder:
        store = AnswerStore(Path(folder) / "answers.sqlite")
        settings = Settings(
            max_new_tokens=work.suite.max_new_tokens,
            stop=work.suite.stop,
            stop_when_decided=early,
        )
        started = time.perf_counter()
        rows = evaluate(
            work.model,
            work.suite,
            work.vias,
            store=store,
            role="base",
            settings=settings,
            whole="none",
        )
        seconds = time.perf_counter() - started
        store.close()
    return Timing(seconds, [row.raw for row in rows])


def timed(run: Callable[[], list[str]]) -> Timing:
    """Run a peer."""
    started = time.perf_counter()
    texts = run()
    return Timing(time.perf_counter() - started, texts)


def check_equal(work: Workload, ours: Sequence[str], theirs: Sequence[str], peer: str) -> None:
    """Assert that our text begins theirs and is scored alike, for every question.

    Raises:
        AssertionError: It does not, or is not.
    """
    for question, own, other in zip(work.sample, ours[:: work.stride], theirs, strict=True):
        place = f"{peer}, {question.key.source_id}: ours {own!r}, theirs {other!r}"
        assert other.startswith(own), f"Another text. {place}"
        assert outcome(question, own) == outcome(question, other), f"Another score. {place}"


def outcome(question: Question, text: str) -> str:
    """Return how a text is scored."""
    return question.row(RawAnswer(text, "length", 0.0), role="base").outcome


def compare(work: Workload, peers: dict[str, Callable[[], list[str]]], *, rounds: int) -> None:
    """Measure ours and every peer in turn, and print the ratios."""
    seconds: dict[str, list[float]] = {}
    ours(work)  # weights, threads and caches are warm from here on
    for _ in range(rounds):
        own, whole = ours(work), ours(work, early=False)
        seconds.setdefault("ours", []).append(own.seconds)
        seconds.setdefault("ours, every token", []).append(whole.seconds)
        for name, run in peers.items():
            peer = timed(run)
            seconds.setdefault(name, []).append(peer.seconds)
            check_equal(work, own.texts, peer.texts, name)
            check_equal(work, whole.texts, peer.texts, name)
    report(work, {name: statistics.median(times) for name, times in seconds.items()})


def report(work: Workload, seconds: dict[str, float]) -> None:
    """Print a line for each way of asking."""
    n, n_peer = len(work.questions), len(work.sample)
    print(f"\n{work.title}: {n} prompts, {work.suite.max_new_tokens} new tokens at most")
    if n_peer < n:
        print(f"(the peers, being slow, are asked {n_peer} of them, evenly chosen)")
    print(f"{'':42}{'ms/prompt':>10}{'ratio':>8}{'target':>8}")
    own = seconds["ours"] / n
    for name, total in seconds.items():
        each = total / (n if name.startswith("ours") else n_peer)
        line = f"  {name:40}{1000 * each:10.2f}"
        if not name.startswith("ours"):
            line += f"{each / own:8.1f}{work.targets[name]:8.1f}"
        print(line)


def faster_on(work: Workload, run: Callable[[Sequence[str]], object]) -> int:
    """Return the number of threads, one or all, with which a peer is faster on some prompts."""
    everything = torch.get_num_threads()
    taken = {}
    for n_threads in {1, everything}:
        torch.set_num_threads(n_threads)
        run(work.prompts[:2])
        started = time.perf_counter()
        run(work.prompts[:6])
        taken[n_threads] = time.perf_counter() - started
    torch.set_num_threads(everything)
    return min(taken, key=taken.__getitem__)


def with_threads(n_threads: int, run: Callable[[], list[str]]) -> Callable[[], list[str]]:
    """Let a peer use so many threads."""

    def limited() -> list[str]:
        everything = torch.get_num_threads()
        torch.set_num_threads(n_threads)
        try:
            return run()
        finally:
            torch.set_num_threads(everything)

    return limited


def peers_of(work: Workload) -> dict[str, Callable[[], list[str]]]:
    """Return the peers that are installed, each with its better number of threads."""
    network: Any = work.model.network
    limit = work.suite.max_new_tokens
    stop = work.suite.stop

    def paper(prompts: Sequence[str]) -> list[str]:
        return one_at_a_time(network, work.model.tokenizer, prompts, limit)

    n_paper = faster_on(work, paper)
    peers = {"transformers, one at a time": with_threads(n_paper, lambda: paper(work.prompts))}
    generate = harness(network, work.model.tokenizer)
    if generate is None:
        print("lm-evaluation-harness is not installed; see the head of benchmarks/decoding.py.")
    else:
        peers["lm-evaluation-harness"] = lambda: generate(work.prompts, limit, stop)
    return peers


def main() -> None:
    """Print all ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer prompts and rounds")
    parser.add_argument("--model", default="rosetta:tuned", help="in place of rosetta:tuned")
    options = parser.parse_args()
    quick = options.quick
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, load "
        f"{os.getloadavg()[0]:.1f} before the start; the harness has batches of {HARNESS_BATCH}"
    )
    rounds = 1 if quick else 3
    rosetta = load_suite("rosetta", limit=25 if quick else None)
    work = workload(
        f"{options.model}, everything that the demo asks it",
        options.model,
        rosetta,
        vias=default_vias(rosetta),
        stride=7,
        targets={"transformers, one at a time": 15.0, "lm-evaluation-harness": 1.5},
    )
    compare(work, peers_of(work), rounds=rounds)
    with tempfile.TemporaryDirectory() as folder:
        suite = load_suite(SUITE_60M, limit=4 if quick else 12)
        spec = save_random_llama(Path(folder), [str(e.prompt) for e in suite.examples])
        work = workload(
            "Random Llama, 58 million parameters",
            spec,
            suite,
            targets={"transformers, one at a time": 4.0, "lm-evaluation-harness": 1.5},
        )
        compare(work, peers_of(work), rounds=rounds)


if __name__ == "__main__":
    main()
