import doctest
import json
import re
import shlex
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.doc_pages import BLOCK, PAGES, ROOT, blocks_of, bodies, name_of
from tests.test_how_to import PAGES as RUN

LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")

HELD_BY = {
    "README.md": "tests/test_docs.py",
    "README.zh-CN.md": "tests/test_docs.py",
    "CONTRIBUTING.md": "tests/test_docs.py",
    "docs/rosetta.md": "docs/build.py",
    "docs/adding/distribution.md": "tests/lab/problem/test_distribution_laws.py",
    "docs/adding/engine.md": "tests/engines/test_engines.py",
    "docs/adding/remedy.md": "tests/lab/training/test_remedies.py",
    "docs/adding/member.md": "tests/test_plugin.py",
    "docs/adding/back-end.md": "tests/lm/models/test_docs.py",
    "docs/adding/conjugation.md": "tests/test_docs.py",
    "docs/adding/figure.md": "tests/report/test_docs.py",
    "docs/adding/form.md": "tests/lm/scoring/test_forms.py",
    "docs/adding/log-format.md": "tests/integrations/logs/test_formats.py",
    "docs/adding/scorer.md": "tests/lm/scoring/test_scorers.py",
    "docs/adding/suite.md": "tests/lm/suites/test_suite_laws.py",
    "docs/adding/translator.md": "tests/lm/translators/test_docs.py",
}
"""Pages that are not run from top to bottom, with what holds their commands or programs instead."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_the_pages_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.slow
def test_the_generated_pages_are_as_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "build.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_every_symbol_of_the_theory_has_its_name_in_its_file() -> None:
    rows = re.findall(r"^\|.*\| (.+?) \| (.+?) \|$", (ROOT / "docs/theory.md").read_text(), re.M)
    found = 0
    for names, files in rows:
        paths = re.findall(r"`([\w/]+\.py)`", files)
        code = "".join((ROOT / "src/palimpsest" / path).read_text("utf-8") for path in paths)
        for name in re.findall(r"`([A-Za-z_]\w+)", names) if paths else ():
            assert re.search(rf"\b{name}\b", code), f"{name} is not in {files}"
            found += 1
    assert found > 30


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    for block in bodies(ROOT / "README.md", "python"):
        done = subprocess.run(
            [sys.executable, "-c", block],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_the_jsonl_of_the_readme_is_a_suite(tmp_path: Path) -> None:
    from palimpsest import load_suite

    [block] = bodies(ROOT / "README.md", "json")
    path = tmp_path / "mine.jsonl"
    path.write_text(block, "utf-8")
    assert load_suite(f"jsonl:{path}").languages == ("en", "fr")


def _code(page: str) -> list[tuple[str, str]]:
    """Return the blocks of a page without the comments, which are in its language."""
    return [
        (block.kind, re.sub(r" +# .*", "", block.body))
        for block in blocks_of(ROOT / page)
        if block.kind != "text"
    ]


def test_the_chinese_readme_begins_as_the_english_one() -> None:
    chinese, english = _code("README.zh-CN.md"), _code("README.md")
    assert len(chinese) >= 4
    assert chinese == english[: len(chinese)]


def test_the_chinese_readme_has_the_numbers_files_and_options_of_the_english_one() -> None:
    english = (ROOT / "README.md").read_text("utf-8")
    prose = BLOCK.sub("", (ROOT / "README.zh-CN.md").read_text("utf-8"))
    told = [*re.findall(r"\d+(?:\.\d+)?", prose), *re.findall(r"`([^`]+)`", prose)]
    assert [one for one in told if one not in english] == []
    assert "(README.zh-CN.md)" in english.partition("\n## ")[0]


def test_every_command_and_program_of_the_docs_runs_or_is_held_by_a_test() -> None:
    for page in PAGES:
        if page in RUN or not {"bash", "python"} & {block.kind for block in blocks_of(page)}:
            continue
        assert name_of(page) in HELD_BY, f"no test runs what {name_of(page)} tells to type"
        assert page.name in (ROOT / HELD_BY[name_of(page)]).read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_call_of_palimpsest_has_a_command_and_options_that_exist(page: Path) -> None:
    from typer.main import get_command

    from palimpsest.cli.main import app

    for block in blocks_of(page):
        if block.kind in {"bash", "console"}:
            for words in _calls(block.body):
                _parse(get_command(app), words)


def _calls(commands: str) -> Iterator[list[str]]:
    """Yield the words of every call of ``palimpsest``, up to where the shell does something."""
    joined = commands.replace("\\\n", " ")
    for call in re.finditer(r"^ *palimpsest (?P<rest>.*)", joined, re.M | re.S):
        lexer = shlex.shlex(call["rest"], posix=True, punctuation_chars="();<>|&\n")
        lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
        words = []
        for word in lexer:
            if word[0] in "#();<>|&\n":
                break
            words.append(word)
        yield words


def _parse(command: Any, words: list[str]) -> None:
    """Read the words as the command line does, without doing what they say."""
    context = command.make_context("palimpsest", [*words])
    rest = [*getattr(context, "_protected_args", []), *context.args]
    if hasattr(command, "commands") and rest:
        name, below, rest = command.resolve_command(context, rest)
        assert below is not None, name
        _parse(below, rest)


def test_a_call_with_an_option_that_does_not_exist_is_found() -> None:
    from typer.main import get_command

    from palimpsest.cli.main import app

    [words] = _calls("palimpsest diagnose ./base ./tuned --vai leet | cat")
    with pytest.raises(Exception, match="--vai"):
        _parse(get_command(app), words)


def test_every_target_of_make_in_the_docs_exists() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    used = {
        target
        for page in PAGES
        for block in blocks_of(page)
        for target in re.findall(r"^make (\w+)", block.body, re.M)
    }
    assert {"demo", "test", "check"} <= used <= set(targets)


def test_the_conjugation_of_the_page_on_adding_one_keeps_the_laws() -> None:
    code, _registration = bodies(ROOT / "docs" / "adding" / "conjugation.md", "python")
    module = types.ModuleType("swap_case")
    exec(compile(code, "docs/adding/conjugation.md", "exec"), module.__dict__)
    assert doctest.testmod(module) == doctest.TestResults(failed=0, attempted=1)
    swap = module.SwapCase()
    for text in ("Say IT.", "straße", "ŉ", "İ", "ΟΔΟΣ", "\ud800\x00"):
        kept = swap.invert(swap.apply(text))
        assert swap.invert(swap.apply(kept)) == kept


def test_the_changelog_names_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_the_schema_of_the_results_is_valid_json() -> None:
    schema = json.loads((ROOT / "docs" / "results.schema.json").read_text("utf-8"))
    assert {"schema", "plain", "conjugations", "cells", "verdict"} <= set(schema["required"]) | {
        "schema"
    }
