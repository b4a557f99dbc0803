"""Plans of evaluations: how many prompts a verdict takes, what they would show, and what they cost.

Every figure comes from simulated runs that are judged by the very rule of a diagnosis. A population
(:mod:`palimpsest.judging.populations`) is what a pilot tells, or what is assumed; each verdict is
planned for on it, or, where it would be wrong there, on the nearest population where it is right.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from palimpsest.errors import UserError, did_you_mean
from palimpsest.judging.analysis import Study
from palimpsest.judging.conclude import read_results
from palimpsest.judging.pairing import PLAIN, PairedAnswers
from palimpsest.judging.populations import (
    Population,
    WayOfAsking,
    assumed_population,
    pilot_population,
)
from palimpsest.judging.samples import averaged
from palimpsest.judging.verdicts import clearly_fell
from palimpsest.lm.models import PriceTable, parse_model_spec
from palimpsest.records import (
    THRESHOLDS,
    AnswerStore,
    Assumed,
    EvaluationPlan,
    ModelInfo,
    Needed,
    PlannedCost,
    PlannedPoint,
    PlannedVerdict,
    Results,
    RunFolder,
    SmallestFall,
    Verdict,
)
from palimpsest.stats import is_binary, named_stream, wilson_interval

NUMBERS = (
    30, 40, 50, 60, 75, 100, 125, 150, 200, 250, 300, 400, 500, 600, 750, 1000, 1250, 1500, 2000,
    2500, 3000, 4000, 5000, 7500, 10000, 15000, 20000,
)  # fmt: skip
"""Numbers of prompts a cell that are tried; between them a straight line in log n is read."""

SHARES = (0.8, 0.95)
"""Probabilities that prompts are planned for."""

DEFAULT_PROMPTS = (50, 100, 200, 500, 1000)
"""Numbers of prompts whose smallest fall is told by default."""

_N_FALLS = 40
"""Steps from no fall to the largest possible one."""

_LEAST_OF_PILOT = 0.5
"""A conjugation that has fewer of the pilot's examples than this share is left out."""


class PlanProgress(Protocol):
    """Told how far a plan has come."""

    def __call__(self, what: str, n_done: int, n_total: int, /) -> None:
        """Show it; the total is the most that it may take."""


class Assumptions(NamedTuple):
    """What somebody assumes where no pilot says it; fractions."""

    base: float | None = None
    """Accuracy of the base model, asked plainly."""
    fall: float | None = None
    """Base − tuned; with a pilot, in place of what it shows."""
    recovery: float | None = None
    """Share of the fall that comes back under each conjugation; with a pilot, under its best."""
    base_under: float | None = None
    """Accuracy of the base model under the conjugations; by default as plainly."""
    n_vias: int = 2
    """Conjugations."""
    shared: float = 0.5
    """Share of answers that the difficulty of their example decides."""


class _Setting(NamedTuple):
    """What is simulated, and how often."""

    population: Population
    kept: Population
    """The nearest one without a fall, asked plainly."""
    chance: float | None
    n_runs: int
    n_resamples: int
    seed: int


class _Pilot(NamedTuple):
    """What is taken from a run."""

    population: Population
    assumed: Assumed
    results: Results
    notes: list[str]


def plan(
    pilot: Path | str | None = None,
    *,
    assumptions: Assumptions = Assumptions(),  # noqa: B008  # immutable
    cell: str | None = None,
    prompts: Sequence[int] = DEFAULT_PROMPTS,
    prices: Path | str | None = None,
    n_runs: int = 200,
    n_resamples: int = 1000,
    seed: int = 0,
    progress: PlanProgress | None = None,
) -> EvaluationPlan:
    """Say how many prompts a cell give each verdict, and which fall so many would show.

    Args:
        pilot: The folder of a finished run, however small; without one all is assumed.
        assumptions: What is assumed, in place of what a pilot says where both speak.
        cell: Plan for one cell of the pilot; by default for the average of all.
        prompts: Numbers of prompts a cell whose smallest visible fall is told.
        prices: A table of prices for the pilot's endpoints.
        n_runs: Simulated runs for each number of prompts.
        n_resamples: Bootstrap resamples of each of them.
        seed: Seed of the simulation.
        progress: Called for every number of prompts that has been simulated.

    Raises:
        UserError: Assumptions that contradict each other, or a pilot that cannot be read.

    Example:
        >>> found = plan(assumptions=Assumptions(0.9, 0.9, 0.0), prompts=[], n_runs=20)
        >>> next(one.needed[0].n for one in found.verdicts if one.verdict == "lost") < 100
        True
    """
    _check(assumptions, prompts, has_pilot=pilot is not None)
    results: Results | None = None
    notes: list[str] = []
    if pilot is None:
        population, kept, assumed = _of_assumptions(assumptions)
    else:
        population, assumed, results, notes = _of_pilot(Path(pilot), assumptions, cell)
        kept = population.with_fall(0.0).plainly()
    chance = None if results is None else results.suite.chance
    setting = _Setting(population, kept, chance, n_runs, n_resamples, seed)
    tell = progress or (lambda *_: None)
    verdicts = [_planned(verdict, setting, assumed, tell) for verdict in _plannable(assumed)]
    falls = []
    for number, n in enumerate(prompts, 1):
        falls.append(_smallest_fall(n, setting))
        tell("smallest falls", number, len(prompts))
    return EvaluationPlan(
        assumed=assumed,
        verdicts=verdicts,
        smallest_falls=falls,
        cost=_cost(results, assumed, prices),
        n_runs=n_runs,
        n_resamples=n_resamples,
        seed=seed,
        notes=[*notes, *_notes(assumed, verdicts)],
    )


