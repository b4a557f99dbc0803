"""Rosetta's measured table as Markdown."""

from __future__ import annotations

from palimpsest.rosetta.measure import mean_shares
from palimpsest.rosetta.train import Manifest

_HEADER = (
    "| language | base in-context | tuned in-context | tuned intruded "
    "| base instructions | tuned instructions |\n|---|---:|---:|---:|---:|---:|"
)


def markdown(manifest: Manifest) -> str:
    """Return the table of a pair: means over the cells, in percent."""
    lines = [_HEADER]
    for language, cells in manifest.base.items():
        base, tuned = mean_shares(cells), mean_shares(manifest.tuned[language])
        skill = mean_shares(cells, kind="instruction")
        tuned_skill = mean_shares(manifest.tuned[language], kind="instruction")
        figures = (base.right, tuned.right, tuned.intruded, skill.right, tuned_skill.right)
        lines.append(f"| {language} | " + " | ".join(f"{f:.0%}" for f in figures) + " |")
    lines.append(f"\nTuned for {manifest.chosen_step} steps. {manifest.rule}")
    return "\n".join(lines)


def full_table(manifest: Manifest) -> str:
    """Return every cell: right / intruded, in percent, for base and tuned."""
    names = list(manifest.base["en"])
    lines = [
        "| language | model | " + " | ".join(names) + " |",
        "|---|---|" + "---:|" * len(names),
    ]
    for language in manifest.base:
        for model, table in (("base", manifest.base), ("tuned", manifest.tuned)):
            figures = (table[language][name] for name in names)
            cells = " | ".join(f"{f.right * 100:.0f} / {f.intruded * 100:.0f}" for f in figures)
            lines.append(f"| {language} | {model} | {cells} |")
    return "\n".join(lines)
