"""Asks models by vLLM in an environment that has it, and little else: ``… FOLDER``.

``FOLDER/asked.json`` says what; what comes of it is in ``FOLDER/found.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from palimpsest.lm.models import Sampling, can_score, load_model
from palimpsest.lm.prompts import Message, Prompt

CHOICES = [" red", " 12 and more", ""]
DRAWN = [Sampling(1.5), Sampling(1.5), Sampling(1.5, number=2), Sampling(1e-4)]
"""Answers are drawn in each of these ways."""
WAYS: dict[str, dict[str, Any]] = {
    "to the line's end": {"stop": ["\n"]},
    "until decided": {"decided": lambda _, text: len(text) > 6},
}


def prompts_of(values: list[Any]) -> list[Prompt]:
    """Return prompts from JSON, in which messages are lists of roles and contents."""
    return [
        value if isinstance(value, str) else tuple(Message(*each) for each in value)
        for value in values
    ]


def answers(model: Any, prompts: list[Prompt]) -> dict[str, list[Any]]:
    """Return all answers by the way of asking, without times."""
    return {
        name: [
            list(answer._replace(latency_seconds=0))
            for _, answer in sorted(model.generate(prompts, max_new_tokens=12, **how))
        ]
        for name, how in WAYS.items()
    }


def likelihoods(model: Any, prompts: list[Prompt]) -> dict[str, Any]:
    """Return what a model says of choices and of next tokens."""
    choices = [CHOICES] * len(prompts)
    return {
        "scores": model.score(prompts, choices),
        "likelihoods": [list(map(list, row)) for row in model.likelihoods(prompts, choices)],
        "next": [
            [token.tokens for token in row]
            for row in model.next_tokens(prompts[:20], [()] * 20, n=5)
        ],
    }


def samples(model: Any, prompts: list[Prompt], how: Sampling) -> list[str]:
    """Return what is drawn of the answers."""
    with model.sampling(how):
        told = dict(model.generate(prompts, max_new_tokens=12, stop=["\n"]))
    return [told[index].text for index in range(len(prompts))]


def main(folder: Path) -> None:
    """Ask all models, a base and its adapter by one engine."""
    asked = json.loads((folder / "asked.json").read_text("utf-8"))
    prompts = prompts_of(asked["prompts"])
    models = {name: load_model(spec) for name, spec in asked["specs"].items()}
    found: dict[str, Any] = {"fingerprints": [each.fingerprint for each in models.values()]}
    for name in ("base", "adapted"):
        found[name] = answers(models[name], prompts)
    found["adapted scores"] = can_score(models["adapted"])
    for name in ("base", "adapted"):
        models[name].close()
    found["member"] = answers(models["member"], prompts)
    models["member"].close()
    found |= likelihoods(models["tuned"], prompts[-81:])
    found["samples"] = [samples(models["tuned"], prompts[-41:-1], how) for how in DRAWN]
    found["facts"] = dict(models["tuned"].describe())
    models["tuned"].close()
    (folder / "found.json").write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