def _check(given: Assumptions, prompts: Sequence[int], *, has_pilot: bool) -> None:
    """Refuse what contradicts itself."""
    for name, value in given._asdict().items():
        if name != "n_vias" and value is not None and not 0 <= value <= 1:
            raise UserError(
                f"--{name.replace('_', '-')} is {value:g}; expected a fraction from 0 to 1.",
                hint="Write 0.9 for 90 %.",
            )
    if any(n < 1 for n in prompts):
        raise UserError(f"--prompts is {min(prompts)}; expected 1 or more.")
    if has_pilot:
        if given.base is not None or given.base_under is not None:
            raise UserError(
                "The accuracy of the base model was given, and a pilot that says it.",
                hint="Leave out --base and --base-under, or the pilot.",
            )
        return
    if given.base is None or given.fall is None:
        raise UserError(
            "There is nothing to plan from: neither a pilot nor the assumptions that replace it.",
            hint="palimpsest plan palimpsest-out, after a run of a few prompts; or assume: "
            "palimpsest plan --base 0.9 --fall 0.1 --recovery 0.6",
        )
    if given.fall > given.base:
        raise UserError(
            f"A fall of {100 * given.fall:g} points is more than the base model has to lose: it is "
            f"right on {100 * given.base:g} % of the prompts.",
            hint=f"Assume a fall of at most {given.base:g} (to nothing), or a better base model.",
        )


def _of_assumptions(given: Assumptions) -> tuple[Population, Population, Assumed]:
    """Return the population that is assumed, the one without its fall, and what to say of it."""
    assert given.base is not None
    assert given.fall is not None
    if not 1 <= given.n_vias <= 4:
        raise UserError(
            f"{given.n_vias} conjugations cannot be assumed; expected 1 to 4.",
            hint="More are planned for from a pilot.",
        )
    vias = [f"s{number}" for number in range(1, given.n_vias + 1)]
    recovery = given.recovery if given.recovery is not None else 1.0
    tuned = given.base - given.fall
    under = given.base if given.base_under is None else given.base_under
    pairs = [(given.base, tuned), *((under, tuned + recovery * given.fall) for _ in vias)]
    population = assumed_population(pairs, vias, shared=given.shared)
    kept = assumed_population([(given.base, given.base)], [], shared=given.shared)
    assumed = Assumed(
        pilot=None,
        base=given.base,
        fall=given.fall,
        recovery=recovery if given.fall else None,
        best=vias[0] if given.fall else None,
        vias=vias,
    )
    return population, kept, assumed


