"""Statistics for paired binary outcomes: intervals, tests, recovery, multiplicity."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.stats.agreement import Kappa, cohens_kappa
    from palimpsest.stats.bootstrap import (
        Array,
        bootstrap_means,
        expanded_confidence,
        named_stream,
        percentile_interval,
    )
    from palimpsest.stats.evidence import (
        OpenInterval,
        Side,
        anytime_p_value,
        coin_log_wealth,
        log_wealth,
        mean_sequence,
        share_log_wealth,
        share_sequence,
    )
    from palimpsest.stats.guessing import adjust_for_guessing, adjusted_forgetting_interval
    from palimpsest.stats.means import Line, Mean, Point, mean_over_runs
    from palimpsest.stats.multiplicity import choose_best, holm, in_first_half
    from palimpsest.stats.paired import is_binary
    from palimpsest.stats.pooling import LEAST_CELLS, pooled_falls, pooled_shares
    from palimpsest.stats.proportions import Interval, wilson_interval
    from palimpsest.stats.recovery import (
        N_PSEUDO,
        Arms,
        estimate_forgetting,
        estimate_recovery,
        mean_interval,
    )
    from palimpsest.stats.simultaneous import simultaneous_intervals

__all__ = [
    "LEAST_CELLS", "N_PSEUDO", "Arms", "Array", "Interval", "Kappa", "Line", "Mean", "OpenInterval",
    "Point", "Side", "adjust_for_guessing", "adjusted_forgetting_interval", "anytime_p_value",
    "bootstrap_means", "choose_best", "cohens_kappa", "coin_log_wealth", "estimate_forgetting",
    "estimate_recovery", "expanded_confidence", "holm", "in_first_half", "is_binary", "log_wealth",
    "mean_interval", "mean_over_runs", "mean_sequence", "named_stream", "percentile_interval",
    "pooled_falls", "pooled_shares", "share_log_wealth", "share_sequence", "simultaneous_intervals",
    "wilson_interval",
]  # fmt: skip

lazy_face(globals())
