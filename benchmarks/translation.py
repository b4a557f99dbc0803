"""How fast Apertium answers: programs that stay against one process a sentence.

Run it on an otherwise idle machine, with Apertium and the pair eng-spa installed:

    python -m benchmarks.translation             # about a minute on two cores
    python -m benchmarks.translation --quick     # fewer sentences and rounds; the ratio is rough

Ours is the translator as ``translate:es`` uses it: nothing is taken from a cache, and each sentence
is asked once a round. The peer is the command ``apertium``, started for each sentence of an even
sample. Its programs work side by side within a sentence, so one sentence at a time keeps both cores
busy. Before a ratio is printed, the answers of both are checked to be the same. Starting our
programs, half a second once, is left out. Rounds alternate; each figure is their median.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from typing import NamedTuple

from palimpsest.lm.suites import BUILT_IN, read_sentences
from palimpsest.lm.translators import Apertium

MODE, SOURCE, TARGET = "eng-spa", "en", "es"
GOAL_RATE, GOAL_RATIO = 300.0, 15.0


class Timing(NamedTuple):
    """What one round gave."""

    seconds: float
    answers: list[str]


def ours(translator: Apertium, texts: list[str]) -> Timing:
    """Translate all texts by the programs that stay."""
    started = time.perf_counter()
    answers = translator.translate(texts, SOURCE, TARGET)
    return Timing(time.perf_counter() - started, answers)


def one_process_each(texts: list[str]) -> Timing:
    """Translate every text by a command of its own."""
    started = time.perf_counter()
    answers = [
        subprocess.run(
            ["apertium", "-u", MODE], input=text, capture_output=True, text=True, check=True
        ).stdout.removesuffix("\n")
        for text in texts
    ]
    return Timing(time.perf_counter() - started, answers)


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description="Translation: rate, and ratio to its peer.")
    parser.add_argument("--quick", action="store_true", help="fewer sentences and rounds")
    quick = parser.parse_args().quick
    texts = list(read_sentences(BUILT_IN, [SOURCE]).lines[SOURCE])[: 200 if quick else None]
    stride = 20 if quick else 10
    sample = texts[::stride]
    translator = Apertium()
    translator.translate(texts[:50], SOURCE, TARGET)
    own: list[float] = []
    peer: list[float] = []
    for _ in range(2 if quick else 5):
        timing, other = ours(translator, texts), one_process_each(sample)
        assert timing.answers[::stride] == other.answers, "The answers differ."
        own.append(timing.seconds / len(texts))
        peer.append(other.seconds / len(sample))
    translator.close()
    rate, ratio = 1 / statistics.median(own), statistics.median(peer) / statistics.median(own)
    print(f"\nApertium, {SOURCE}→{TARGET}: {len(texts)} sentences, the peer asked {len(sample)}")
    print(f"{'':34}{'sentences/s':>12}{'goal':>8}")
    print(f"  {'ours, programs that stay':32}{rate:12.0f}{GOAL_RATE:8.0f}")
    print(f"  {'apertium, a process a sentence':32}{1 / statistics.median(peer):12.1f}")
    print(f"  {'ratio':32}{ratio:12.1f}{GOAL_RATIO:8.0f}")


if __name__ == "__main__":
    main()
