"""Examination of a pair before it is judged: files, weights, templates, and a few prompts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any, TypeGuard

from palimpsest.errors import UserError
from palimpsest.judging.pairing import ROLES
from palimpsest.lm import plain_text
from palimpsest.lm.models import LanguageModel, WritesPrompts, load_model
from palimpsest.lm.models.huggingface import Finding, check_pair
from palimpsest.lm.suites import Example, Suite, default_suite, load_suite

if TYPE_CHECKING:
    from palimpsest.lm.models.huggingface import (
        AdapterChange,
        HuggingFaceModel,
        Severity,
        WeightChange,
    )

QUICK_NUMBERS = 2**24
"""Numbers of each model that are looked at before a diagnosis: 64 MB in float32."""

NEARLY_UNCHANGED = 1e-6
"""Below this relative change the weights are those of the base but for rounding."""

ANOTHER_BASE = 0.5
"""From this typical relative change of the matrices on, they share no origin: tuning changes them
by 0.1 % to 20 %, two models that were trained apart differ by about 140 %."""

FAR_FROM_BASE = 0.2
"""From here on it is said that the tuned model is far from its base."""

_N_TEXTS = 24
_N_BATCHED = 8
_N_LONGEST = 64
_FEWEST = 4
_N_CHARACTERS = 4
"""In a token, about."""
_MOST_CHARACTERS = 400
_CLEARLY = 2.0
"""Standard errors from which a difference between two forms counts."""

_BROKEN = "has numbers that are not finite (NaN or infinity)"
_OTHER_BASE = "this is not the base that it was tuned from; name the right one"


@dataclass(frozen=True)
class Examination:
    """What was found in a pair."""

    base: str
    """Its spec."""

    tuned: str
    """Its spec."""

    findings: tuple[Finding, ...]
    """In the order of looking; what is fine is among them."""

    @property
    def can_be_judged(self) -> bool:
        """Whether nothing was found that makes every verdict on the pair worthless."""
        return all(finding.severity != "no verdict" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return what ``palimpsest doctor --json`` prints."""
        findings = [finding._asdict() for finding in self.findings]
        return {**asdict(self), "can_be_judged": self.can_be_judged, "findings": findings}


def examine_pair(
    base: str | LanguageModel, tuned: str | LanguageModel, *, suite: str | Suite | None = None
) -> Examination:
    """Say whether a pair is what it claims to be, and is asked in the form that it was trained in.

    All weights are read once, in pieces; then each model is asked a few prompts of the suite.

    Args:
        base: The model before tuning, or its spec.
        tuned: The model after tuning.
        suite: Whose prompts the pair is to be asked; by default as for a diagnosis.

    Raises:
        UserError: A model or suite that cannot be opened.

    Example:
        >>> found = examine_pair("rosetta:base", "rosetta:tuned", suite="rosetta:n=2")
        >>> found.can_be_judged, {finding.severity for finding in found.findings}
        (True, {'fine'})
    """
    models = {
        role: load_model(model) if isinstance(model, str) else model
        for role, model in zip(ROLES, (base, tuned), strict=True)
    }
    suite = suite or default_suite(base, tuned)
    built = load_suite(suite) if isinstance(suite, str) else suite
    findings = examine_quickly(models, built, most_numbers=None)
    for role, model in models.items():
        if not _is_open(model):
            found = f"The {role} model '{model.spec}' cannot be looked into"
            meaning = "only its answers can be judged"
            findings.append(Finding("models", "unknown", found, meaning))
        elif any(_BROKEN in finding.found for finding in findings):
            found = f"The {role} model was not asked anything"
            findings.append(Finding("answers", "unknown", found, "mend the weights first"))
        else:
            findings += _asked(role, model, built)
    findings = [*_alike(models, findings), *findings]
    return Examination(models["base"].spec, models["tuned"].spec, tuple(findings))


def examine_quickly(
    models: Mapping[str, LanguageModel],
    suite: Suite,
    *,
    most_numbers: int | None = QUICK_NUMBERS,
) -> list[Finding]:
    """Return what can be found without loading a network: files, tokenizers, a part of the weights.

    Args:
        models: By role.
        suite: What they will be asked.
        most_numbers: How many numbers of each model's weights are looked at; ``None`` for all.
    """
    base, tuned = models["base"], models["tuned"]
    findings = check_pair(base, tuned, [each.prompt for each in suite.examples])
    for role, model in models.items():
        if _is_open(model):
            findings += _fit(role, model, suite)
    if _is_open(base) and _is_open(tuned) and base.fingerprint != tuned.fingerprint:
        findings += _weights(base, tuned, most_numbers)
    return findings


