"""Preview of a suite: what each model would be sent, and what scorers say to sample answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from palimpsest.errors import UserError, did_you_mean
from palimpsest.judging.questions import Settings, as_recorded
from palimpsest.lm.models import Joint, LanguageModel, ShowsTokens, WritesPrompts
from palimpsest.lm.scoring import SCORERS, Scorer, scorer_class
from palimpsest.lm.suites import Example, Suite
from palimpsest.records import Outcome

WRONG = "I do not know."
"""The sample answer that is wrong for every prompt but that which asks for it."""


@dataclass(frozen=True)
class SampleAnswer:
    """One answer that might come, and what scorers say to it."""

    text: str
    outcomes: dict[str, Outcome | None]
    """By scorer, the example's own first; ``None`` where it cannot use the accepted answers."""


@dataclass(frozen=True)
class SentPrompt:
    """A prompt as one model gets it."""

    model: str
    """Its spec; empty without one."""
    text: str
    is_written: bool
    """Whether this is the text that the model reads: a server writes its own of messages."""
    joint: Joint | None
    """The tokens where the expected answer begins, where the model's can be looked at."""


@dataclass(frozen=True)
class PreviewedExample:
    """One example of a suite, as it would be asked and scored."""

    example: Example
    prompts: tuple[SentPrompt, ...]
    """For each model; without any, the prompt alone."""
    samples: tuple[SampleAnswer, ...]
    """The expected answer, the same in a sentence, and a wrong one."""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON can write it."""
        return {
            "id": self.example.source_id,
            "cell": self.example.cell,
            "language": self.example.language,
            "scorer": self.example.scorer,
            "answers": {name: list(texts) for name, texts in self.example.answers.items()},
            "forms": dict(self.example.forms),
            "choices": list(self.example.choices),
            "prompts": [
                {
                    "model": each.model,
                    "text": each.text,
                    "is_written": each.is_written,
                    "joint": each.joint and each.joint._asdict(),
                }
                for each in self.prompts
            ],
            "samples": [{"text": each.text, "outcomes": each.outcomes} for each in self.samples],
        }


def preview_suite(
    suite: Suite,
    models: Sequence[LanguageModel] = (),
    *,
    n: int = 3,
    language: str | None = None,
) -> Iterator[PreviewedExample]:
    """Yield the first example of each cell, and then more, up to a number.

    Args:
        suite: What would be asked.
        models: To whom; nothing is asked of them.
        n: Examples.
        language: Of the prompts; by default the suite's source language.

    Raises:
        UserError: The suite does not have the language, or a model's chat template cannot write a
            prompt.
    """
    language = language or suite.source_language
    if language not in suite.languages:
        raise UserError(
            f"The suite has no prompts in '{language}'.{did_you_mean(language, suite.languages)}",
            hint=f"It has: {', '.join(suite.languages)}.",
        )
    examples = suite.in_language(language)
    first = {example.cell: example for example in reversed(examples)}
    ordered = {id(first[cell]): first[cell] for cell in suite.cells if cell in first}
    ordered |= {id(example): example for example in examples}
    for example in list(ordered.values())[:n]:
        prompts = tuple(_sent(model, example) for model in models)
        bare = SentPrompt("", as_recorded(example.prompt), False, None)
        yield PreviewedExample(example, prompts or (bare,), tuple(_samples(example)))


def _sent(model: LanguageModel, example: Example) -> SentPrompt:
    prompt = example.prompt
    writes = isinstance(model, WritesPrompts)
    text = model.written(prompt) if isinstance(model, WritesPrompts) else as_recorded(prompt)
    expected = example.right[0] if example.right else ""
    joint = model.joint(prompt, expected) if isinstance(model, ShowsTokens) and expected else None
    return SentPrompt(model.spec, text, writes, joint)


def _samples(example: Example) -> Iterator[SampleAnswer]:
    expected = example.right[0] if example.right else ""
    own = example.scorer_of(example.right, example.intruding)
    names = [name for name in SCORERS if scorer_class(name).of_texts and name != example.scorer]
    others = [name for name in names if scorer_class(name).of_files]
    for text in (expected, f"The answer is {expected}.", WRONG):
        outcomes = {example.scorer: _said(own, text)}
        outcomes |= {name: _outcome(example, name, text) for name in others}
        yield SampleAnswer(text, outcomes)


def _outcome(example: Example, scorer: str, answer: str) -> Outcome | None:
    """Return what a scorer says; ``None`` if it cannot use the accepted answers."""
    try:
        judge = replace(example, scorer=scorer).scorer_of(example.right, example.intruding)
    except UserError:
        return None
    return _said(judge, answer)


def _said(scorer: Scorer, answer: str) -> Outcome | None:
    """Return what a scorer says; ``None`` of answers that are chosen, not said."""
    try:
        return scorer.outcome(answer)
    except UserError:
        return None


def endings(suite: Suite, language: str | None = None) -> dict[str, str]:
    r"""Return where answers end, in words, by cell.

    Args:
        suite: What would be asked.
        language: Of the prompts; by default the suite's source language.

    Example:
        >>> from palimpsest.lm.suites import load_suite
        >>> endings(load_suite("rosetta:n=1"))["repeat/math"]
        "before '\\n', or after 10 tokens"
    """
    settings = Settings.of(suite)
    found: dict[str, str] = {}
    for example in suite.in_language(language or suite.source_language):
        own = settings.for_example(example)
        stops = ", ".join(map(repr, own.stop)) or "no text"
        found.setdefault(example.cell, f"before {stops}, or after {own.max_new_tokens} tokens")
    return found