def _of_pilot(path: Path, given: Assumptions, cell: str | None) -> _Pilot:
    """Return what a run tells, with what is assumed in its place.

    Raises:
        UserError: The folder holds no finished run, or no such cell.
    """
    folder = RunFolder.find(path)
    results = read_results(folder)
    with AnswerStore(folder.answers, read_only=True) as store:
        rows = averaged(store.run_answers(), results.samples)
        answers = PairedAnswers(rows, min_fidelity=results.provenance.min_fidelity)
    sources = _sources(answers, results, cell)
    vias, sources, notes = _comparable(answers, sources, results)
    base, tuned = (answers.scores(role, PLAIN, sources) for role in ("base", "tuned"))
    where = results if cell is None else next(one for one in results.cells if one.name == cell)
    population = pilot_population(answers, sources, vias)
    fall = min(float(np.mean(base - tuned)), population.base) if given.fall is None else given.fall
    if fall > population.base:
        raise UserError(
            f"A fall of {100 * fall:g} points is more than the pilot's base model has to lose: it "
            f"is right on about {100 * population.base:.0f} % of the prompts.",
            hint="Assume a smaller --fall.",
        )
    recoveries = {via: population.recovery(via) for via in vias} if fall > 0 else {}
    population = population.with_fall(max(fall, 0.0))
    best = max(vias, key=lambda via: recoveries.get(via) or 0.0, default=None)
    for via in vias if fall > 0 else ():
        kept = min(max(recoveries[via] or 0.0, 0.0), 1.0)
        recovery = given.recovery if via == best and given.recovery is not None else kept
        population = population.with_recovery(via, recovery)
    assumed = Assumed(
        pilot=str(path),
        n_pilot=len(sources),
        cell=cell,
        n_cells=1 if cell is not None else len(results.cells),
        base=population.base,
        fall=population.fall if fall > 0 else min(fall, 0.0),
        fall_ci95=where.plain.forgetting_hull95 if given.fall is None else None,
        recovery=None if best is None else population.recovery(best),
        best=best if fall > 0 else None,
        vias=vias,
        scoring="binary" if is_binary(base, tuned) else "graded",
    )
    return _Pilot(population, assumed, results, notes)


def _sources(answers: PairedAnswers, results: Results, cell: str | None) -> list[str]:
    sources = answers.paired(PLAIN)
    if cell is None:
        return sources
    cells = answers.by_cell(sources, [one.name for one in results.cells])
    if cell not in cells:
        raise UserError(
            f"The pilot has no cell '{cell}'.{did_you_mean(cell, cells)}",
            hint=f"Its cells: {', '.join(cells)}.",
        )
    return cells[cell]


def _comparable(
    answers: PairedAnswers, sources: Sequence[str], results: Results
) -> tuple[list[str], list[str], list[str]]:
    """Return the conjugations to plan with, and the examples that both models answered in all."""
    vias, notes, kept = [], [], set(sources)
    for found in results.conjugations:
        there = set(answers.paired(found.name)) & set(sources)
        if len(there) < _LEAST_OF_PILOT * len(sources):
            notes.append(f"'{found.name}' has {len(there)} of {len(sources)} examples: left out.")
            continue
        vias.append(found.name)
        kept &= there
    return vias, [source for source in sources if source in kept], notes


def _plannable(assumed: Assumed) -> list[Verdict]:
    """Return the verdicts for which there is a truth near what is assumed."""
    if assumed.fall <= 0:
        return ["kept"]
    return ["kept", "suppressed", "lost"] if assumed.vias else ["kept"]


def _truth(verdict: Verdict, setting: _Setting, assumed: Assumed) -> tuple[Population, bool]:
    """Return the nearest population where a verdict is right, and whether it is the assumed one."""
    population, recovery = setting.population, assumed.recovery or 0.0
    if verdict == "kept":  # the rule asks for conjugations only where there is a fall
        is_assumed = assumed.fall < THRESHOLDS.kept_margin
        return population.plainly() if is_assumed else setting.kept, is_assumed
    falls = assumed.fall >= THRESHOLDS.kept_margin
    if verdict == "suppressed":
        is_assumed = falls and recovery > THRESHOLDS.suppressed_above
        if not is_assumed and assumed.best is not None:
            population = population.with_recovery(assumed.best, 1.0)
        return population, is_assumed
    is_assumed = falls and recovery < THRESHOLDS.lost_below
    if not is_assumed:
        for via in population.vias:
            population = population.with_recovery(via, 0.0)
    return population, is_assumed


def _planned(
    verdict: Verdict, setting: _Setting, assumed: Assumed, tell: PlanProgress
) -> PlannedVerdict:
    population, is_assumed = _truth(verdict, setting, assumed)
    setting = setting._replace(population=population)
    points: dict[int, PlannedPoint] = {}

    def probability(index: int) -> float:
        n = NUMBERS[index]
        if n not in points:
            points[n] = _point(verdict, n, setting)
            tell(verdict, len(points), 2 * math.ceil(math.log2(len(NUMBERS))))
        return points[n].probability

    for share in SHARES:
        _search(probability, len(NUMBERS), share)
    tell(verdict, len(points), len(points))
    ordered = [points[n] for n in sorted(points)]
    needed = [_needed(ordered, share) for share in SHARES]
    best = assumed.best if population.vias else None
    return PlannedVerdict(
        verdict=verdict,
        is_assumed=is_assumed,
        base=population.base,
        fall=population.fall,
        recovery=None if best is None else population.recovery(best),
        points=ordered,
        needed=needed,
        otherwise=_otherwise(verdict, ordered) if needed[0].n is None else None,
    )


