"""How many stored answers are judged anew in a second, scorer by scorer.

Run it on an otherwise idle machine:

    python -m benchmarks.scoring

Measured is what ``palimpsest rescore`` does with each stored answer but reading and writing it. The
peer, for numbers, is lm-evaluation-harness: its filter ``flexible-extract`` as GSM8K has it, and
its ``exact_match``; it needs the extra ``lm-eval``.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

from palimpsest.judging.rescoring import judge_anew
from palimpsest.lm import Exchange
from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.records import AnswerKey, AnswerRow

N_ANSWERS = 100_000
N_EXAMPLES = 1000
GOAL = 50_000
"""Answers a second."""

_SENTENCE = "so we add the boxes and find that there are many of them left on the table"


def rows(
    rng: random.Random, right: Callable[[int], str], said: Callable[[int], str]
) -> list[AnswerRow]:
    """Return answers to a thousand examples, of which about one in a thousand is right."""
    return [
        AnswerRow(
            key=AnswerKey("m", "en", str(n % N_EXAMPLES), "identity", "s"),
            role="base",
            via="identity",
            cell="c",
            language="en",
            prompt="p",
            raw=(text := said(rng.randrange(N_EXAMPLES))),
            answer=text,
            right_answers=json.dumps([right(n % N_EXAMPLES)]),
            intruding_answers="[]",
            outcome="broken",
            finish="stop",
            round_trip=True,
            latency_seconds=0.0,
        )
        for n in range(N_ANSWERS)
    ]


def workloads(rng: random.Random) -> dict[str, list[AnswerRow]]:
    """Return answers for every scorer that needs neither a model nor the user's code."""

    def sentence(n: int) -> str:
        return f"{' '.join(rng.choices(_SENTENCE.split(), k=12))}. The answer is {n:,}."

    def letter(n: int) -> str:
        return "ABCD"[n % 4]

    def call(n: int) -> str:
        return json.dumps({"name": "look", "arguments": {"at": n}})

    numbers = rows(rng, str, sentence)
    return {
        **dict.fromkeys(("prefix", "exact", "contains", "number"), numbers),
        "choice": rows(rng, letter, lambda n: f"The answer is ({letter(n)}) of course."),
        "regex": rows(rng, lambda n: rf"\b{n}\b", sentence),
        "json": rows(rng, lambda n: json.dumps({"at": n}), lambda n: json.dumps({"at": n})),
        "json:tool": rows(rng, call, call),
    }


def seconds_of_harness(answers: list[AnswerRow]) -> float:
    """Return what the harness takes to extract a number of each answer and to compare it."""
    from lm_eval.api.metrics import exact_match_hf_evaluate
    from lm_eval.filters.extraction import RegexFilter

    extract = RegexFilter(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", group_select=-1, fallback="[invalid]")
    started = time.perf_counter()
    found = extract.apply([[row.raw] for row in answers], [])
    for row, [number] in zip(answers, found, strict=True):
        exact_match_hf_evaluate([number], json.loads(row.right_answers), regexes_to_ignore=[","])
    return time.perf_counter() - started


def main() -> None:
    """Print a line for each scorer."""
    exchanges = {"identity": Exchange(parse_conjugation("identity"), ("\n\n",))}
    for name, answers in workloads(random.Random(0)).items():
        started = time.perf_counter()
        judge_anew(answers, exchanges, name)
        rate = len(answers) / (time.perf_counter() - started)
        print(f"{name:10} {rate:9,.0f} answers a second (goal {GOAL:,})")
        if name == "number":
            few = answers[:5000]
            peer = len(few) / seconds_of_harness(few)
            print(f"{'harness':10} {peer:9,.0f} answers a second, ratio {rate / peer:.1f}")


if __name__ == "__main__":
    main()