def _is_open(model: LanguageModel) -> TypeGuard[HuggingFaceModel]:
    """Return whether a model's files can be looked into."""
    return isinstance(model, WritesPrompts) and hasattr(model, "checkpoint")


_SAME = ("architecture", "tokenizer", "special tokens", "chat template", "end tokens", "dtype")


def _alike(models: Mapping[str, LanguageModel], findings: Sequence[Finding]) -> Iterator[Finding]:
    """Say what was compared and is the same in both."""
    if not all(map(_is_open, models.values())) or any(each.check == "models" for each in findings):
        return
    told = {finding.check for finding in findings}
    same = [name for name in _SAME if name not in told]
    if same:
        found = f"The same in both, or as it should be: {', '.join(same)}"
        yield Finding("pair", "fine", found, "the models can be compared")


def _fit(role: str, model: HuggingFaceModel, suite: Suite) -> list[Finding]:
    """Count the prompts that leave no room for an answer, beginning with the longest."""
    if model.n_context is None:
        return []
    n_wanted = {id(each): _n_wanted(each, suite) for each in suite.examples}
    by_length = sorted(
        suite.examples, key=lambda e: -len(plain_text(e.prompt)) - _N_CHARACTERS * n_wanted[id(e)]
    )

    def lacking(examples: Sequence[Example]) -> list[bool]:
        encoded = model.encode([each.prompt for each in examples])
        return [
            len(tokens) + n_wanted[id(each)] > (model.n_context or 0)
            for each, tokens in zip(examples, encoded, strict=True)
        ]

    try:
        lacks = lacking(by_length[:_N_LONGEST])
        if all(lacks):
            lacks += lacking(by_length[_N_LONGEST:])
    except UserError as error:
        meaning = (error.hint or "no prompt can be asked").rstrip(".")
        return [Finding("chat template", "no verdict", error.message.rstrip("."), meaning)]
    n_out = sum(lacks)
    if not n_out:
        found = f"Every prompt fits into the {model.n_context:,} tokens of {role}"
        return [Finding("context", "fine", found, "no answer is cut for want of room")]
    found = (
        f"{n_out:,} of {len(by_length):,} prompts leave no room for "
        f"{_between(n_wanted.values())} new tokens in the {model.n_context:,} of {role}"
    )
    if all(each.as_lm_eval for each in suite.examples):
        meaning = "they lose their beginning, as in lm-evaluation-harness, and are flagged"
        return [Finding("context", "note", found, meaning)]
    severity: Severity = "no verdict" if 2 * n_out > len(by_length) else "note"
    meaning = "their answers are empty or cut, which counts as broken; shorten the prompts"
    return [Finding("context", severity, found, meaning)]


def _n_wanted(example: Example, suite: Suite) -> int:
    """Return how many new tokens an example asks for; choices are read, not made."""
    return 1 if example.choices else example.max_new_tokens or suite.max_new_tokens


