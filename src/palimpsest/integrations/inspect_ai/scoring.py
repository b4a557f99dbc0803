"""The scorer ``outcome``: right, intruded, broken or unparsed, as an Inspect score."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from inspect_ai.model import ModelOutput
from inspect_ai.scorer import Score, Scorer, Target
from inspect_ai.solver import TaskState

from palimpsest.integrations.inspect_ai.conversation import KEY
from palimpsest.judging import Expected, expected_under
from palimpsest.lm import cut, off_loop
from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.lm.scoring import Asked, Scoring, scorer_class
from palimpsest.lm.scoring import Scorer as OutcomeScorer
from palimpsest.lm.suites import Example

Scored = Literal["right", "intruded", "broken", "unparsed"]
"""An outcome, or that there is no text to score."""


def build_scorer(stop: Sequence[str]) -> Scorer:
    """Return the scorer that cuts answers before the first of these stop strings."""

    async def score(state: TaskState, target: Target) -> Score:
        note = (state.output.metadata or {}).get(KEY, {})
        example = _example(state, target)
        conjugation = parse_conjugation(note.get("read_as", "identity"))
        expected = await off_loop(conjugation.batched, expected_under, conjugation, example)
        answer = cut(state.output.completion, stop)
        scoring = Scoring.from_json(state.metadata.get("scoring") or "")
        scorer_class(scoring.scorer, in_file=True)
        asked = Asked(state.metadata.get("language") or "en")
        scored, reason = _scored(answer, scoring.scorer_of(*expected, asked), state.output)
        return Score(
            value={each: int(each == scored) for each in get_args(Scored)},
            answer=answer,
            explanation=_explanation(scored, answer, example, expected, note),
            reason=reason,
            metadata={"outcome": scored, **({KEY: note} if note else {})},
        )

    return score


def _example(state: TaskState, target: Target) -> Example:
    """Return the sample as an example; one of another task has no intruding answers."""
    answers = state.metadata.get("answers")
    if not isinstance(answers, Mapping):
        answers = {"target": target.target}
    return Example(
        source_id=str(state.sample_id),
        cell="",
        language="",
        prompt="",
        answers={ability: tuple(_listed(texts)) for ability, texts in answers.items()},
        whole_answers=state.metadata.get("whole_answers") or {},
    )


def _listed(texts: str | Sequence[str]) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts


def _scored(answer: str, scorer: OutcomeScorer, output: ModelOutput) -> tuple[Scored, str | None]:
    """Return the outcome with Inspect's word for why there is none."""
    if answer.strip():
        return scorer.outcome(answer), None
    filtered = bool(output.choices) and output.stop_reason == "content_filter"
    return "unparsed", "refusal" if filtered else "no_response"


def _explanation(
    scored: Scored, answer: str, example: Example, expected: Expected, note: Mapping[str, Any]
) -> str:
    abilities = list(example.answers)
    lines = [f"{scored}: {_code(answer)}"]
    lines.append(f"Right ({abilities[0]}) is what begins with: {_codes(expected.right)}")
    if expected.intruding:
        others = ", ".join(abilities[1:])
        lines.append(f"Intruded ({others}) is what begins with: {_codes(expected.intruding)}")
    for member in note.get("members", []):
        lines += [
            f"Under {member['via']} the model said: {_code(raw)}" for raw in member["raw"][:1]
        ]
    return "\n\n".join(lines)


def _codes(texts: Sequence[str]) -> str:
    return ", ".join(map(_code, texts)) or "nothing"


def _code(text: str) -> str:
    r"""Return a text as code in Markdown, where nothing in it has a meaning.

    Example:
        >>> print(_code(" 12\n"), _code("_`\\1`_"), _code("`"))
        `12` ``_`\1`_`` `` ` ``
    """
    text = text.strip()
    if not text:
        return "nothing"
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"
