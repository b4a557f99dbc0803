"""Restoration of what was lost: a family asked on both suites, the front drawn, a member chosen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from palimpsest.errors import UserError
from palimpsest.families.choice import choose, compare_cures
from palimpsest.families.family import Family
from palimpsest.families.front import BASE, TUNED, Candidate, Evidence
from palimpsest.families.healing import HealingRecipe
from palimpsest.families.member import Member
from palimpsest.families.target import Target, example_digest, load_target
from palimpsest.judging import (
    PLAIN,
    Lacking,
    OpenRun,
    Settings,
    Via,
    Workers,
    analyse,
    clearly_fell,
    default_vias,
    distinct_vias,
    evaluate,
    examine_quickly,
    fall_interval,
    model_info,
    open_run,
    parse_via,
    settings_for,
    suite_info,
)
from palimpsest.lm.models import LanguageModel
from palimpsest.lm.suites import Suite, load_suite
from palimpsest.records import (
    RESTORATION_FILE,
    THRESHOLDS,
    AnswerRow,
    Estimate,
    Plain,
    Restoration,
    score_of,
)
from palimpsest.report import percent, write_restoration
from palimpsest.stats import in_first_half

DEFAULT_MEMBERS = ("interpolate:0.2,0.4,0.6,0.8,0.9", "lines", "dg-hard", "ties:0.2")
"""What is asked besides base and tuned where nothing is named."""

MARGIN = 0.02
"""The fall of the target that is allowed where none is named."""

LONG_SECONDS = 60.0
"""A member whose making takes so long is named beforehand."""

HEALINGS = "healings"
"""The folder within a run's in which healings are made."""

N_WAYS = 2
"""So many of the best ways of asking are put to the target as well."""


class FamilyProgress(Protocol):
    """Told how far the asking of one model has come."""

    def __call__(self, name: str, n_done: int, n_total: int, n_reused: int, /) -> None:
        """Show it; the name is a member's, or ``tuned, conjugated``."""


@dataclass
class _Asking:
    """Puts suite and target to one model after the other, and counts."""

    run: OpenRun
    suite: Suite
    target: Target
    settings: Settings
    target_settings: Settings
    workers: Workers
    progress: FamilyProgress | None
    rows: dict[str, list[AnswerRow]] = field(default_factory=dict)
    """Of base and tuned asked plainly, on the suite."""
    lacking: Lacking = field(default_factory=Lacking)
    """Examples of the suite that somebody has not answered."""
    lacking_of_target: Lacking = field(default_factory=Lacking)

    def ask(self, name: str, model: LanguageModel) -> tuple[dict[str, float], dict[str, float]]:
        """Return the scores of a model on both, asked plainly."""
        plain = [parse_via(PLAIN, self.suite)]
        n_target = len(self.target.suite.in_language(self.target.suite.source_language))
        n_suite = len(self.suite.in_language(self.suite.source_language))
        tell = self._tell(name, n_suite + n_target)
        rows = self._evaluate(model, self.suite, plain, name, self.settings, tell(0))
        if name in (BASE, TUNED):
            self.rows[name] = rows
        plain = [parse_via(PLAIN, self.target.suite)]
        answers = self._evaluate(
            model, self.target.suite, plain, name, self.target_settings, tell(n_suite)
        )
        kept = {row.key.source_id: score_of(row) for row in rows}
        return kept, self.target.scores(answers)

    def under(self, model: LanguageModel, vias: Sequence[Via]) -> dict[str, dict[str, float]]:
        """Return the scores of the tuned model on the suite under each way of asking."""
        n = sum(len(via.examples(self.suite)) for via in vias)
        tell = self._tell(f"{TUNED}, conjugated", n)
        rows = self._evaluate(model, self.suite, vias, TUNED, self.settings, tell(0))
        found: dict[str, dict[str, float]] = {via.name: {} for via in vias}
        for row in rows:
            found[row.via][row.key.source_id] = score_of(row)
        return found

    def target_under(self, model: LanguageModel, via: Via) -> dict[str, float] | None:
        """Return the scores on the target under a way of asking that it knows."""
        theirs = _on(via, self.target)
        if theirs is None:
            return None
        n = len(theirs.examples(self.target.suite))
        tell = self._tell(f"{TUNED}, {via.name}", n)
        rows = self._evaluate(
            model, self.target.suite, [theirs], TUNED, self.target_settings, tell(0)
        )
        return self.target.scores(rows)

    def _evaluate(
        self,
        model: LanguageModel,
        suite: Suite,
        vias: Sequence[Via],
        role: str,
        settings: Settings,
        progress: Callable[[int, int, int], None] | None,
    ) -> list[AnswerRow]:
        rows = evaluate(
            self.workers.hold(model),
            suite,
            vias,
            store=self.run.store,
            role=role,
            settings=settings,
            whole="none",
            progress=progress,
        )
        if suite is self.suite:
            self.lacking.note(role, rows, suite, vias)
        else:
            self.lacking_of_target.note(f"{role}, target", rows, suite, vias)
        return rows

    def _tell(
        self, name: str, n_total: int
    ) -> Callable[[int], Callable[[int, int, int], None] | None]:
        reused = {}

        def after(n_before: int) -> Callable[[int, int, int], None] | None:
            def tell(n_done: int, _: int, n_reused: int) -> None:
                reused[n_before] = n_reused
                assert self.progress is not None
                self.progress(name, n_before + n_done, n_total, sum(reused.values()))

            return None if self.progress is None else tell

        return after