def _between(counts: Iterable[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _weights(
    base: HuggingFaceModel, tuned: HuggingFaceModel, most_numbers: int | None
) -> list[Finding]:
    from palimpsest.lm.models.huggingface import adapter_change, weight_change

    pickled = [
        part.name
        for model in (base, tuned)
        for part in (model.checkpoint, model.adapter)
        if part is not None and part.pickled
    ]
    if pickled:
        found = f"The weights of '{pickled[0]}' are pickled and were not looked into"
        return [Finding("weights", "unknown", found, "convert them to safetensors to compare them")]
    findings = []
    if base.checkpoint.weights != tuned.checkpoint.weights:
        change = weight_change(base.checkpoint, tuned.checkpoint, most_numbers=most_numbers)
        findings += _on_weights(change, is_adapted=tuned.adapter is not None)
    for role, model in (("base", base), ("tuned", tuned)):
        if model.adapter is not None:
            looked = adapter_change(model.checkpoint, model.adapter, most_numbers=most_numbers)
            findings += _on_adapter(role, looked, model.checkpoint.name)
    return findings


def _on_weights(change: WeightChange, *, is_adapted: bool) -> list[Finding]:
    """Say what the change of the weights means."""
    findings = [
        Finding("weights", "no verdict", f"The tensor '{name}' of {role} {_BROKEN}",
                "its answers mean nothing; copy the checkpoint again, or go back to an earlier one")
        for role, name in change.not_finite.items()
    ]  # fmt: skip
    if len(set(change.dtypes.values())) > 1:
        found = "The weights are stored as " + " and ".join(
            f"{dtype} ({role})" for role, dtype in change.dtypes.items()
        )
        meaning = "a part of every change is rounding, and can change some answers"
        findings.append(Finding("dtype", "note", found, meaning))
    odd = [each for each in change.reshaped if not _is_vocabulary(each)]
    if odd or not change.n_shared:
        found = f"{len(odd):,} tensors have another shape, such as {odd[0]}" if odd else (
            "The two have no tensor of the same name and shape"
        )  # fmt: skip
        findings.append(Finding("weights", "no verdict", found, _OTHER_BASE))
        return findings
    only = [name for name in (*change.only_base, *change.only_tuned) if not _is_vocabulary(name)]
    if only:
        found = f"{len(only):,} tensors are in one of the two alone, such as '{only[0]}'"
        findings.append(Finding("weights", "note", found, _OTHER_BASE))
    if not findings or all(finding.check != "weights" for finding in findings):
        findings.append(_on_change(change, is_adapted=is_adapted))
    return findings


def _on_change(change: WeightChange, *, is_adapted: bool) -> Finding:
    part = " (of each, a sample was compared)" if change.is_sample else ""
    if not change.n_changed:
        found = f"None of the {change.n_shared:,} tensors changed{part}"
        if is_adapted:
            return Finding("weights", "fine", found, "all that was tuned is in the adapter")
        meaning = (
            "the tuned model is the base: was an adapter not merged, or the model saved before "
            "it was trained?"
        )
        return Finding("weights", "no verdict", found, meaning)
    most = max(change.relative.values())
    shown = f"{change.n_changed:,} of {change.n_shared:,} tensors changed{part}"
    if most < NEARLY_UNCHANGED:
        found = f"{shown}, none by more than {most:.1g} of its size"
        meaning = "so little is rounding: was an adapter not merged, or the learning rate zero?"
        return Finding("weights", "note", found, meaning)
    found = f"{shown}, a matrix typically by {change.typical:.1%} of its size"
    if change.typical >= ANOTHER_BASE:
        return Finding("weights", "no verdict", found, _OTHER_BASE)
    if change.typical >= FAR_FROM_BASE:
        meaning = "more than tuning usually changes; check the base, and the learning rate"
        return Finding("weights", "note", found, meaning)
    return Finding("weights", "fine", found, "as tuning does")


def _is_vocabulary(tensor: str) -> bool:
    """Return whether a tensor has a row for each token; such rows are told with the vocabulary."""
    return any(part in tensor for part in ("embed", "lm_head", "wte"))


def _on_adapter(role: str, change: AdapterChange, base: str) -> list[Finding]:
    """Say what an adapter's tensors mean."""
    findings = []
    if change.made_for and _last(change.made_for) != _last(base):
        found = f"The adapter of {role} names '{change.made_for}' as its base, here it is '{base}'"
        meaning = "on another base it changes answers at random; check that they are the same"
        findings.append(Finding("adapter", "note", found, meaning))
    if change.not_finite:
        found = f"The tensor '{change.not_finite}' of the adapter of {role} {_BROKEN}"
        return [*findings, Finding("adapter", "no verdict", found, "train it again")]
    for layers, what in ((change.unfitting, "of another size"), (change.unknown, "missing")):
        if layers:
            found = (
                f"{len(layers):,} of the {change.n_layers:,} layers that the adapter of {role} "
                f"changes are {what} in its base, such as {layers[0]}"
            )
            findings.append(Finding("adapter", "no verdict", found, _OTHER_BASE))
    if findings and findings[-1].severity == "no verdict":
        return findings
    if not change.relative and not change.n_other:
        found = (
            f"The adapter of {role} changes nothing, all {change.n_layers:,} layers of it are zero"
        )
        meaning = "the tuned model is the base: was it saved before it was trained?"
        return [*findings, Finding("adapter", "no verdict", found, meaning)]
    if not change.relative:
        found = f"The adapter of {role} ({change.kind}) has no low-rank pairs"
        return [*findings, Finding("adapter", "unknown", found, "how much it changes is not known")]
    typical = median(change.relative.values())
    found = (
        f"The adapter of {role} changes {len(change.relative):,} layers, typically by "
        f"{typical:.1%} of their size"
    )
    if typical >= ANOTHER_BASE:
        meaning = "more than tuning usually changes; check the base, lora_alpha and learning rate"
        return [*findings, Finding("adapter", "note", found, meaning)]
    return [*findings, Finding("adapter", "fine", found, "as tuning does")]


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower()


def _asked(role: str, model: HuggingFaceModel, suite: Suite) -> list[Finding]:
    """Ask a model a few prompts: does it read text, in which form, and the same in a batch?"""
    examples = suite.in_language(suite.source_language)
    few = examples[:: math.ceil(len(examples) / _N_TEXTS)]
    try:
        with closing(model):
            return [
                _on_language(role, model, few),
                *_on_form(role, model, few),
                _on_batches(role, model, few[:_N_BATCHED], suite.max_new_tokens),
            ]
    except UserError as error:
        meaning = (error.hint or "it cannot be asked").rstrip(".")
        return [Finding("answers", "no verdict", error.message.rstrip("."), meaning)]


def _on_language(role: str, model: HuggingFaceModel, examples: Sequence[Example]) -> Finding:
    """Compare how likely the prompts' own text is with blind guessing among all tokens."""
    texts = [plain_text(each.prompt)[:_MOST_CHARACTERS] for each in examples]
    with model.in_form(False):
        scores = [score for [score] in model.score([""] * len(texts), [[text] for text in texts])]
    counts = model.count_tokens(texts)
    known = [(score, n) for score, n in zip(scores, counts, strict=True) if n and score > -math.inf]
    n_tokens = sum(n for _, n in known)
    if not n_tokens:
        found = f"No prompt is short enough for {role} to be read"
        return Finding("language", "unknown", found, "whether it reads text is not known")
    nats = -sum(score for score, _ in known) / n_tokens
    blind = math.log(len(model.vocabulary()))
    found = f"The {role} model gives a token of the prompts' own text {nats:.1f} nats"
    if nats >= blind:
        meaning = (
            f"blind guessing gives {blind:.1f}, so it does not read this text: a wrong tokenizer, "
            "base of an adapter or dtype, or a suite unlike all that it was trained on"
        )
        return Finding("language", "no verdict", found, meaning)
    return Finding("language", "fine", found, f"it reads text: blind guessing gives {blind:.1f}")


def _on_form(role: str, model: HuggingFaceModel, examples: Sequence[Example]) -> list[Finding]:
    """Compare how likely the expected answers are as plain text and through the chat template."""
    if not model.tokenizer.chat_template:
        return []
    nats = {form: _expected(model, examples, as_chat=form == "chat") for form in ("plain", "chat")}
    pairs = [
        (one, other)
        for one, other in zip(nats["plain"], nats["chat"], strict=True)
        if math.isfinite(one) and math.isfinite(other)
    ]
    if len(pairs) < _FEWEST:
        return []
    gains = [other - one for one, other in pairs]
    mean, error = fmean(gains), stdev(gains) / math.sqrt(len(gains))
    has_messages = any(not isinstance(each.prompt, str) for each in examples)
    asked = "chat" if model.form is True or (has_messages and model.form is None) else "plain"
    found = (
        f"The {role} model finds the expected answers {abs(mean):.1f} nats "
        f"{'likelier' if mean > 0 else 'less likely'} in its chat template than as plain text"
    )
    likelier = "chat" if mean > 0 else "plain"
    if abs(mean) <= _CLEARLY * error or likelier == asked:
        return [Finding("form", "fine", found, f"it is asked in the form '{asked}'")]
    meaning = (
        f"it is asked in the form '{asked}', and a fall may be the form's alone; "
        f"write --{role}-form {likelier}, or compare both"
    )
    return [Finding("form", "note", found, meaning)]


def _expected(
    model: HuggingFaceModel, examples: Sequence[Example], *, as_chat: bool
) -> list[float]:
    """Return the log-probability that each example is answered as one of its abilities would."""
    space = "" if as_chat else " "
    with model.in_form(as_chat):
        scores = model.score(
            [each.prompt for each in examples],
            [[f"{space}{text}" for text in (*each.right, *each.intruding)] for each in examples],
        )
    return [_sum_of(values) for values in scores]


def _sum_of(logs: Sequence[float]) -> float:
    top = max(logs, default=-math.inf)
    if not math.isfinite(top):
        return top
    return top + math.log(sum(math.exp(each - top) for each in logs))


def _on_batches(
    role: str, model: HuggingFaceModel, examples: Sequence[Example], max_new_tokens: int
) -> Finding:
    """Ask a few prompts together and each alone: what differs is this machine's rounding."""
    prompts = [each.prompt for each in examples]
    together = dict(model.generate(prompts, max_new_tokens=max_new_tokens))
    n_other = sum(
        next(iter(model.generate([prompt], max_new_tokens=max_new_tokens)))[1].text
        != together[place].text
        for place, prompt in enumerate(prompts)
    )
    found = f"{n_other} of {len(prompts)} answers of {role} differ between a batch and alone"
    if not n_other:
        return Finding("batches", "fine", found, "rounding changes no answer on this machine")
    meaning = (
        "so much is noise of this machine and dtype; a fall of that size is none. Write "
        "dtype=float32 to lessen it"
    )
    return Finding("batches", "note", found, meaning)
