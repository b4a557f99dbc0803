"""The schema of ``results.json``: what a diagnosis says, versioned and typed.

Accuracies, intervals and differences are fractions (0.25 is 25 points). ``forgetting`` is
base − tuned; ``recovery`` is (tuned under s − tuned) / (base − tuned), null where the forgetting
is not clearly above zero; ``did`` is (tuned under s − tuned) − (base under s − base).

Where answers have graded scores, from 0 to 1, an accuracy is a mean score; its interval and that of
the forgetting are bootstrap intervals, p-values are those of the paired randomisation test, and 1→0
and 0→1 count examples whose score fell and rose.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA: Final = "palimpsest.results/1"

Verdict = Literal["kept", "suppressed", "lost", "inconclusive"]
Interval = tuple[float, float]


class Record(BaseModel):
    """A frozen record; unknown fields are errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True
    )


class Arm(Record):
    """One model under one conjugation on a set of examples."""

    n: int
    """Examples scored."""
    accuracy: float
    """Share of right answers."""
    ci95: Interval
    """Wilson interval of the accuracy."""
    intruded: float
    """Share of answers that belong to another ability."""
    attempted: float = 0.0
    """Share of answers that have the form of another ability's and are wrong there as well; part of
    ``intruded``."""
    broken: float
    """Share of answers that are neither."""
    flags: dict[str, int] = Field(default_factory=dict)
    """How many answers, right or wrong, are empty, cut off, refusals, in another language, a
    thought alone, chosen in a tie, or without a judgement."""


class Guessing(Record):
    """Base against tuned without what guessing explains; fractions of all examples."""

    chance: float
    """Mean accuracy of guessing on these examples."""
    base: float
    """Share of the examples that the base model knows: (accuracy − chance) / (1 − chance)."""
    tuned: float
    """The same for the tuned model."""
    forgetting: float
    """The first minus the second."""
    forgetting_ci95: Interval
    """Clustered bootstrap interval."""
    lost: float
    """Share of the examples that went from known to not known, guesses taken off (1→0)."""
    gained: float
    """Share that went the other way (0→1)."""


class Looked(Record):
    """What the tuned model's wrong answers look like: does something else than a loss explain them?

    Another ability's answers are not looked at: they say what they are.
    """

    n_wrong: int
    """Broken answers."""
    n_looked: int
    """How many of them were looked at: those that were seen to their end, or a sample of them."""
    found: dict[str, int] = Field(default_factory=dict)
    """How many of these show each thing that is no loss, such as ``further on``."""
    n_by_chance: float = 0.0
    """In how many of them the answer that is expected of another example was found."""
    explained: float = 0.0
    """Share of all examples whose wrong answers are explained so, chance taken off."""
    scorer: str | None = None
    """A scorer that finds the expected answer where it stands further on."""
    examples: dict[str, str] = Field(default_factory=dict)
    """Up to ten source examples with such an answer, and what it shows."""


class InferenceArm(Record):
    """Where one model's probability lies at the beginning of its answers, in the mean of prompts.

    Each mass has its bootstrap interval over source examples.
    """

    n: int
    """Prompts."""
    right: float
    """Mass on openings of right answers."""
    right_ci95: Interval
    intruding: float
    """Mass on openings of other abilities' answers, or on what has their form."""
    intruding_ci95: Interval
    other: float
    """Mass elsewhere."""
    other_ci95: Interval
    unseen: float
    """Mass of tokens that were not looked at, each unlikely; part of ``other``."""
    g: float | None
    """``intruding / (right + intruding)`` of the sums over the prompts: how far the model infers
    another task; null where both are zero."""
    g_ci95: Interval | None


