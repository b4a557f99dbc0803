"""The code blocks of the documentation: which there are, and how a page of them is run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("decisions/*.md")])
BLOCK = re.compile(r"^(?P<fence>`{3,})(?P<kind>\w+)\n(?P<body>.*?)^(?P=fence)", re.M | re.S)
MARK = "=== block "
TIMEOUT_SECONDS = 480
ANYTHING = "…"
"""A line of shown output that stands for any lines."""


class Block(NamedTuple):
    """One block of code or output."""

    kind: str
    body: str


def name_of(page: Path) -> str:
    """Return a page's path from the root of the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page that say what they are, in order."""
    text = page.read_text("utf-8")
    return [Block(match["kind"], match["body"]) for match in BLOCK.finditer(text)]


def bodies(page: Path, kind: str) -> list[str]:
    """Return the blocks of one kind."""
    return [block.body for block in blocks_of(page) if block.kind == kind]


def script_of(page: Path) -> str:
    """Return the commands and programs of a page as one script, from top to bottom.

    Before the output of each block comes a line that says which it is.
    """
    lines = []
    for number, (kind, body) in enumerate(blocks_of(page)):
        if kind in {"bash", "python"}:
            lines.append(f"printf '\\n{MARK}{number}\\n'")
        if kind == "bash":
            lines.append(body)
        elif kind == "python":
            lines.append(f"cat > program-{number}.py <<'END-OF-PROGRAM'\n{body}END-OF-PROGRAM")
            lines.append(f"python program-{number}.py")
    return "\n".join(lines)


def run(script: str, folder: Path) -> tuple[int, str]:
    """Run a script in a new folder; return its exit code and what it wrote.

    What it left running is ended.
    """
    work = folder / "work"
    work.mkdir()
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_DATA_HOME": str(folder / "data"),
        "PROMPTFOO_CONFIG_DIR": str(folder / "promptfoo"),
    }
    # Servers in the background inherit the output: a file does not wait for them as a pipe does.
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(TIMEOUT_SECONDS)
        finally:
            _kill_group(process)
    return code, (folder / "output").read_text("utf-8", "replace")


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def outputs_not_as_shown(page: Path, output: str) -> Iterator[str]:
    """Yield the blocks of text right behind a command or program that it did not print."""
    printed = {
        int(number): body
        for number, _, body in (part.partition("\n") for part in output.split(f"\n{MARK}")[1:])
    }
    for (number, code), (_, shown) in pairwise(enumerate(blocks_of(page))):
        if code.kind not in {"bash", "python"} or shown.kind != "text":
            continue
        if not _is_in(shown.body, printed.get(number, "")):
            yield f"shown:\n{shown.body}\nprinted:\n{printed.get(number)}"


def _is_in(shown: str, printed: str) -> bool:
    """Say whether the lines shown were printed: in one piece, or in pieces between ``…``."""
    lines = [line.rstrip() for line in printed.splitlines()]
    rest = "\n".join(["", *lines, ""])
    for piece in re.split(rf"^{ANYTHING}\n", shown, flags=re.M):
        wanted = "\n".join(["", *(line.rstrip() for line in piece.splitlines()), ""])
        _, found, rest = rest.partition(wanted)
        if not found:
            return False
        rest = f"\n{rest}"
    return True