def restore(
    base: str,
    tuned: str,
    *,
    suite: str | Suite,
    target: str,
    members: Sequence[str] | None = None,
    via: Sequence[str] | None = None,
    target_margin: float = MARGIN,
    out: Path | str | None = None,
    limit: int | None = None,
    workers: Workers | None = None,
    train: HealingRecipe | None = None,
    seed: int = 0,
    n_resamples: int = 10_000,
    command: str = "palimpsest.families.restore(…)",
    progress: FamilyProgress | None = None,
    notify: Callable[[Sequence[str]], None] | None = None,
) -> Restoration:
    """Say which member of a family brings back what was lost and keeps what it was tuned for.

    Args:
        base: Spec of the model before tuning.
        tuned: Spec of the model after tuning.
        suite: What was lost: a suite or its spec.
        target: What it was tuned for: the spec of a suite, or ``text:FILE``.
        members: Specs of members; by default :data:`DEFAULT_MEMBERS`.
        via: Ways of asking the tuned model; by default those of a diagnosis.
        target_margin: The largest fall of the target that is allowed, a fraction; of text, of the
            share of the base's bits that is saved.
        out: The run folder. Answers in it are used again, those of a diagnosis as well.
        limit: At most so many source examples a cell.
        workers: Who hold the models, as for :func:`palimpsest.diagnose`.
        train: Settings of a healing (:func:`~palimpsest.families.heal`) to make in the run folder
            and to ask beside the members.
        seed: Seed of the bootstrap.
        n_resamples: Bootstrap resamples.
        command: Recorded as the way to repeat the run.
        progress: Called after every answer.
        notify: Called once, before anything is asked, with those warnings that are known by then.

    Raises:
        UserError: A model, suite or member that cannot be used; nothing that was lost, or nothing
            that was gained; a folder that cannot be written.

    Example:
        >>> found = restore(
        ...     "rosetta:base", "rosetta:tuned", suite="rosetta", target="rosetta-instructions",
        ...     members=["interpolate:0.5"], via=[], limit=20, n_resamples=1_000,
        ... )
        >>> [point.name for point in found.points]
        ['base', 'tuned', 'interpolate:0.5']
    """
    started = time.monotonic()
    _check_margin(target_margin)
    built = load_suite(suite, limit=limit) if isinstance(suite, str) else suite
    aim = load_target(target, limit=limit)
    family = Family(base, tuned)
    wanted = family.members(DEFAULT_MEMBERS if members is None else members)
    judged = _not_trained_on(aim, wanted, train)
    vias = distinct_vias([parse_via(spec, built) for spec in _specs(via, built)])
    method: dict[str, Any] = {"seed": seed, "n_resamples": n_resamples, "started": started}
    with closing(family), open_run(out, command, **method, workers=workers) as run:
        run.folder.record(run.folder.config or {"command": command})
        ends = {BASE: family.base, TUNED: family.tuned}
        findings = examine_quickly(ends, built)
        warnings = [each.sentence for each in findings if each.severity in ("note", "no verdict")]
        warnings += [*family.notes, *_long_work(family, wanted)]
        warnings += dict.fromkeys(note for member in wanted for note in member.notes(family))
        warnings += _kept_apart(aim, judged)
        if notify is not None:
            notify(warnings)
        asking = _Asking(
            run,
            built,
            judged,
            settings_for(built, ends.values()),
            judged.settings(ends.values()),
            workers or Workers(),
            progress,
        )

        def healed() -> Iterator[Member]:
            if train is not None:
                yield from _healed(family, aim, train, run, progress)

        found = _judged(family, wanted, healed, vias, asking, target_margin)
        found = found.model_copy(update={"warnings": [*warnings, *found.warnings]})
        run.folder.write_text(RESTORATION_FILE, found.to_json() + "\n")
        if run.is_kept:
            write_restoration(run.folder.path, found)
        return found