class InferenceResult(Record):
    """Both models' inference under one way of asking."""

    via: str
    """As among the conjugations; ``identity`` for the plain prompts."""
    base: InferenceArm
    tuned: InferenceArm
    shift: float
    """Mean change of ``log(intruding / right)`` from base to tuned, 0.0001 added to both masses."""
    shift_ci95: Interval
    n_drift: int
    """Prompts whose right answer goes on behind its opening."""
    drift: float | None
    """Mean change of the log-likelihood per token of the rest of the right answer, its opening
    forced; null without such prompts."""
    drift_ci95: Interval | None


class Noise(Record):
    """How the base model's answers change by themselves, when it is asked again, plainly."""

    n_times: int
    """How often it was asked again, each time as another machine would."""
    n: int
    """Examples."""
    n_lost: int
    """Answers that were right the first time and not another (1→0), over all times."""
    n_gained: int
    """Answers that were right only another time (0→1), over all times."""
    floor: float
    """Mean change of a score, whichever way: the share of answers that flip. A fall of up to this
    is called none."""
    ci95: Interval
    """Clustered bootstrap interval of it."""


class Plain(Record):
    """Base against tuned without any conjugation."""

    base: Arm
    tuned: Arm
    forgetting: float
    """Base accuracy minus tuned accuracy."""
    forgetting_ci95: Interval
    """Clustered bootstrap interval, clusters being source examples."""
    forgetting_newcombe95: Interval | None
    """Newcombe's interval for the paired difference; null for graded scores."""
    p_value: float
    """Exact McNemar test of base against tuned."""
    n_lost: int
    """Examples right in the base and not in the tuned model (1→0)."""
    n_gained: int
    """Examples right in the tuned model and not in the base (0→1)."""
    adjusted: Guessing | None = None
    """The same without guesses; null where there is no chance level."""
    looked: Looked | None = None
    """The tuned model's wrong answers; null where no verdict rests on them."""
    noise: Noise | None = None
    """What of the base model's answers changes by itself; null where it was not asked again."""
    at_any_time: bool = False
    """Whether intervals and p-value hold at whatever moment one looks: they are those of a
    confidence sequence and of bets, both fields of the interval have the same, and so have those
    under conjugations."""

    @property
    def forgetting_hull95(self) -> Interval:
        """The smallest interval that holds both of it: what verdicts and reports go by."""
        low, high = self.forgetting_ci95
        other_low, other_high = self.forgetting_newcombe95 or self.forgetting_ci95
        return min(low, other_low), max(high, other_high)


class ConjugationResult(Record):
    """Both models under one conjugation, against both models asked plainly."""

    name: str
    exact: bool
    keeps: str
    """What the conjugation preserves, in words."""
    native: bool | None = None
    """Whether the examples exist in that language, so that nothing is inverted; null in results of
    earlier versions."""
    base: Arm
    tuned: Arm
    recovery: float | None
    recovery_ci95: Interval | None
    did: float
    did_ci95: Interval
    p_value: float
    """Exact McNemar test of the tuned model under the conjugation against the tuned model plain."""
    p_holm: float
    """The same, adjusted by Holm over the conjugations."""
    n_lost: int
    """Examples that the tuned model has right plainly and not under the conjugation (1→0)."""
    n_gained: int
    """Examples that the tuned model has right only under the conjugation (0→1)."""
    round_trip: float | None = None
    """Share of prompts that ``invert(apply(p))`` returns unchanged; null for native languages."""
    fidelity: float | None = None
    """Mean chrF of ``invert(apply(p))`` against the prompt, from 0 to 1; null likewise."""
    survival: float | None = None
    """Mean share of a prompt's labels, numbers, code, URLs and placeholders that the sent prompt
    still has; 1 for exact conjugations, null for native languages."""
    n_excluded: int = 0
    """Examples left out here, of both models alike, as their fidelity is below the least asked."""
    n_fell: int | None = None
    """Of these examples, asked plainly, how many only the base model has right; null for graded
    scores, and in results of earlier versions."""
    n_returned: int | None = None
    """How many of them the tuned model has right under the conjugation."""
    looked: Looked | None = None
    """The tuned model's wrong answers here; null where no verdict rests on them."""


