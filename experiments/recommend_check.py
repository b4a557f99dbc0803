"""Does a ranking without labels agree with the truth? What ``recommend_plan.md`` says, computed.

``python -m experiments.recommend_check rosetta|gemma --out DIR [--n N --seed SEED]`` asks both models,
keeps every answer and likelihood in DIR, and prints the tables. Gemma needs ``--models DIR``, as
``experiments/real`` has it.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palimpsest.judging import Settings, Via, evaluate, parse_via
from palimpsest.lm import Exchange
from palimpsest.lm.models import LanguageModel, load_model
from palimpsest.lm.suites import Suite, load_suite
from palimpsest.records import AnswerRow, AnswerStore

NATIVE = {"rosetta": ("fr", "es", "nl", "de"), "gemma": ("fr", "es", "nl", "de", "hu")}
REWRITTEN = {
    "rosetta": (
        "leet",
        "pig-latin",
        "leet-paper",
        "pig-latin-paper",
        "upper",
        "rot13",
        "base64",
        "reverse-words",
    ),
    "gemma": ("leet", "pig-latin", "upper", "reverse-words"),
}
TRANSLATED = ("translate:fr", "translate:es")


@dataclass(frozen=True)
class Pair:
    """What is asked of whom."""

    name: str
    base: str
    tuned: str
    suite: Suite
    vias: Sequence[Via]
    """Plain first."""


def pair_of(name: str, *, n: int, seed: int, models: Path | None, checkpoint: str) -> Pair:
    """Return a pair with its suite and conjugations."""
    if name == "rosetta":
        suite = load_suite(f"rosetta:n={n}" + (f",seed={seed}" if seed else ""))
        specs = {"base": "rosetta:base", "tuned": "rosetta:tuned"}
    else:
        assert models is not None
        suite = load_suite(f"icl-vs-if:n={n},seed={seed},languages=en+fr+es+nl+de+hu")
        specs = {
            "base": f"hf:{models}/models/gemma3,dtype=bfloat16",
            "tuned": f"hf:{models}/runs/{checkpoint},dtype=bfloat16",
        }
    translated = TRANSLATED if name == "rosetta" and shutil.which("apertium") else ()
    named = ["identity", *(f"native:{x}" for x in NATIVE[name]), *REWRITTEN[name], *translated]
    return Pair(name, specs["base"], specs["tuned"], suite, [parse_via(x, suite) for x in named])


def opening(text: str) -> str:
    """Return the first word of an answer, without punctuation behind it."""
    first = (text.split() or [""])[0]
    return re.sub(r"(?<=\w)[^\w\s]+$", "", first)


def likelihoods(
    model: LanguageModel, prompts: Sequence[str], openings: Sequence[Sequence[str]]
) -> list[list[float]]:
    """Return the log-probability of each opening after each prompt; none of an empty one."""
    asked = [[f" {each}" for each in row] for row in openings]
    found: list[list[float]] = []
    for start in range(0, len(prompts), 64):
        found += model.score(prompts[start : start + 64], asked[start : start + 64])
    return [
        [value if text else -math.inf for value, text in zip(values, row, strict=True)]
        for values, row in zip(found, openings, strict=True)
    ]


def collect(pair: Pair, out: Path) -> None:
    """Ask, and write ``data.json``: rows of prompts, one a source, with all that was found."""
    out.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        max_new_tokens=pair.suite.max_new_tokens, stop=pair.suite.stop, stop_when_decided=False
    )
    answers: dict[str, list[AnswerRow]] = {}
    with AnswerStore(out / "answers.sqlite") as store:
        for role in ("base", "tuned"):
            vias = pair.vias if role == "tuned" else [v for v in pair.vias if _native(v)]
            with closing(load_model(getattr(pair, role))) as model:
                answers[role] = evaluate(
                    model, pair.suite, vias, store=store, role=role, settings=settings, whole="none"
                )
    data = _Data(pair, answers)
    for role in ("base", "tuned"):
        path = out / f"likelihoods-{role}.json"
        if path.exists():
            continue
        found = {}
        with closing(load_model(getattr(pair, role))) as model:
            for via in pair.vias if role == "tuned" else [v for v in pair.vias if _native(v)]:
                rows = [data.sent(via, source) for source in data.sources]
                found[via.name] = likelihoods(model, rows, data.openings(via))
                print(role, via.name, flush=True)
        path.write_text(json.dumps(found))
    (out / "data.json").write_text(json.dumps(data.to_json()))


def _native(via: Via) -> bool:
    return via.native or via.name == "identity"


class _Data:
    """Answers by role, via and source."""

    def __init__(self, pair: Pair, answers: dict[str, list[AnswerRow]]) -> None:
        self.pair = pair
        self.rows = {
            (role, row.via, row.key.source_id): row for role, rows in answers.items() for row in rows
        }
        suite = pair.suite
        self.sources = [e.source_id for e in suite.in_language(suite.source_language)]

    def sent(self, via: Via, source: str) -> str:
        return self.rows["tuned", via.name, source].prompt

    def openings(self, via: Via) -> list[list[str]]:
        """Return, of each source, b_s, t_s and the tuned model's own opening there."""
        found = []
        for source in self.sources:
            raw = {
                role: row.raw
                for role in ("base", "tuned")
                if (row := self.rows.get((role, via.name, source))) is not None
            }
            b, t = (self.rows[role, "identity", source].raw for role in ("base", "tuned"))
            if via.name != "identity" and not via.native:
                apply = Exchange(via.conjugation).apply
                b, t = apply(b.strip()), apply(t.strip())
            elif via.native:
                b = raw["base"]
            found.append([opening(b), opening(t), opening(raw["tuned"])])
        return found

    def to_json(self) -> Any:
        """Return outcomes and openings."""
        return {
            "sources": self.sources,
            "cells": [self.rows["tuned", "identity", s].cell for s in self.sources],
            "native": {via.name: via.native for via in self.pair.vias},
            "outcomes": {
                f"{role} {via.name}": [self.rows[role, via.name, s].outcome for s in self.sources]
                for role in ("base", "tuned")
                for via in self.pair.vias
                if (role, via.name, self.sources[0]) in self.rows
            },
            "inverted": {
                via.name: [opening(self.rows["tuned", via.name, s].answer) for s in self.sources]
                for via in self.pair.vias
            },
            "openings": {via.name: self.openings(via) for via in self.pair.vias},
        }


def main() -> None:
    """Collect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pair", choices=("rosetta", "gemma"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--checkpoint", default="gemma-full-seed101/checkpoint-80")
    given = parser.parse_args()
    pair = pair_of(
        given.pair,
        n=given.n,
        seed=given.seed,
        models=given.models,
        checkpoint=given.checkpoint,
    )
    collect(pair, given.out)


if __name__ == "__main__":
    main()