def _judged(
    family: Family,
    members: Sequence[Member],
    healed: Callable[[], Iterable[Member]],
    vias: Sequence[Via],
    asking: _Asking,
    margin: float,
) -> Restoration:
    """Ask all, and judge what they say; a healing is made once it is known that it is needed."""
    seed, n_resamples = asking.run.seed, asking.run.n_resamples
    both = [_member(family, each, asking) for each in family.members([BASE, TUNED])]
    plain = _forgetting(asking, seed, n_resamples)
    gain = _gain(both, asking.target, seed, n_resamples)
    wanted = {each.spec: each for each in (*members, *healed())}.values()
    others = (each for each in wanted if each.spec not in (BASE, TUNED))
    candidates = [
        *both,
        *(_member(family, each, asking) for each in others),
        *_prompting(family, vias, asking),
    ]
    evidence = Evidence(
        candidates,
        target=asking.target,
        suite_cells={each.source_id: each.cell for each in asking.suite.examples},
        target_cells={each.source_id: each.cell for each in asking.target.suite.examples},
        seed=seed,
        n_resamples=n_resamples,
    )
    left_out = list(_left_out(candidates, evidence, asking))
    points = evidence.points()
    choice = choose(points, evidence, margin)
    cure = compare_cures(points, evidence, choice)
    return Restoration(
        base=model_info(family.base, asking.rows[BASE]),
        tuned=model_info(family.tuned, asking.rows[TUNED]),
        suite=suite_info(asking.suite),
        target=asking.target.info(),
        plain=plain,
        target_gain=gain,
        points=[
            one.model_copy(update={"report": evidence.half(one.name, 2)})
            if one.name in (choice.name, cure.via)
            else one
            for one in points
        ],
        choice=choice,
        cure=cure,
        warnings=left_out,
        provenance=asking.run.provenance({via.name: via.conjugation.facts() for via in vias}),
    )


def _not_trained_on(
    target: Target, members: Sequence[Member], train: HealingRecipe | None
) -> Target:
    """Return what of the target no member was trained on, nor will be.

    Raises:
        UserError: Too little is left.
    """
    used = frozenset().union(*(member.trained_on() for member in members))
    if train is not None:
        used |= {example_digest(each, target) for each in target.for_training(train.n_prompts)}
    judged = target.without(used)
    if judged is not target:
        left = judged.suite.in_language(judged.suite.source_language)
        _check_number(len(left), f"{target.suite.name}, less what was trained on")
    return judged


def _kept_apart(target: Target, judged: Target) -> Iterator[str]:
    n, n_judged = (len(each.suite.examples) for each in (target, judged))
    if n_judged < n:
        yield (
            f"{n - n_judged:,} of {n:,} examples of the target are what a healing was trained on; "
            "no model is judged by them."
        )


def _healed(
    family: Family,
    target: Target,
    recipe: HealingRecipe,
    run: OpenRun,
    progress: FamilyProgress | None,
) -> Iterator[Member]:
    """Train a healing in the run folder, or find the one that is there."""
    from palimpsest.families.short_training import heal

    def tell(name: str, n_done: int, n_total: int) -> None:
        if progress is not None:
            progress(name, n_done, n_total, 0)

    family.close()  # while it is trained, there are the networks of the training
    folder = run.folder.path / HEALINGS / recipe.label
    yield heal(family, target, folder, recipe, progress=tell)


def _long_work(family: Family, members: Sequence[Member]) -> Iterator[str]:
    """Say beforehand which members take long to make."""
    for member in members:
        seconds = family.expected_seconds(member)
        if seconds >= LONG_SECONDS:
            yield f"Making '{member.spec}' takes about {seconds / 60:.0f} minutes on this machine."


def _check_margin(margin: float) -> None:
    if not 0 < margin < 1:
        raise UserError(
            f"The margin of the target is {100 * margin:g} points; expected more than 0 and less "
            "than 100.",
            hint="Write --target-margin 2 for 2 points.",
        )


def _specs(via: Sequence[str] | None, suite: Suite) -> Sequence[str]:
    return default_vias(suite) if via is None else via


def _member(family: Family, member: Member, asking: _Asking) -> Candidate:
    kept, target = asking.ask(member.spec, family.model(member))
    kinds: dict[str, Literal["base", "tuned"]] = {BASE: "base", TUNED: "tuned"}
    return Candidate(
        name=member.spec,
        title=member.title,
        kind=kinds.get(member.spec, "member"),
        fingerprint=family.fingerprint(member),
        kept=kept,
        target=target,
        formula=member.formula,
        source=member.source,
    )


