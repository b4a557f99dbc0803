"""The package in ``examples/plugin``, installed as a user would, is found and used."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from palimpsest.cli.main import run

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "examples" / "plugin"
CODE = ("french_labels", "last_number", "clip", "yes_or_no")
"""Files with examples."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The plugin installed into a folder of its own."""
    folder = tmp_path_factory.mktemp("plugin")
    # A build writes beside the sources; they are to stay as they are.
    shutil.copytree(SOURCES, folder / "sources", ignore=shutil.ignore_patterns("__pycache__"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    installed = folder / "installed"
    subprocess.run(
        [*install, *offline, "--target", str(installed), str(folder / "sources")],
        check=True,
        timeout=120,
    )
    return str(installed)


@pytest.fixture
def environment(installed: str) -> dict[str, str]:
    """Variables under which a new Python finds the plugin."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([installed, *sys.path])}


@pytest.fixture
def palimpsest(
    installed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """The command, as if it had been started with the plugin; it returns what was printed."""
    monkeypatch.syspath_prepend(installed)

    def call(*words: str) -> str:
        assert run([*words]) == 0
        return capsys.readouterr().out

    return call


def _run(environment: dict[str, str], *command: str) -> str:
    """Run a module of Python from the repository; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_shows_its_entry_points() -> None:
    page = (ROOT / "docs" / "adding" / "plugin.md").read_text("utf-8")
    [shown] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert shown in (SOURCES / "pyproject.toml").read_text("utf-8")


def test_each_thing_that_it_adds_is_one_file_and_one_registration() -> None:
    project = tomllib.loads((SOURCES / "pyproject.toml").read_text("utf-8"))["project"]
    modules = [
        target.partition(":")[0]
        for group in project["entry-points"].values()
        for target in group.values()
    ]
    files = {path.stem for path in (SOURCES / "palimpsest_example").glob("*.py")} - {"__init__"}
    assert sorted(modules) == sorted(f"palimpsest_example.{name}" for name in files)
    for name in files:
        code = (SOURCES / "palimpsest_example" / f"{name}.py").read_text("utf-8")
        assert "palimpsest_example" not in code, f"{name}.py stands on another file"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("suites", "Repeat a sum"),
        ("conjugations", "French labels"),
        ("scorers", "The last number"),
        ("forms", "Yes or no at the beginning"),
        ("members", "The change with its largest numbers cut off"),
        ("log-formats", "Lists of passed and failed questions"),
    ],
)
def test_what_it_adds_is_listed_with_its_description(
    palimpsest: Callable[..., str], kind: str, said: str
) -> None:
    assert said in palimpsest("list", kind)


@pytest.mark.slow
def test_a_pair_is_diagnosed_by_its_suite_under_its_conjugation(
    environment: dict[str, str], tmp_path: Path
) -> None:
    command = ["palimpsest", "diagnose", "rosetta:base", "rosetta:tuned", "--json"]
    asked = ["--suite", "echo:n=30", "--via", "french-labels", "--via", "french-labels|leet"]
    results = json.loads(_run(environment, *command, *asked, "--out", str(tmp_path / "run")))
    assert results["plain"]["base"]["accuracy"] > 0.8
    assert results["plain"]["tuned"]["accuracy"] < 0.2
    labels, both = results["conjugations"]
    assert (labels["name"], labels["exact"], labels["base"]["n"]) == ("french-labels", True, 30)
    assert both["name"] == "french-labels|leet"
    # What the page says of them: labels alone bring nothing back.
    assert labels["tuned"]["accuracy"] < 0.3
    assert both["tuned"]["accuracy"] > 0.8


@pytest.mark.slow
def test_logs_in_its_format_are_compared(palimpsest: Callable[..., str], tmp_path: Path) -> None:
    for role, n_passed in (("base", 40), ("tuned", 10)):
        lines = [f"sum-{i} {'PASS' if i < n_passed else 'FAIL'}" for i in range(40)]
        (tmp_path / role).mkdir()
        (tmp_path / role / "sums.passfail").write_text("\n".join(lines), "utf-8")
    logs = [str(tmp_path / role / "sums.passfail") for role in ("base", "tuned")]
    results = json.loads(palimpsest("compare", *logs, "--json", "--out", str(tmp_path / "run")))
    assert (results["plain"]["base"]["accuracy"], results["plain"]["n_lost"]) == (1.0, 30)
    assert results["suite"]["description"] == (
        "Logs of a list of passed questions, scored by passed."
    )


