"""``palimpsest demo``: the question answered for the pair that comes with the package."""

from __future__ import annotations

from pathlib import Path

from palimpsest.cli.options import Json, Limit, Out, Quiet
from palimpsest.cli.terminal import diagnose_and_show


def demo(
    out: Out = Path("palimpsest-demo"),
    limit: Limit = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Diagnose the trained pair that comes with the package.

    \b
    palimpsest demo
    palimpsest demo --out my-demo --limit 20

    Then open report.html in the run folder, and run `palimpsest diagnose` on your own pair.
    """
    diagnose_and_show(
        "rosetta:base",
        "rosetta:tuned",
        suite="rosetta",
        out=out,
        limit=limit,
        quiet=quiet,
        as_json=json,
    )
