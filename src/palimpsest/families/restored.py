"""The chosen member of a restoration, or another, written with what was measured of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from palimpsest.errors import UserError, did_you_mean
from palimpsest.families.family import Family
from palimpsest.records import Estimate, FrontPoint, Half, Restoration
from palimpsest.report import interval, number, percent, percent_interval


def check_new_folder(path: Path) -> None:
    """Raise :class:`UserError` if a folder to be written is there already."""
    if path.exists() or path.is_symlink():
        raise UserError(
            f"'{path}' exists already; a model is never written over anything.",
            hint="Name a new folder.",
        )


def write_member(
    found: Restoration,
    spec: str,
    directory: Path,
    *,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write a member of the family that a restoration has asked.

    Args:
        found: What the restoration says, which goes onto the model card.
        spec: Of the member, measured or not.
        directory: Must not exist.
        progress: Told the share that is done.

    Raises:
        UserError: Base or tuned model are other ones by now, no such member, or a folder that
            cannot be written.
    """
    family = Family(found.base.spec, found.tuned.spec)
    with closing(family):
        for role, then, now in (
            ("base", found.base.fingerprint, family.base.fingerprint),
            ("tuned", found.tuned.fingerprint, family.tuned.fingerprint),
        ):
            if then != now:
                raise UserError(
                    f"The {role} model '{getattr(found, role).spec}' is another one than was "
                    "measured: its files have changed.",
                    hint="Run palimpsest restore again, with the files as they are now.",
                )
        members = family.members([spec])
        if len(members) != 1:
            raise UserError(
                f"'{spec}' stands for {len(members)} members; one is written at a time."
                f"{did_you_mean(spec, [point.name for point in found.points])}",
                hint="Name one of them.",
            )
        [member] = members
        text = measured(found, found.point(member.spec))
        family.write(member, directory, card=text, progress=progress)


def measured(found: Restoration, point: FrontPoint | None) -> str:
    """Return what was measured of a member, in Markdown, for its card."""
    if point is None:
        return "Nothing: this member was not asked."
    by_name = {one.name: one for one in found.points}
    text = found.target.unit == "bits a byte"
    unit = "bits a byte" if text else "%"
    lines = [
        f"What was lost: `{found.suite.name}`, {found.suite.n_source_examples:,} examples, right "
        f"answers in %. What it was tuned for: `{found.target.name}`, "
        f"{found.target.n_examples:,} examples, {unit}. 95 % intervals in brackets; those of what "
        "is kept hold all together.",
        "",
        "| model | kept, % | target |",
        "| --- | ---: | ---: |",
    ]
    for name in dict.fromkeys(["base", "tuned", point.name]):
        one = by_name[name]
        score = _number(one.target, text)
        lines.append(f"| {name} | {_number(one.kept, False)} | {score} |")
    if point.report is not None:
        lines += ["", f"On the half that did not choose it: {_half(point.report)}."]
    elif point.name not in ("base", "tuned"):
        lines += ["", "This member was not the one that the rule chooses."]
    repeat = f"Measured with `{found.provenance.command}`."
    return "\n".join([*lines, "", *_cells(point), "", repeat])


def _cells(point: FrontPoint) -> list[str]:
    if not point.cells:
        return []
    return [
        "| cell | of | healed, % | preserved, % | newly damaged, % | target kept, % |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {_cell(cell.cell)} | {'what was lost' if cell.part == 'suite' else 'the target'} | "
            f"{percent(cell.healed.value)} | {percent(cell.preserved.value)} | "
            f"{percent(cell.damaged.value)} | "
            f"{percent(cell.target_kept.value if cell.target_kept else None)} |"
            for cell in point.cells
        ),
    ]


def _half(half: Half) -> str:
    return f"{percent(half.kept)} % kept, {_points(half.gain)} points more than the tuned model"


def _points(found: Estimate) -> str:
    return f"{percent(found.value)} {percent_interval(found.ci95)}"


def _number(found: Estimate | None, text: bool) -> str:
    if found is None:
        return "–"
    if text:
        return f"{number(found.value, 3)} {interval(found.ci95, 3)}"
    return _points(found)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