class Best(Record):
    """The best conjugation, chosen on one half of the source examples, measured on the other."""

    name: str
    n_selection: int
    n_report: int
    tuned_plain: Arm
    tuned: Arm
    base_plain: Arm
    base: Arm
    recovery: float | None
    recovery_ci95: Interval | None
    did: float
    did_ci95: Interval
    p_value: float


class Cell(Record):
    """The whole analysis for one cell of the suite."""

    name: str
    plain: Plain
    p_holm: float | None = None
    """The p-value of base against tuned, adjusted by Holm over the cells."""
    conjugations: list[ConjugationResult]
    best: Best | None
    verdict: Verdict
    verdict_reason: str
    inference: list[InferenceResult] = Field(default_factory=list)
    """As in the results."""


class PooledCell(Record):
    """A cell's figures, drawn towards those of the other cells as far as they are alike."""

    name: str
    fall: float
    """Posterior mean of base − tuned accuracy."""
    fall_ci95: Interval
    """95 % of the posterior."""
    n_fell: int | None = None
    """Examples that only the base model has right, asked plainly, and that were asked under the
    conjugation; null where the cell did not clearly fall."""
    n_returned: int | None = None
    """How many of them the tuned model has right under it."""
    returned: float | None = None
    """Posterior mean of that share."""
    returned_ci95: Interval | None = None


class Pooled(Record):
    """Partially pooled figures, beside those of the cells; no verdict goes by them."""

    via: str | None
    """The conjugation of ``returned``; null where fewer than three cells clearly fell."""
    cells: list[PooledCell]
    """In the order of the cells."""


class FloorCell(Record):
    """A cell that the base model cannot do, so that there was nothing to lose.

    Nothing else was asked in it, of either model; it is no part of any other figure.
    """

    name: str
    n: int
    """Plain prompts that the base model answered."""
    accuracy: float
    """Share that it has right."""
    ci95: Interval
    """Wilson interval of it."""
    floor: float
    """The lower end would have had to be above this: guessing among choices, or the least that
    counts as an ability."""


class CellRounds(Record):
    """What a cell was asked until its verdict was sure."""

    name: str
    n_rounds: int
    """In which it was asked anything."""
    n_plain: int
    """Examples asked plainly, of both models."""
    n_under: dict[str, int]
    """Examples asked under each conjugation."""
    n_available: int
    """Examples that the suite has."""
    is_decided: bool
    """Whether the evidence was enough; else the examples were used up."""
    why: str
    """What was decided, or is still open: ``ability``, ``fall`` or ``recovery``."""


class UntilSure(Record):
    """How a run in rounds went; its figures hold at whatever moment one looks."""

    alpha: float
    """Twice the chance that a claim about a cell is ever made wrongly."""
    first_round: int
    n_rounds: int
    cells: list[CellRounds]
    n_answers: int
    """Asked of both models."""
    n_all: int
    """What asking everything would have been."""


class Agreement(Record):
    """How far a scorer agrees with people on answers that both have judged."""

    scorer: str
    n: int
    """Answers that people have judged."""
    n_undecided: int = 0
    """Those on which a judge gave no judgement; they count as disagreement."""
    agreement: float
    """Share of the answers on which both say the same: right, or not."""
    ci95: Interval
    """Wilson interval of it."""
    kappa: float | None
    """Cohen's κ: agreement beyond chance; null where both know but one category."""
    kappa_ci95: Interval | None


class Usage(Record):
    """What all answers of one model took, those included that an earlier run asked for."""

    n_prompt_tokens: int | None
    """Tokens sent, as the back end counts them; null where it does not say."""
    n_answer_tokens: int
    """Tokens generated."""
    n_shared: int = 0
    """Answers that were not asked for by themselves, as the same prompt was sent for another
    question."""