@pytest.mark.slow
def test_a_suite_may_name_its_scorer(palimpsest: Callable[..., str], tmp_path: Path) -> None:
    question = "What is 5 plus 7?"
    row = {"id": "1", "prompt": question, "answers": {"sum": [12], "last": [7]}}
    suite, model = tmp_path / "sums.jsonl", tmp_path / "model.json"
    suite.write_text(json.dumps({**row, "scorer": "last-number"}), "utf-8")
    model.write_text(json.dumps({question: " 7 and 5 are 12."}), "utf-8")
    asked = ["--suite", f"jsonl:{suite}", "--via", "leet", "--out", str(tmp_path / "run")]
    pair = [f"scripted:{model}"] * 2
    results = json.loads(palimpsest("diagnose", *pair, *asked, "--json"))
    assert results["plain"]["base"]["accuracy"] == 1.0


@pytest.mark.slow
def test_a_row_may_state_its_form(palimpsest: Callable[..., str], tmp_path: Path) -> None:
    row = {"id": "1", "prompt": "Repeat. Input: Is it?\nOutput:"}
    answers = {"repeat": ["Is it?"], "answer": {"form": "yes-or-no"}}
    suite, model = tmp_path / "asked.jsonl", tmp_path / "model.json"
    suite.write_text(json.dumps({**row, "answers": answers}), "utf-8")
    model.write_text(json.dumps({row["prompt"]: " No, it is not."}), "utf-8")
    asked = ["--suite", f"jsonl:{suite},max_new_tokens=20", "--via", "leet"]
    pair = [f"scripted:{model}"] * 2
    out = ["--out", str(tmp_path / "run"), "--json"]
    results = json.loads(palimpsest("diagnose", *pair, *asked, *out))
    assert (results["plain"]["base"]["intruded"], results["plain"]["base"]["attempted"]) == (1, 1)


@pytest.mark.slow
def test_the_examples_in_its_code_are_true(environment: dict[str, str]) -> None:
    files = [SOURCES / "palimpsest_example" / f"{n}.py" for n in CODE]
    _run(environment, "doctest", *map(str, files))


@pytest.mark.slow
def test_the_laws_hold_for_it(environment: dict[str, str]) -> None:
    names = "french-labels or last-number or yes-or-no"
    tests = ["tests/laws", "-k", names, "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    assert " passed" in _run(environment, "pytest", "--rootdir", str(ROOT), *tests)


@pytest.mark.slow
def test_the_laws_of_members_hold_for_it(environment: dict[str, str]) -> None:
    options = ["-k", "clip", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    laws = "tests/families/test_laws.py"
    assert " passed" in _run(environment, "pytest", "--rootdir", str(ROOT), laws, *options)


@pytest.mark.slow
def test_its_member_is_asked_as_the_page_says(environment: dict[str, str], tmp_path: Path) -> None:
    page = (ROOT / "docs" / "adding" / "member.md").read_text("utf-8")
    *_, shown = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    script = tmp_path / "shown.py"
    asking = "    print([text for _, (text, *_) in model.generate(['A'], max_new_tokens=1)])\n"
    script.write_text(shown + asking, "utf-8")
    command = [sys.executable, str(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_the_page_on_members_shows_its_member() -> None:
    page = (ROOT / "docs" / "adding" / "member.md").read_text("utf-8")
    shown, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert shown == (SOURCES / "palimpsest_example" / "clip.py").read_text("utf-8")


@pytest.mark.slow
def test_the_laws_of_distributions_hold_for_it(environment: dict[str, str]) -> None:
    laws = "tests/lab/problem/test_distribution_laws.py"
    options = ["-k", "corners", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    assert " passed" in _run(environment, "pytest", "--rootdir", str(ROOT), laws, *options)
    _run(environment, "doctest", str(SOURCES / "palimpsest_example" / "corners.py"))


TRAINED_ON_CORNERS = """
from palimpsest.lab.predictors.transformer import TransformerConfig
from palimpsest.lab.problem.problem import Problem
from palimpsest.lab.training.loop import Running, Training
from palimpsest.lab.training.train import pretrain

sizes = TransformerConfig(n_dims=2, n_points=5, width=8, n_layers=1, n_heads=2)
running = Running(on_progress=lambda progress: print(progress.excess), device="cpu")
training = Training(n_steps=2, batch_size=4)
pretrain(Problem(2, 2, 4), sizes, training, distribution="corners", running=running)
"""


@pytest.mark.slow
def test_a_model_is_trained_on_its_distribution_and_told_its_excess(
    environment: dict[str, str],
) -> None:
    command = [sys.executable, "-c", TRAINED_ON_CORNERS]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert len([float(line) for line in done.stdout.split()]) == 2
