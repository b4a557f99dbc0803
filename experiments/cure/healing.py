"""Does a short training pay? ``python -m experiments.cure.healing --pairs DIR [--models DIR]``.

Heals the tuned model of each pair with several seeds, asks the healings beside members that need no
training, and judges by the rule in ``HEALING.md``. A healing that is there already is not made
again; runs continue where they were stopped.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from experiments.cure.run import MEMBERS, Pair, real_pairs

from palimpsest.families import Family, Healing, Member, heal, load_target, parse_recipe, restore
from palimpsest.judging import evaluate, parse_via, settings_for
from palimpsest.lm.suites import load_suite
from palimpsest.records import AnswerStore, Restoration

TABLES = Path(__file__).parent / "tables"
SEED = 8200
N_RESAMPLES = 10_000
MARGINS = (0.02, 0.05)
"""The first decides."""


class Plan(NamedTuple):
    """A pair, the seeds of its healings, and what differs from the settings by default."""

    pair: Pair
    seeds: Sequence[int]
    settings: Sequence[str] = ()


def plans(pairs: Path, models: Path | None, data: Path) -> Iterator[Plan]:
    """Yield the pairs that are there."""
    suite = f"rosetta:n=100,languages=en,seed={SEED}"
    target = f"rosetta-instructions:seed={SEED}"
    yield Plan(Pair("rosetta", "rosetta:base", "rosetta:tuned", suite, target), range(401, 406))
    for pair in real_pairs(models, data) if models is not None else ():
        if pair.name == "gemma-full":
            asked = pair._replace(suite=f"icl-vs-if:n=50,seed={SEED}")
            yield Plan(asked, (401,), ("n_texts=128", "n_steps=150", "batch_size=4"))


def healings(plan: Plan, family: Family, folder: Path) -> Iterator[tuple[Healing, float]]:
    """Yield the healing of each seed, and the processor seconds that it took here, if any."""
    target = load_target(plan.pair.target)
    for seed in plan.seeds:
        started = time.process_time()
        recipe = parse_recipe([*plan.settings, f"seed={seed}"])
        found = heal(family, target, folder / f"seed-{seed}", recipe, progress=_tell)
        yield found, time.process_time() - started


def _tell(name: str, n_done: int, n_total: int) -> None:
    if n_done in (1, n_total) or n_done % 50 == 0:
        sys.stdout.write(f"{name} {n_done}/{n_total}\n")
        sys.stdout.flush()


def scores(
    plan: Plan, family: Family, members: Sequence[Member], out: Path
) -> dict[str, np.ndarray]:
    """Return what each member has right of what was lost, by examples, from the answers on file."""
    suite = load_suite(plan.pair.suite)
    settings = settings_for(suite, [family.base, family.tuned])
    found = {}
    with AnswerStore(out / "answers.sqlite") as store:
        for member in members:
            rows = evaluate(
                family.model(member), suite, [parse_via("identity", suite)],
                store=store, role="tuned", settings=settings, whole="none",
            )  # fmt: skip
            right = {row.key.source_id: float(row.outcome == "right") for row in rows}
            found[member.spec] = np.array([right[name] for name in sorted(right)])
    return found


class Verdict(NamedTuple):
    """What the rule says of a pair at a margin."""

    pair: str
    margin: float
    n_seeds: int
    n_within: int
    other: str
    kept_other: float
    kept_healed: float
    low: float
    high: float
    outcome: str


def judge(
    plan: Plan,
    found: Restoration,
    right: Mapping[str, np.ndarray],
    names: Sequence[str],
    margin: float,
) -> Verdict:
    """Return the verdict by the rule in ``HEALING.md``.

    Args:
        plan: The pair.
        found: The front with everything in it.
        right: Scores by member.
        names: Of the healings.
        margin: Of the target, a fraction.
    """
    within = {
        point.name: point.kept.value or 0.0
        for point in found.points
        if point.target_change is not None
        and point.target_change.ci95 is not None
        and point.target_change.ci95[0] > -margin
    }
    others = {name: kept for name, kept in within.items() if name not in names and name != "base"}
    best = max(others, key=lambda name: others[name])
    n_within = sum(name in within for name in names)
    difference = np.mean([right[name] for name in names], axis=0) - right[best]
    rng = np.random.default_rng(SEED)
    n = len(difference)
    means = difference[rng.integers(0, n, (N_RESAMPLES, n))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    ends = [found.point(name).target_change.ci95 for name in names]  # type: ignore[union-attr]
    n_fallen = sum(each is not None and each[1] < -margin for each in ends)
    if n_within >= 0.8 * len(names):
        outcome = "pays" if low > 0 else "does worse" if high < 0 else "no better"
    elif n_fallen > 0.2 * len(names):
        outcome = "costs too much of the target"
    else:
        outcome = "not shown to keep the target"
    healed = float(np.mean([right[name].mean() for name in names]))
    return Verdict(
        plan.pair.name, margin, len(names), n_within, best, others[best], healed,
        float(low), float(high), outcome,
    )  # fmt: skip


def run(plan: Plan, out: Path) -> tuple[list[list[object]], list[Verdict]]:
    """Heal, ask and judge one pair; return a line for each model, and the verdicts."""
    pair = plan.pair
    with closing(Family(pair.base, pair.tuned)) as family:
        made = list(healings(plan, family, out.with_name(f"healings-{pair.name}")))
    names = [member.spec for member, _ in made]
    seconds = {member.spec: taken for member, taken in made}
    found = restore(
        pair.base, pair.tuned, suite=pair.suite, target=pair.target, members=[*MEMBERS, *names],
        via=[], target_margin=MARGINS[0], out=out, seed=SEED,
    )  # fmt: skip
    with closing(Family(pair.base, pair.tuned)) as family:
        members = family.members([point.name for point in found.points])
        right = scores(plan, family, members, out)
    lines: list[list[object]] = []
    for point in found.points:
        kept, change = point.kept, point.target_change
        assert kept.ci95 is not None
        assert change is not None
        assert change.ci95 is not None
        name = f"healing {point.name.rpartition('-')[2]}" if point.name in names else point.name
        numbers = (kept.value, *kept.ci95, change.value, *change.ci95)
        taken = f"{seconds[point.name]:.0f}" if seconds.get(point.name, 0) > 1 else ""
        lines.append(
            [pair.name, name, *(f"{number:.4f}" for number in numbers if number is not None), taken]
        )
    return lines, [judge(plan, found, right, names, margin) for margin in MARGINS]


COLUMNS = (
    "pair",
    "member",
    "kept",
    "kept_low",
    "kept_high",
    "target_change",
    "target_low",
    "target_high",
    "cpu_seconds",
)


def main() -> None:
    """Run what is there, and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="For runs.")
    parser.add_argument("--models", type=Path, help="Of experiments.real.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/tuning"))
    parser.add_argument("names", nargs="*")
    given = parser.parse_args()
    for plan in plans(given.pairs, given.models, given.data):
        if given.names and plan.pair.name not in given.names:
            continue
        lines, verdicts = run(plan, given.pairs / f"healing-{plan.pair.name}")
        write_table(TABLES / "healing.csv", COLUMNS, lines, plan.pair.name)
        rows = [[*verdict] for verdict in verdicts]
        write_table(TABLES / "healing-verdicts.csv", Verdict._fields, rows, plan.pair.name)
        for verdict in verdicts:
            sys.stdout.write(f"{verdict}\n")


def write_table(
    path: Path, columns: Sequence[str], lines: Sequence[Sequence[object]], pair: str
) -> None:
    """Write lines in place of those that a table has of the same pair."""
    kept = list(csv.reader(path.open(newline="")))[1:] if path.exists() else []
    rows = [*(line for line in kept if line[0] != pair), *lines]
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


if __name__ == "__main__":
    main()
