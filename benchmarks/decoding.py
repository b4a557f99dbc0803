"""How fast answers come: ours against transformers and lm-evaluation-harness.

Run it on an otherwise idle machine:

    python -m benchmarks.decoding             # everything; about five minutes on two cores
    python -m benchmarks.decoding --quick     # fewer prompts and rounds; the ratios are rough
    python -m benchmarks.decoding --models DIR    # Gemma 3 270M and SmolLM2 in its place

``DIR`` is where ``python -m experiments.real.get_models DIR`` has put them.

The comparison with lm-evaluation-harness needs the extra ``lm-eval``.

Ours is the whole of ``evaluate``: conjugating, asking, inverting, scoring, and writing every
answer to SQLite. The peers only generate, on an even sample of the
same prompts where they are slow. Loading the weights is left out on all sides, and so is
the time in which the harness seeks its batch size. Rounds alternate; each figure is the median of
its rounds.

The roofline says what would be left to gain: how many operations the products with weights take
that ours computes (attention and all else aside), how many a second large products of float32
matrices reach in the same run on all cores, which share of that ours reaches, and what the ratio to
each peer would be at all of it.
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
from unittest import mock

os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import torch

from benchmarks.peers import HARNESS_BATCH, harness, one_at_a_time
from benchmarks.random_llama import SUITE_60M, save_random_llama
from palimpsest.judging import Question, RawAnswer, Settings, Via, default_vias, evaluate, parse_via
from palimpsest.lm.models import load_model
from palimpsest.lm.models.huggingface import HuggingFaceModel, decoding
from palimpsest.lm.suites import Suite, load_suite
from palimpsest.records import AnswerStore

ONE_BY_ONE, HARNESS = "transformers, one at a time", "lm-evaluation-harness"
REAL = {"gemma3": "Gemma 3, 270 million parameters", "smollm2": "SmolLM2, 135 million parameters"}
PEAK_WIDTH = 2048
"""Of the matrices whose product gives the peak."""


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
    """The peers, and the ratio that each is to be beaten by."""

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
    n_operations = operations(work)  # weights, threads and caches are warm from here on
    peaks = [peak()]
    for _ in range(rounds):
        own, whole = ours(work), ours(work, early=False)
        seconds.setdefault("ours", []).append(own.seconds)
        seconds.setdefault("ours, every token", []).append(whole.seconds)
        for name, run in peers.items():
            peer = timed(run)
            seconds.setdefault(name, []).append(peer.seconds)
            check_equal(work, own.texts, peer.texts, name)
            check_equal(work, whole.texts, peer.texts, name)
        peaks.append(peak())
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    report(work, medians)
    report_roofline(work, medians, n_operations, statistics.median(peaks))


def operations(work: Workload) -> float:
    """Ask once, and return how many operations the products with weights took."""
    network: Any = work.model.network
    n_embedding = int(network.get_input_embeddings().weight.numel())
    n_head = int(network.get_output_embeddings().weight.numel())
    tied = network.config.get_text_config().tie_word_embeddings
    n_blocks = int(network.num_parameters()) - n_embedding - (0 if tied else n_head)
    passes: list[tuple[int, int]] = []  # several threads append
    real = decoding.run

    def counting(model: Any, ids: torch.Tensor, arguments: Any, *rest: Any) -> torch.Tensor:
        passes.append((ids.numel(), len(ids) * arguments["logits_to_keep"]))
        return real(model, ids, arguments, *rest)

    with mock.patch.object(decoding, "run", counting):
        ours(work)
    return 2.0 * sum(n * n_blocks + n_logits * n_head for n, n_logits in passes)


def peak() -> float:
    """Return the operations a second of products of large float32 matrices, on all cores."""
    one, other = torch.randn(2, PEAK_WIDTH, PEAK_WIDTH)
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        torch.mm(one, other)
        taken.append(time.perf_counter() - started)
    return 2.0 * PEAK_WIDTH**3 / min(taken)


def report_roofline(
    work: Workload, seconds: dict[str, float], n_operations: float, most: float
) -> None:
    """Print which share of the peak ours reaches, and the ratios that all of it would give."""
    share = n_operations / seconds["ours"] / most
    bounds = ", ".join(
        f"{seconds[name] / len(work.sample) / (n_operations / most / len(work.questions)):.1f} "
        f"times {name}"
        for name in work.targets
        if name in seconds
    )
    print(
        f"  roofline: {n_operations / len(work.questions) / 1e9:.3f} GFLOP a prompt, peak "
        f"{most / 1e9:.0f} GFLOP/s, ours reaches {100 * share:.0f} % of it; all of it would be "
        f"{bounds or 'compared with nobody'}"
    )


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

    peers: dict[str, Callable[[], list[str]]] = {}
    if ONE_BY_ONE in work.targets:
        n_paper = faster_on(work, paper)
        peers[ONE_BY_ONE] = with_threads(n_paper, lambda: paper(work.prompts))
    generate = harness(network, work.model.tokenizer)
    if generate is None:
        print("lm-evaluation-harness is not installed; see the head of benchmarks/decoding.py.")
    else:
        peers[HARNESS] = lambda: generate(work.prompts, limit, stop)
    return peers


def compare_real(folder: Path, *, quick: bool, rounds: int) -> None:
    """Measure real models against the harness."""
    for name, title in REAL.items():
        path = folder / "models" / name
        if not path.exists():
            print(f"\n{title} is not in {folder}; see the head of benchmarks/decoding.py.")
            continue
        suite = load_suite(SUITE_60M, limit=4 if quick else 16)
        work = workload(title, f"hf:{path}", suite, targets={HARNESS: 2.5})
        compare(work, peers_of(work), rounds=rounds)


def main() -> None:
    """Print all ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer prompts and rounds")
    parser.add_argument("--model", default="rosetta:tuned", help="in place of rosetta:tuned")
    parser.add_argument(
        "--models", type=Path, metavar="DIR", help="ask the real models in DIR, and no others"
    )
    options = parser.parse_args()
    quick = options.quick
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, load "
        f"{os.getloadavg()[0]:.1f} before the start; the harness has batches of {HARNESS_BATCH}"
    )
    rounds = 1 if quick else 3
    if options.models is not None:
        compare_real(options.models, quick=quick, rounds=rounds)
        return
    rosetta = load_suite("rosetta", limit=25 if quick else None)
    work = workload(
        f"{options.model}, everything that the demo asks it",
        options.model,
        rosetta,
        vias=default_vias(rosetta),
        stride=7,
        targets={ONE_BY_ONE: 25.0, HARNESS: 3.5},
    )
    compare(work, peers_of(work), rounds=rounds)
    with tempfile.TemporaryDirectory() as folder:
        suite = load_suite(SUITE_60M, limit=4 if quick else 12)
        spec = save_random_llama(Path(folder), [str(e.prompt) for e in suite.examples])
        work = workload(
            "Random Llama, 58 million parameters",
            spec,
            suite,
            targets={ONE_BY_ONE: 10.0, HARNESS: 3.0},
        )
        compare(work, peers_of(work), rounds=rounds)


if __name__ == "__main__":
    main()
