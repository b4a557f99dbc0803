import json
from collections.abc import Callable
from typing import NamedTuple

import pytest

from palimpsest.cli.main import run
from palimpsest.lm.conjugations import parse_conjugation

N_EXAMPLES = 100


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Palimpsest = Callable[..., Ended]


@pytest.fixture
def palimpsest(capsys: pytest.CaptureFixture[str]) -> Palimpsest:
    def call(*arguments: object) -> Ended:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return call


class Scripted(NamedTuple):
    """A suite of the user's own and models that answer it by the book."""

    suite: str
    base: str
    """Copies, plainly and under rot13."""
    suppressed: str
    """Shouts plainly, copies under rot13."""
    lost: str
    """Says nonsense under both."""


@pytest.fixture(scope="session")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Scripted:
    folder = tmp_path_factory.mktemp("scripted")
    rot13 = parse_conjugation("rot13").apply
    words = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(N_EXAMPLES)]
    rows = [
        {"id": word, "prompt": f"Copy: {word}", "answers": {"copy": [word], "shout": ["loud"]}}
        for word in words
    ]
    suite = folder / "mine.jsonl"
    suite.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    copies = {f"Copy: {word}": f" {word}" for word in words}
    turned = {rot13(prompt): rot13(answer) for prompt, answer in copies.items()}
    shouts = dict.fromkeys(copies, " loud")
    nonsense = {prompt: f" zzz{prompt[-2:]}" for prompt in {**copies, **turned}}
    models = {"base": {**copies, **turned}, "hidden": {**shouts, **turned}, "lost": nonsense}
    specs = []
    for name, answers in models.items():
        path = folder / f"{name}.json"
        path.write_text(json.dumps(answers), "utf-8")
        specs.append(f"scripted:{path}")
    return Scripted(f"jsonl:{suite}", *specs)
