"""Subject of a diagnosis: both models, the suite, and the ways of asking."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from palimpsest.judging.agreement import judged_by_itself
from palimpsest.judging.doctor import examine_quickly
from palimpsest.judging.evaluation import Settings, settings_for
from palimpsest.judging.pairing import ROLES
from palimpsest.judging.samples import Samples, check_samples
from palimpsest.judging.via import Via, distinct_vias, parse_via
from palimpsest.lm.conjugations import CONJUGATIONS
from palimpsest.lm.models import LanguageModel, can_score, load_model
from palimpsest.lm.models.huggingface import check_templates
from palimpsest.lm.suites import Suite, default_suite, load_suite, scored_by

ALWAYS_VIA = ("leet", "pig-latin")
"""Text conjugations that are tried by default, whatever the suite's languages."""


class DiagnosisPlan(NamedTuple):
    """The questions, and whom they are put to."""

    suite: Suite
    vias: Sequence[Via]
    """Plain first."""
    models: Mapping[str, LanguageModel]
    """By role."""
    settings: Settings
    samples: Samples | None = None
    """How many answers of each prompt are drawn; by default each is greedy."""


def default_vias(suite: Suite) -> list[str]:
    """Return what is tried when nothing is asked for: other languages, then text conjugations."""
    languages = [name for name in suite.languages[1:] if name not in CONJUGATIONS]
    return [*languages, *ALWAYS_VIA]


def prepare_diagnosis(
    base: str | LanguageModel,
    tuned: str | LanguageModel,
    suite: str | Suite | None,
    via: Sequence[str] | None,
    limit: int | None,
    scorer: str | None,
    samples: str | Samples | None = None,
) -> DiagnosisPlan:
    """Open the models, load the suite, and read the ways of asking; plain is the first."""
    drawn = Samples.parse(samples) if isinstance(samples, str) else samples
    chosen = suite or default_suite(base, tuned)
    built = load_suite(chosen, limit=limit) if isinstance(chosen, str) else chosen
    if scorer is not None:
        built = scored_by(built, scorer)
    specs = default_vias(built) if via is None else via
    vias = [parse_via(spec, built) for spec in ("identity", *specs)]
    models = {
        role: load_model(model) if isinstance(model, str) else model
        for role, model in zip(ROLES, (base, tuned), strict=True)
    }
    if drawn is None:
        settings = settings_for(built, models.values())
    else:
        check_samples(models.values())
        settings = replace(Settings.of(built), by_likelihood=False)
    return DiagnosisPlan(built, distinct_vias(vias), models, settings, drawn)


def known_beforehand(plan: DiagnosisPlan) -> list[str]:
    """Return what a reader must know of the pair, and is known before anything is asked.

    Raises:
        UserError: A model's chat template cannot write the suite's prompts.
    """
    prompts = [example.prompt for example in plan.suite.examples]
    forms = [via.form for via in plan.vias if via.form is not None]
    check_templates(plan.models, [*prompts, *(form.of(prompts[0]) for form in forms)])
    findings = examine_quickly(plan.models, plan.suite)
    serious = [each.sentence for each in findings if each.severity in ("note", "no verdict")]
    return serious + _method(plan) + _judged_by_itself(plan)


def _judged_by_itself(plan: DiagnosisPlan) -> list[str]:
    scorers = {example.scorer for example in plan.suite.examples}
    return judged_by_itself(
        scorers, {role: model.fingerprint for role, model in plan.models.items()}
    )


def _method(plan: DiagnosisPlan) -> list[str]:
    """Say so where answers are generated although they could have been chosen."""
    if plan.settings.by_likelihood or not any(e.choices for e in plan.suite.examples):
        return []
    if plan.samples is not None:
        return ["Answers are drawn, so that none is chosen by likelihood: all are generated."]
    mute = [f"'{model.spec}'" for model in plan.models.values() if not can_score(model)]
    return [
        f"{' and '.join(mute)} cannot say how likely a given answer is, so both models' answers "
        "are generated and read by their beginning."
    ]


def configuration(plan: DiagnosisPlan) -> dict[str, object]:
    """Return what is asked, and of whom, for the run folder."""
    suite = plan.suite
    return {
        "models": {role: model.spec for role, model in plan.models.items()},
        "fingerprints": {role: model.fingerprint for role, model in plan.models.items()},
        "suite": suite.name,
        "suite_parameters": json.loads(json.dumps(dict(suite.parameters), default=str)),
        "via": [via.name for via in plan.vias],
        "settings": plan.settings.fingerprint,
        "stop": list(plan.settings.stop),
        "by_likelihood": plan.settings.by_likelihood,
        **({} if plan.samples is None else {"samples": str(plan.samples)}),
    }