def _prompting(family: Family, vias: Sequence[Via], asking: _Asking) -> Iterator[Candidate]:
    """Yield the tuned model under its best ways of asking, by the half that chooses."""
    vias = [via for via in vias if via.name != PLAIN]
    if not vias:
        return
    [tuned] = family.members([TUNED])
    model = family.model(tuned)
    found = asking.under(model, vias)

    def merit(via: Via) -> float:
        chosen = [score for name, score in found[via.name].items() if in_first_half(name)]
        return sum(chosen) / max(1, len(chosen))

    for via in sorted(vias, key=merit, reverse=True)[:N_WAYS]:
        yield Candidate(
            name=via.name,
            title=f"tuned, asked under {via.name}",
            kind="prompting",
            fingerprint=via.fingerprint,
            kept=found[via.name],
            target=asking.target_under(model, via),
            formula="s⁻¹(tuned(s(prompt)))",
            source=f"keeps {via.keeps}",
        )


def _on(via: Via, target: Target) -> Via | None:
    """Return the same way of asking for the target; none where it has no such language."""
    if target.is_text or (via.language is not None and via.language not in target.suite.languages):
        return None
    return parse_via(via.spec, target.suite)


def _forgetting(asking: _Asking, seed: int, n_resamples: int) -> Plain:
    """Compare base and tuned on the suite.

    Raises:
        UserError: The tuned model has not clearly fallen, or there are too few examples.
    """
    rows = [row._replace(cell="all") for role in (BASE, TUNED) for row in asking.rows[role]]
    plain = analyse(rows, vias=[], seed=seed, n_resamples=n_resamples).plain
    _check_number(plain.base.n, asking.suite.name)
    if clearly_fell(plain):
        return plain
    low, high = fall_interval(plain)
    raise UserError(
        f"The tuned model is not clearly worse than the base on '{asking.suite.name}': accuracy "
        f"{percent(plain.base.accuracy)} % and {percent(plain.tuned.accuracy)} %, a fall of "
        f"{percent(plain.forgetting)} points (95 % interval {percent(low)} to {percent(high)}). "
        "There is nothing to get back.",
        hint="Name with --suite what was lost; palimpsest diagnose BASE TUNED says what that is.",
    )


def _gain(both: Sequence[Candidate], target: Target, seed: int, n_resamples: int) -> Estimate:
    """Return what the tuned model has gained on the target.

    Raises:
        UserError: It is not clearly better there than the base, or there are too few examples.
    """
    evidence = Evidence(both, target, {}, {}, seed, n_resamples)
    _check_number(len(evidence.on_target.names), target.suite.name)
    gain = evidence.tuned_gain()
    assert gain.value is not None
    assert gain.ci95 is not None
    if gain.ci95[0] > 0:
        return gain
    scores = {one.name: target.mean(one.target or {}) for one in both}
    unit = "bits a byte" if target.is_text else "%"
    before, after = (
        f"{score:.3f}" if target.is_text else percent(score) for score in scores.values()
    )
    raise UserError(
        f"The tuned model is not clearly better than the base on '{target.suite.name}' ({before} "
        f"and {after} {unit}), so there is nothing to keep: of these models, the base is the cure.",
        hint="Name with --target what the model was tuned for: a suite, or text:FILE with held-out "
        "rows of the tuning data.",
    )


def _check_number(n: int, name: str) -> None:
    if n < THRESHOLDS.min_examples:
        raise UserError(
            f"'{name}' has {n} examples that can be compared; it takes at least "
            f"{THRESHOLDS.min_examples}.",
            hint="Raise --limit, or give it more examples.",
        )


def _left_out(
    candidates: Sequence[Candidate], evidence: Evidence, asking: _Asking
) -> Iterator[str]:
    """Say which examples not all have a score for: those that were set aside, then how many more.

    Raises:
        UserError: Too few are left.
    """
    asked = {one.name: one.target for one in candidates if one.target is not None}
    suite, target = {one.name: one.kept for one in candidates}, asking.target.suite
    for what, name, scores, used, lacking in (
        ("suite", asking.suite.name, suite, evidence.kept, asking.lacking),
        ("target", target.name, asked, evidence.on_target, asking.lacking_of_target),
    ):
        _check_number(len(used.names), name)
        yield from lacking.notes
        names = set().union(*scores.values())
        n = len(names - set(used.names) - lacking.sources)
        if n:
            yield (
                f"{n} of {len(names)} examples of the {what} are left out: not every model has an "
                "answer to them."
            )