def _point(verdict: Verdict, n: int, setting: _Setting) -> PlannedPoint:
    """Simulate runs of ``n`` prompts and judge them."""
    rng = named_stream(setting.seed, f"plan {verdict} {n}")
    ways = [WayOfAsking(via) for via in setting.population.vias]
    counts: Counter[Verdict] = Counter()
    for _ in range(setting.n_runs):
        drawn = setting.population.draw(n, rng)
        study = Study(
            drawn,
            ways,
            seed=int(rng.integers(2**31)),
            n_resamples=setting.n_resamples,
            chances={} if setting.chance is None else dict.fromkeys(drawn.sources, setting.chance),
        )
        counts[study.of(drawn.sources).verdict] += 1
    n_given = counts[verdict]
    return PlannedPoint(
        n=n,
        probability=n_given / setting.n_runs,
        ci95=wilson_interval(n_given, setting.n_runs),
        verdicts={name: count / setting.n_runs for name, count in counts.most_common()},
    )


def _search(probability: Callable[[int], float], n: int, share: float) -> None:
    """Look between 0 and ``n`` − 1 for where a rising probability passes a share, by halving."""
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        if probability(middle) >= share:
            high = middle
        else:
            low = middle


def _needed(points: Sequence[PlannedPoint], share: float) -> Needed:
    xs = [math.log(point.n) for point in points]
    middle, earliest, latest = (
        passed(xs, values, share)
        for values in (
            [point.probability for point in points],
            [point.ci95[1] for point in points],
            [point.ci95[0] for point in points],
        )
    )

    def number(x: float | None) -> int | None:
        return None if x is None else math.ceil(round(math.exp(x), 6))

    return Needed(probability=share, n=number(middle), ci95=(number(earliest), number(latest)))


def passed(xs: Sequence[float], values: Sequence[float], level: float) -> float | None:
    """Return where values that rise, but for noise, pass a level; ``None`` if they do not.

    Between two places a straight line is read.

    Example:
        >>> passed([0.0, 1.0, 2.0], [0.0, 0.5, 0.4], 0.25), passed([0.0], [0.1], 0.25)
        (0.5, None)
    """
    highest = np.maximum.accumulate(values)
    at = int(np.searchsorted(highest, level))
    if at == len(xs):
        return None
    if at == 0:
        return xs[0]
    low, high = highest[at - 1], highest[at]
    return float(xs[at - 1] + (xs[at] - xs[at - 1]) * (level - low) / (high - low))


def _otherwise(verdict: Verdict, points: Sequence[PlannedPoint]) -> str:
    last = points[-1]
    shares = {name: share for name, share in last.verdicts.items() if name != verdict}
    name, share = max(shares.items(), key=lambda item: item[1])
    return f"{100 * share:.0f} % of runs with {last.n:,} prompts a cell say {name}"


def _smallest_fall(n: int, setting: _Setting) -> SmallestFall:
    """Find the fall that runs with ``n`` prompts would clearly show in 80 of 100."""
    largest = setting.population.base
    n_clear: dict[int, int] = {}

    def probability(index: int) -> float:
        if index not in n_clear:
            fall = largest * (index + 1) / _N_FALLS
            n_clear[index] = _n_clear(n, setting, setting.population.with_fall(fall))
        return n_clear[index] / setting.n_runs

    _search(probability, _N_FALLS, SHARES[0])
    tried = sorted(n_clear)
    xs = [largest * (index + 1) / _N_FALLS for index in tried]
    ends = [wilson_interval(n_clear[index], setting.n_runs) for index in tried]
    middle, low, high = (
        passed(xs, values, SHARES[0])
        for values in (
            [n_clear[index] / setting.n_runs for index in tried],
            [end.high for end in ends],
            [end.low for end in ends],
        )
    )
    return SmallestFall(n=n, fall=middle, ci95=(low, high))


