"""Records of a run: answers, the results schema, and the folder that holds them."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.records.answers import (
        ATTEMPTED,
        CUT,
        IN_ANSWER,
        AnswerKey,
        AnswerRow,
        Outcome,
        answer_flag,
        points,
        score_of,
    )
    from palimpsest.records.failures import explained
    from palimpsest.records.families import (
        RESTORATION_FILE,
        TRACE_FILE,
        AccuracyCurve,
        CellFigures,
        Choice,
        Cure,
        FrontPoint,
        Half,
        Restoration,
        TargetInfo,
        Trace,
        TraceCheckpoint,
        Window,
    )
    from palimpsest.records.history import History, HistoryChange, HistoryFigures, HistoryRun
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
    from palimpsest.records.measurements import (
        FILE_NAME,
        Measurement,
        MeasurementLog,
        read_measurements,
    )
    from palimpsest.records.plans import (
        Assumed,
        EvaluationPlan,
        Needed,
        PlannedCost,
        PlannedPoint,
        PlannedVerdict,
        SmallestFall,
    )
    from palimpsest.records.provenance import commit_of, platform_facts, versions
    from palimpsest.records.results import (
        Agreement,
        Arm,
        Best,
        Cell,
        CellRounds,
        ConjugationResult,
        CrewRecord,
        Drawn,
        FloorCell,
        Guessing,
        InferenceArm,
        InferenceResult,
        Interval,
        Looked,
        ModelInfo,
        Noise,
        Plain,
        Pooled,
        PooledCell,
        Provenance,
        Results,
        Scoring,
        SuiteInfo,
        UntilSure,
        Usage,
        Verdict,
        WorkerRecord,
    )
    from palimpsest.records.run_folder import RunFolder, WriterLock
    from palimpsest.records.sittings import Sittings, last_written, sit_down
    from palimpsest.records.store import AnswerStore
    from palimpsest.records.stored_answers import StoredAnswers, blocks_of, columns_of, taken
    from palimpsest.records.thresholds import THRESHOLDS

__all__ = [
    "ATTEMPTED", "CUT", "FILE_NAME", "IN_ANSWER", "RESTORATION_FILE", "THRESHOLDS", "TRACE_FILE",
    "AccuracyCurve", "Agreement", "AnswerKey", "AnswerRow", "AnswerStore", "Arm", "Assumed",
    "Best", "ByPosition", "Cell", "CellFigures", "CellRounds", "Check", "Choice", "Closeness",
    "Conjugated", "ConjugationResult", "CrewRecord", "Cure", "Decile", "Drawn", "Estimate",
    "EvaluationPlan", "FloorCell",
    "FrontPoint", "Guessing", "Half", "History", "HistoryChange", "HistoryFigures", "HistoryRun",
    "InferenceArm", "InferenceResult", "Interval", "LabProvenance", "LabResults", "Looked",
    "Losses", "Measurement", "MeasurementLog", "ModelInfo", "Needed", "Noise", "Oracle", "Outcome",
    "Part", "Plain", "PlannedCost", "PlannedPoint", "PlannedVerdict", "Pooled", "PooledCell",
    "Prior", "Provenance", "Remedied", "Restoration", "Results", "RunFolder", "Scoring", "Sittings",
    "SmallestFall", "StoredAnswers", "SuiteInfo", "TargetInfo", "Trace", "TraceCheckpoint",
    "UntilSure", "Usage", "Verdict", "Window", "WorkerRecord", "WriterLock", "answer_flag",
    "blocks_of", "columns_of", "commit_of", "explained", "last_written", "platform_facts", "points",
    "read_measurements", "score_of", "sit_down", "taken", "versions",
]  # fmt: skip

lazy_face(globals())
