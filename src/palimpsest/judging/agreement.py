"""Agreement of scorers with people on answers that they have judged, and judges of themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from palimpsest.lm import UNDECIDED, judge_of
from palimpsest.lm.scoring import Scorer, prepare_all
from palimpsest.lm.suites import HumanLabel, Suite
from palimpsest.records import Agreement
from palimpsest.stats import cohens_kappa, wilson_interval

LEAST_KAPPA = 0.6
"""Below it a note says that the scorer is no good measure: the bound between moderate and
substantial agreement in Landis and Koch, Biometrics 33 (1977), 159–174."""


def agreement_with_people(suite: Suite) -> list[Agreement]:
    """Hold each scorer of a suite against the labels that its examples have; mostly there are none.

    An answer is right or it is not: whether a wrong one is another ability's, people are not asked.
    """
    judged: dict[str, list[tuple[Scorer, HumanLabel]]] = defaultdict(list)
    for example in suite.examples:
        if example.human:
            scorer = example.scorer_of(example.right, example.intruding)
            judged[example.scorer] += [(scorer, label) for label in example.human]
    return [_agreement(name, theirs) for name, theirs in judged.items()]


def _agreement(name: str, judged: Sequence[tuple[Scorer, HumanLabel]]) -> Agreement:
    prepare_all((scorer, label.answer) for scorer, label in judged)
    # Rows are what people say; the third column is no judgement, which no person gives.
    table = [[0, 0, 0] for _ in range(3)]
    for scorer, label in judged:
        scored = scorer.score(label.answer)
        said = 2 if UNDECIDED in scored.flags else int(scored.outcome == "right")
        table[int(label.right)][said] += 1
    n, n_same = len(judged), table[0][0] + table[1][1]
    kappa = cohens_kappa(table)
    return Agreement(
        scorer=name,
        n=n,
        n_undecided=table[0][2] + table[1][2],
        agreement=n_same / n,
        ci95=wilson_interval(n_same, n),
        kappa=None if kappa is None else kappa.value,
        kappa_ci95=None if kappa is None else kappa.interval,
    )


def disagreements(agreements: Sequence[Agreement]) -> list[str]:
    """Return a sentence for each scorer that people would not take for a judge."""
    return [
        f"The scorer '{each.scorer}' agrees with people on {100 * each.agreement:.0f} % of "
        f"{each.n} answers (κ {each.kappa:.2f}): accuracies by it are no better than that."
        for each in agreements
        if each.kappa is not None and each.kappa < LEAST_KAPPA
    ]


def judged_by_itself(scorers: Iterable[str], models: Mapping[str, str]) -> list[str]:
    """Return a sentence for each model that judges its own answers.

    Args:
        scorers: Their specs.
        models: Fingerprints by role.
    """
    specs = (scorer.partition(":") for scorer in scorers)
    judges = {judge_of(spec).model.fingerprint for name, _, spec in specs if name == "judge"}
    return [
        f"The {role} model judges its own answers, which it may find too good. Name another judge."
        for role, fingerprint in models.items()
        if fingerprint in judges
    ]
