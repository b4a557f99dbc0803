"""Write what the docs take from the code: ``python docs/build.py [--check]``.

- ``docs/cli.md``: every command's ``--help``.
- ``docs/results.schema.json``: the JSON Schema of ``results.json``.

With ``--check`` nothing is written; the exit code is 1 if a file is not as the code says.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parent

COMMANDS: tuple[tuple[str, ...], ...] = (
    (),
    ("demo",),
    ("diagnose",),
    ("prompt",),
    ("report",),
    ("list",),
    ("rosetta",),
    ("rosetta", "train"),
    ("rosetta", "check"),
)


def pages() -> Iterator[tuple[Path, str]]:
    """Yield every generated page with its text."""
    yield DOCS / "cli.md", cli_reference()
    yield DOCS / "results.schema.json", results_schema()


def cli_reference() -> str:
    """Return the help of every command as Markdown."""
    parts = ["# Command line\n\nWritten by `make docs` from each command's `--help`."]
    for command in COMMANDS:
        name = " ".join(("palimpsest", *command))
        parts.append(f"## `{name}`\n\n```text\n{_help(command)}\n```")
    return "\n\n".join(parts) + "\n"


def results_schema() -> str:
    """Return the JSON Schema of ``results.json``."""
    from palimpsest.records.results import Results

    return json.dumps(Results.model_json_schema(by_alias=True), indent=2) + "\n"


def _help(command: tuple[str, ...]) -> str:
    from typer.testing import CliRunner

    from palimpsest.cli.main import app

    os.environ["COLUMNS"] = "100"
    result = CliRunner().invoke(app, [*command, "--help"], prog_name="palimpsest")
    if result.exit_code != 0:
        raise RuntimeError(f"palimpsest {' '.join(command)} --help failed: {result.output}")
    return result.output.rstrip()


def main() -> int:
    """Write or check the generated pages."""
    stale = []
    for path, text in pages():
        if "--check" not in sys.argv:
            path.write_text(text, "utf-8")
        elif not path.exists() or path.read_text("utf-8") != text:
            stale.append(path.name)
    if stale:
        sys.stderr.write(f"Not as the code says: {', '.join(stale)}. Run: make docs\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
