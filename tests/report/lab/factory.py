"""Made-up runs of the laboratory that look like real ones."""

from __future__ import annotations

from palimpsest.records.lab_results import (
    ByPosition,
    Check,
    Closeness,
    Conjugated,
    Decile,
    Estimate,
    LabProvenance,
    LabResults,
    Losses,
    Oracle,
    Part,
    Prior,
    Remedied,
)

N_POINTS = 9


def estimate(value: float | None, spread: float = 0.05) -> Estimate:
    """Return a number with an interval around it."""
    if value is None:
        return Estimate(value=None)
    return Estimate(value=value, ci95=(value - spread, value + spread))


def line(name: str, kind: str, start: float, end: float, *, spread: float = 0.0) -> ByPosition:
    """Return a quantity that falls geometrically over the exemplars."""
    values = [start * (end / start) ** (at / (N_POINTS - 1)) for at in range(N_POINTS)]
    ends = (
        {"low": [v * (1 - spread) for v in values], "high": [v * (1 + spread) for v in values]}
        if spread
        else {}
    )
    return ByPosition.model_validate({"name": name, "kind": kind, "values": values, **ends})


def conjugated(
    name: str, recovery: float | None, net: float | None, *, n: int = 1, note: str = ""
) -> Conjugated:
    """Return a way of asking with its recovery."""
    return Conjugated(
        name=name,
        n_members=n,
        is_symmetry=not note,
        note=note,
        base=estimate(0.7),
        tuned=estimate(0.9),
        tuned_disc=estimate(0.8),
        recovery=estimate(recovery, 0.1),
        net_recovery=estimate(net, 0.1),
        g_hat=estimate(0.1, 0.01),
    )


def fake_lab_results(
    *, name: str = "tiny", with_remedies: bool = True, forgets: bool = True
) -> LabResults:
    """Return a run in which tuning hides much, and ensembles bring most of it back."""
    recovery = [0.05, 0.55, 0.92, None] if forgets else [None] * 4
    net = [0.04, 0.35, 0.68, None] if forgets else [None] * 4
    conjugations = [
        conjugated("scale:2", recovery[0], net[0], note="'scale:2' is no symmetry of D_cont."),
        conjugated("negate", recovery[3], net[3]),
        conjugated("rotations:1", recovery[0], net[0]),
        conjugated("rotations:4", recovery[1], net[1], n=4),
        conjugated("rotations:32", recovery[2], net[2], n=32),
    ]
    return LabResults(
        name=name,
        check=Check(
            share_of_mixture=0.01,
            alpha=estimate(0.49),
            is_converged=True,
            convergence="Converged. On D_mix 1.0 % of what can be learned is missing.",
            g_hat_discrete=estimate(0.6),
            g_hat_mixture=0.8,
            is_learnt=True,
            sentence="The discrete solution was learnt.",
        ),
        forgetting=estimate(0.4 if forgets else 0.0),
        base_cont=estimate(0.75),
        base_disc=estimate(0.36),
        tuned_cont=estimate(1.15),
        tuned_disc=estimate(0.31),
        oracles=[
            Oracle(name="ridge", disc=0.8, cont=0.56),
            Oracle(name="discrete", disc=0.24, cont=4.8),
            Oracle(name="mixture", disc=0.29, cont=0.63),
            Oracle(name="zero", disc=6.0, cont=4.0),
        ],
        curve=[
            Losses(
                step=step,
                disc=estimate(0.36 - 0.05 * at),
                cont=estimate(0.75 + 0.2 * at),
                cont_ensemble=estimate(0.65 + 0.05 * at),
                g_hat=estimate(0.06 + 0.05 * at, 0.01),
                g_hat_ensemble=estimate(0.03 + 0.01 * at, 0.01),
            )
            for at, step in enumerate((0, 10, 150))
        ],
        by_exemplars=[
            line("base", "base", 4.7, 0.05, spread=0.1),
            line("tuned", "tuned", 5.6, 0.1, spread=0.1),
            *(
                line(one.name, "conjugated", 4.4, 0.07, spread=0.1)
                for one in conjugations
                if one.n_members in (1, 32)
            ),
            line("ridge", "exact", 4.0, 0.02),
            line("discrete", "exact", 6.0, 4.5),
            line("mixture", "exact", 4.5, 0.021),
        ],
        inference=[
            line("base", "base", 0.5, 0.02, spread=0.1),
            line("tuned", "tuned", 0.8, 0.06, spread=0.1),
            line("tuned under rotations:32", "conjugated", 0.2, 0.05, spread=0.1),
            line("mixture", "exact", 0.5, 0.001, spread=0.1),
        ],
        split=[
            Part(
                name=who,
                excess=estimate(sum(parts)),
                inference=estimate(parts[0]),
                overlap=estimate(parts[1]),
                bias=estimate(parts[2]),
                variance=estimate(parts[3]),
            )
            for who, parts in (("base", (0.04, -0.01, 0.07, 0.1)), ("tuned", (0.2, 0.0, 0.1, 0.25)))
        ],
        priors=[
            Prior(name=who, alpha=estimate(alpha), log_odds=estimate(odds), distance=0.1)
            for who, alpha, odds in (("base", 0.48, -0.1), ("tuned", 1.0, None))
        ],
        closeness=[
            Closeness.model_validate(
                {
                    "by": by,
                    "deciles": [
                        Decile(closeness=-10.0 + at, change=estimate(0.1 + 0.1 * at))
                        for at in range(10)
                    ],
                    "last_minus_first": estimate(0.9),
                }
            )
            for by in ("likelihood", "odds")
        ],
        conjugations=conjugations,
        remedies=[
            Remedied(
                name=f"{kind} {strength:g}",
                kind=kind,
                strength=strength,
                disc=estimate(0.32 + 0.01 * at),
                cont=estimate(1.0 - 0.05 * at),
                cont_ensemble=estimate(0.72 - 0.01 * at),
            )
            for at, (kind, strength) in enumerate(
                (("replay", 0.1), ("lora_rank", 2.0), ("l2_sp", 0.1), ("interpolation", 0.5))
            )
        ]
        if with_remedies
        else [],
        findings=["Tuning hid much.", "Rotations brought it back."],
        warnings=[],
        provenance=LabProvenance(
            created="2026-11-20T12:00:00+00:00",
            command="palimpsest lab run tiny",
            config={
                "name": name,
                "problem": {"n_dims": 4, "n_tasks": 4},
                "model": {"n_points": None},
            },
            models={"base": "0123456789abcdef", "tuned": "fedcba9876543210"},
            versions={"python": "3.11.7"},
            platform="Linux x86_64, 2 cores",
            device="cpu",
            commit=None,
            seconds={"pretraining": 60.0},
        ),
    )