class ModelInfo(Record):
    """Which model it was."""

    spec: str
    fingerprint: str
    facts: dict[str, str] = Field(default_factory=dict)
    usage: Usage | None = None


Scoring = Literal["abilities", "binary", "graded"]
"""``abilities``: an answer is right, intruded or broken. ``binary``: right or wrong, which is all
that a log says; wrong answers count as broken. ``graded``: a score from 0 to 1."""


class SuiteInfo(Record):
    """Which suite it was."""

    name: str
    fingerprint: str
    description: str
    source_language: str
    languages: list[str]
    n_source_examples: int
    chance: float | None = None
    """The accuracy of guessing, where that is meaningful."""
    scoring: Scoring = "abilities"
    from_logs: bool = False
    """Whether the answers come from logs of another program, which scored them."""


class WorkerRecord(Record):
    """What was done in one place of a crew, by however many workers after one another."""

    host: str
    """The machine of the last one; empty where none was ready."""
    n_answers: int
    busy_seconds: float
    """While it was asked, loading included."""
    n_restarts: int
    """How many workers died in it."""


class CrewRecord(Record):
    """The workers that held the models."""

    engine: str
    """``processes``, ``ray`` or of a plugin."""
    workers: list[WorkerRecord]
    n_set_aside: int
    """Prompts without an answer, as several workers had died of each."""


class Drawn(Record):
    """How answers were drawn, where several of each prompt were asked for.

    An accuracy is then the mean over the samples of each prompt (pass@1), an answer as right as
    that; intervals and tests are over prompts.
    """

    n: int
    """Samples of each prompt."""
    temperature: float
    top_p: float
    seed: int


class Provenance(Record):
    """What is needed to repeat the run."""

    created: str
    """ISO 8601, UTC."""
    command: str
    versions: dict[str, str]
    """Package to version."""
    platform: str
    commit: str | None
    """The commit of the working directory's repository, if it is one."""
    seed: int
    n_resamples: int
    conjugations: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Facts on conjugations that stand on something else, such as a translator's version."""
    min_fidelity: float = 0.0
    """Prompts that come back with less than this chrF were left out, of both models alike."""
    cost_usd: float | None = None
    """What this call paid for, by the price table; null without a budget."""
    crew: CrewRecord | None = None
    """Who computed the answers of this call; null where one process did."""
    seconds: float
    """Wall time of this call; answers already in the run folder cost nothing."""
    seconds_in_all: float | None = None
    """Wall time of all calls that asked for the answers, in this folder or in those that they were
    taken from, killed ones up to their last answer; null where that is not known."""


class Results(Record):
    """A whole diagnosis."""

    schema_: Literal["palimpsest.results/1"] = Field(default=SCHEMA, alias="schema")
    base: ModelInfo
    tuned: ModelInfo
    suite: SuiteInfo
    plain: Plain
    conjugations: list[ConjugationResult]
    cells: list[Cell]
    best: Best | None
    verdict: Verdict
    verdict_reason: str
    inference: list[InferenceResult] = Field(default_factory=list)
    """Under each way of asking, the plain one first, if it was measured."""
    warnings: list[str] = Field(default_factory=list)
    """Whatever a reader must know before trusting the figures."""
    at_floor: list[FloorCell] = Field(default_factory=list)
    """Cells in which the base model was asked plainly, and nothing else."""
    until_sure: UntilSure | None = None
    """How it was asked in rounds; null where everything was asked."""
    samples: Drawn | None = None
    """How answers were drawn; null where each is greedy, or comes from logs."""
    pooled: Pooled | None = None
    """The cells' figures partially pooled; null with one or two cells, and for graded scores."""
    agreements: list[Agreement] = Field(default_factory=list)
    """Of each scorer with people, where the suite has answers that people have judged."""
    provenance: Provenance

    def to_json(self) -> str:
        """Return the text of ``results.json``."""
        return self.model_dump_json(by_alias=True, indent=2)
