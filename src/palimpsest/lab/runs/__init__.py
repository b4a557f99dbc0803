"""Runs of the laboratory: configuration, stages, sweeps, and the claims judged by them."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lab.runs.bases import (
        base_in,
        pretrain_base,
        read_base_manifest,
        shipped_base,
        table_of_bases,
        why_not_shipped,
    )
    from palimpsest.lab.runs.config import Config, load_config
    from palimpsest.lab.runs.running import OnStage, estimate_seconds, run
    from palimpsest.lab.runs.sweep import OnJob, judge_sweep, observe_sweep, plot_again, run_sweep
    from palimpsest.lab.runs.sweep_plan import load_sweep
    from palimpsest.lab.runs.tables import (
        claims_table,
        correlations,
        observed_table,
        rules_list,
    )

__all__ = [
    "Config", "OnJob", "OnStage", "base_in", "claims_table", "correlations", "estimate_seconds",
    "judge_sweep", "load_config", "load_sweep", "observe_sweep", "observed_table", "plot_again",
    "pretrain_base", "read_base_manifest", "rules_list", "run", "run_sweep", "shipped_base",
    "table_of_bases", "why_not_shipped",
]  # fmt: skip

lazy_face(globals())
