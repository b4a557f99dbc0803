"""The diagnosis: questions asked, answers paired and analysed, and a verdict with its reason."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.judging.analysis import Analysis, analyse
    from palimpsest.judging.anytime import analyse_rounds
    from palimpsest.judging.conclude import (
        OpenRun,
        model_info,
        open_run,
        rewrite_report,
        suite_info,
    )
    from palimpsest.judging.diagnosis import diagnose
    from palimpsest.judging.doctor import Examination, examine_pair, examine_quickly
    from palimpsest.judging.dry_run import Forecast, ModelForecast, forecast
    from palimpsest.judging.evaluation import evaluate, evaluate_stored, settings_for
    from palimpsest.judging.history import compare_runs
    from palimpsest.judging.lacking import Lacking
    from palimpsest.judging.pairing import PLAIN, PairedAnswers
    from palimpsest.judging.planning import DEFAULT_PROMPTS, Assumptions, plan
    from palimpsest.judging.preview import PreviewedExample, SentPrompt, endings, preview_suite
    from palimpsest.judging.prompt import MemberAnswer, PromptAnswer, ask
    from palimpsest.judging.questions import (
        Expected,
        Question,
        RawAnswer,
        Settings,
        as_recorded,
        expected_under,
    )
    from palimpsest.judging.rescoring import rescore
    from palimpsest.judging.rounds import ask_in_rounds
    from palimpsest.judging.shards import Shard, answer_shard, merge
    from palimpsest.judging.subject import ALWAYS_VIA, default_vias
    from palimpsest.judging.verdicts import clearly_fell, fall_interval
    from palimpsest.judging.via import Via, distinct_vias, parse_via
    from palimpsest.judging.whole import Whole
    from palimpsest.judging.workers import Workers

__all__ = [
    "ALWAYS_VIA", "DEFAULT_PROMPTS", "PLAIN", "Analysis", "Assumptions", "Examination",
    "Expected", "Forecast", "Lacking", "MemberAnswer", "ModelForecast", "OpenRun",
    "PairedAnswers", "PreviewedExample", "PromptAnswer", "Question", "RawAnswer", "SentPrompt",
    "Settings", "Shard", "Via", "Whole", "Workers", "analyse", "analyse_rounds", "answer_shard",
    "as_recorded", "ask", "ask_in_rounds", "clearly_fell", "compare_runs", "default_vias",
    "diagnose", "distinct_vias", "endings", "evaluate", "evaluate_stored", "examine_pair",
    "examine_quickly", "expected_under", "fall_interval", "forecast", "merge", "model_info",
    "open_run", "parse_via", "plan", "preview_suite", "rescore", "rewrite_report",
    "settings_for", "suite_info",
]  # fmt: skip

lazy_face(globals())
