"""The sentences that explain a diagnosis: verdicts, quantities, the paper."""

from __future__ import annotations

from typing import NamedTuple

PAPER = (
    "Suhas Kotha, Jacob Mitchell Springer and Aditi Raghunathan, “Understanding Catastrophic "
    "Forgetting in Language Models via Implicit Inference”, ICLR 2024, arXiv:2309.10105."
)


class VerdictWords(NamedTuple):
    """A verdict for people."""

    title: str
    meaning: str
    """What it says about the ability, in one sentence."""


VERDICTS: dict[str, VerdictWords] = {
    "kept": VerdictWords("Kept", "The tuned model still has the ability when asked plainly."),
    "suppressed": VerdictWords(
        "Suppressed",
        "Hidden, not gone: the tuned model no longer infers what is asked, "
        "and does it again under a conjugation.",
    ),
    "lost": VerdictWords(
        "Lost", "The ability does not come back under any of the conjugations tried."
    ),
    "inconclusive": VerdictWords("Inconclusive", "These data do not decide between the others."),
}

RULES: tuple[tuple[str, str], ...] = (
    (
        "Kept",
        "A fall of 5 points or more is excluded: both 95 % intervals of the forgetting end below "
        "that.",
    ),
    (
        "Suppressed",
        "There is a clear fall (both intervals above zero, p below 0.05), and the best "
        "conjugation, measured on the half that did not choose it, brings most of it back: the "
        "interval of the recovery lies above 0.5, that of the DiD above zero, and p (Holm) is "
        "below 0.05.",
    ),
    (
        "Lost",
        "There is a clear fall, and wherever the base model keeps the ability under a "
        "conjugation, little of it comes back: the interval of the recovery lies below 0.25. "
        "Under at least one of these conjugations the tuned model’s errors must be mostly not "
        "the other ability’s answers, or the conjugation has not got past its inference.",
    ),
    (
        "Inconclusive",
        "Everything else. Also whatever is seen on fewer than 30 examples, or where the base "
        "model’s accuracy is not clearly above 10 %.",
    ),
)
"""Each verdict and when it is given; tests hold these numbers against the rule that is applied."""

QUANTITIES: tuple[tuple[str, str], ...] = (
    (
        "Right, intruded, broken",
        "An answer is right if it begins with what the ability under test says, intruded if it "
        "begins with what another ability would say to the same prompt, and broken if it does "
        "neither. The answer is inverted and normalised first; nothing is guessed. Each single "
        "prompt shows the texts that its answers are compared with; under a lossy conjugation, "
        "that is what it keeps of them.",
    ),
    (
        "Accuracy",
        "The share of right answers. Its interval is Wilson’s, at 95 %.",
    ),
    (
        "Forgetting",
        "Accuracy of the base model minus accuracy of the tuned model, both asked plainly. Its "
        "interval is a bootstrap over source examples, because the versions of one example in "
        "several languages are not independent; Newcombe’s interval for paired proportions is "
        "given beside it, and the p-value is McNemar’s exact test.",
    ),
    (
        "Recovery",
        "How much of the forgetting a conjugation undoes: (tuned under it − tuned plain) / "
        "(base plain − tuned plain). 0 is nothing, 1 is all. It is undefined where the "
        "forgetting is not clearly above zero: there is nothing to recover.",
    ),
    (
        "DiD",
        "Difference in differences: (tuned under it − tuned plain) − (base under it − base "
        "plain). A conjugation also costs or helps the base model; this is what it does for the "
        "tuned model beyond that. Read it beside the accuracies: where the base model breaks down "
        "too, it is large though nothing has come back.",
    ),
    (
        "Flips",
        "How many examples go from right to not right (1→0) and the other way (0→1): from base to "
        "tuned in the plain row, from tuned plain to tuned under the conjugation in the others.",
    ),
    (
        "p (Holm)",
        "McNemar’s exact test of the tuned model under the conjugation against the tuned model "
        "plain, adjusted by Holm’s method for the number of conjugations; unadjusted in the "
        "plain row, which tests tuned against base.",
    ),
    (
        "Without guesses",
        "Where answers can be guessed: what is left if an item that a model does not know is right "
        "by chance c. Accuracy a becomes (a − c) / (1 − c); of the flips either way, those are "
        "taken off that guessing twice explains, estimated from the items that both models have "
        "wrong.",
    ),
    (
        "Fidelity",
        "How much of the prompts survives the way there and back: the mean chrF (character n-grams "
        "up to six) of the inverse of the sent prompt against the prompt, 100 % where nothing is "
        "lost. A translation is only approximately invertible, so what it costs is seen here and "
        "in the base model’s accuracy. Nothing is sent back in a native language.",
    ),
    (
        "Kind",
        "Exact: the inverse gives back every text unchanged. Lossy: it does not; what it keeps is "
        "said beside it. Native: the suite holds the same example in that language, and nothing "
        "is inverted.",
    ),
)
"""Each quantity in the table with its definition."""

_RIGHT_OR_WRONG = (
    "Right, wrong",
    "What the logs say: an item counts 1 if its score is the best there is, and 0 if it is the "
    "worst. Nothing is scored anew. The logs do not tell whether a wrong answer is another "
    "ability’s.",
)

_GRADED = {
    "Accuracy": "The mean score, from 0 (worst) to 1 (best), as the logs have it; several answers "
    "to one item count by their mean. Its interval is a bootstrap over items, at 95 %.",
    "Forgetting": "Mean score of the base model minus that of the tuned model, both asked plainly. "
    "Its interval is a bootstrap over items. The p-value is that of the paired randomisation test: "
    "how often random signs make the differences add up to as much.",
    "Flips": "How many items have a lower score (1→0) and a higher one (0→1): from base to tuned "
    "in the plain row, from tuned plain to tuned under the conjugation in the others.",
    "p (Holm)": "The paired randomisation test of the tuned model under the conjugation against "
    "the tuned model plain, adjusted by Holm’s method for the number of conjugations; unadjusted "
    "in the plain row, which tests tuned against base.",
}


def quantities(scoring: str) -> list[tuple[str, str]]:
    """Return the quantities as they are defined for a way of scoring."""
    if scoring == "abilities":
        return list(QUANTITIES)
    defined = [_RIGHT_OR_WRONG, *QUANTITIES[1:]] if scoring == "binary" else [*QUANTITIES[1:]]
    graded = _GRADED if scoring == "graded" else {}
    return [(name, graded.get(name, definition)) for name, definition in defined]