def _n_clear(n: int, setting: _Setting, population: Population) -> int:
    rng = named_stream(setting.seed, f"smallest fall {n}")
    plain = population.plainly()
    count = 0
    for _ in range(setting.n_runs):
        drawn = plain.draw(n, rng)
        study = Study(drawn, [], seed=int(rng.integers(2**31)), n_resamples=setting.n_resamples)
        found = study.of(drawn.sources).plain
        count += n >= THRESHOLDS.min_examples and clearly_fell(found)
    return count


def _cost(results: Results | None, assumed: Assumed, prices: Path | str | None) -> PlannedCost:
    """Return what each further prompt a cell takes, as the pilot's did."""
    ways = 1 + len(assumed.vias)
    n_questions = 2.0 * ways * assumed.n_cells
    if results is None:
        if prices is not None:
            raise UserError(
                "Prices were given, but only a pilot knows how long prompts and answers are.",
                hint="Run a few prompts first: palimpsest diagnose BASE TUNED --limit 10",
            )
        return PlannedCost(
            n_questions=n_questions, n_prompt_tokens=None, n_answer_tokens=None, usd=None,
            seconds=None,
        )  # fmt: skip
    per_prompt = len(results.cells) / results.suite.n_source_examples
    if assumed.cell is not None:
        per_prompt /= len(results.cells)
    infos = (results.base, results.tuned)
    used = [info.usage for info in infos if info.usage is not None]
    sent = [usage.n_prompt_tokens for usage in used if usage.n_prompt_tokens is not None]
    known = len(used) == len(infos)
    # The time of the last call alone would be that of a merging, or of a report written anew.
    seconds = results.provenance.seconds_in_all if known else None
    return PlannedCost(
        n_questions=n_questions,
        n_prompt_tokens=sum(sent) * per_prompt if len(sent) == len(infos) else None,
        n_answer_tokens=sum(u.n_answer_tokens for u in used) * per_prompt if known else None,
        usd=None if prices is None else _usd(infos, PriceTable.read(prices)) * per_prompt,
        seconds=None if seconds is None else seconds * per_prompt,
    )


def _usd(infos: Sequence[ModelInfo], table: PriceTable) -> float:
    """Return what the pilot's answers would cost.

    Raises:
        UserError: Neither model is an endpoint, or one has no price.
    """
    total, paid = 0.0, False
    for info in infos:
        spec = parse_model_spec(info.spec)
        if spec.name != "openai":
            continue
        model, _, url = spec.target.partition("@")
        price = table.of(model, url)
        paid = True
        if info.usage is not None and info.usage.n_prompt_tokens is not None:
            total += float(price.cost(info.usage.n_prompt_tokens, info.usage.n_answer_tokens))
    if not paid:
        raise UserError(
            "Prices were given, but neither model of the pilot costs anything: both ran here.",
            hint="Leave out --prices.",
        )
    return total


def _notes(assumed: Assumed, verdicts: Sequence[PlannedVerdict]) -> list[str]:
    """Return what a reader must know."""
    notes = []
    if assumed.pilot is not None and assumed.fall <= 0:
        notes.append(
            "Nothing fell in the pilot, so only 'kept' can be planned for. To plan for a fall that "
            "you want to be told of, assume one: --fall 0.1 --recovery 0.6"
        )
    elif assumed.fall <= 0:
        notes.append("Without a fall there is nothing to bring back: only 'kept' is planned for.")
    elif not assumed.vias:
        notes.append(
            "The pilot has no conjugation, and without one no fall is called suppressed or lost."
        )
    if (
        assumed.fall_ci95 is not None
        and assumed.fall > 0
        and assumed.fall_ci95[0] < 0.5 * assumed.fall
    ):
        low, high = (100 * end for end in assumed.fall_ci95)
        notes.append(
            f"The pilot is small: its fall may be anything from {low:.0f} to {high:.0f} points, "
            "and a smaller one takes more prompts. See what it would take with --fall."
        )
    if assumed.fall > 0 and not any(one.is_assumed for one in verdicts):
        notes.append(_no_verdict(assumed))
    return notes


def _no_verdict(assumed: Assumed) -> str:
    if assumed.fall < THRESHOLDS.kept_margin:
        return (
            f"A fall of {100 * assumed.fall:.1f} points is less than the margin "
            f"({100 * THRESHOLDS.kept_margin:.0f}): with enough prompts it is called kept."
        )
    return (
        f"That {100 * (assumed.recovery or 0):.0f} % comes back lies between lost (below "
        f"{100 * THRESHOLDS.lost_below:.0f} %) and suppressed (above "
        f"{100 * THRESHOLDS.suppressed_above:.0f} %): no number of prompts decides it."
    )
