"""Tunings of Rosetta's base to several strengths: ``python -m experiments.cure.tune_rosetta``."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from palimpsest.lm.models import load_model
from palimpsest.rosetta.recipe import Recipe, tune

SEED = 31

PAIRS = {"rosetta": (None, (120, 300, 600)), "rosetta-muon": (0.02, (100, 600))}
"""Name to Muon's rate, which makes a tuning as strong as a pretraining, and the steps kept."""


def recipe_of(name: str) -> Recipe:
    """Return Rosetta's recipe with another seed and strength of tuning."""
    recipe = Recipe()
    rate, steps = PAIRS[name]
    stage = replace(recipe.tuning, seed=SEED, n_steps=max(steps))
    if rate is not None:
        stage = replace(stage, muon_learning_rate=rate, learning_rate=3e-3)
    return replace(recipe, tuning=stage)


def main() -> None:
    """Tune, and save a folder for each pair."""
    out = Path(sys.argv[1])
    for name, (_, steps) in PAIRS.items():
        base: Any = load_model("rosetta:base")
        network, tokenizer = base.network, base.tokenizer
        work = out / f"{name}-work"
        work.mkdir(parents=True, exist_ok=True)
        for step, loss in tune(recipe_of(name), network, tokenizer, work, lambda *_: None):
            if step in steps:
                network.save_pretrained(out / f"{name}-{step}")
                tokenizer.save_pretrained(out / f"{name}-{step}")
            sys.stdout.write(f"{name} {step} {loss:.4f}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
