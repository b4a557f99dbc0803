"""Next steps: what a verdict leads to, each with the command that does it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from palimpsest.report.diagnosis.tables import table_rows
from palimpsest.report.page import NextStep

if TYPE_CHECKING:
    from palimpsest.records import Results


_WORTH_TRYING = ("leet", "pig-latin", "leet|upper", "translate:fr", "reverse-words", "base64")


def next_steps(results: Results) -> list[NextStep]:
    """Return what the overall verdict leads to, most useful first."""
    steps = {
        "suppressed": _suppressed,
        "lost": _lost,
        "inconclusive": _inconclusive,
        "kept": _kept,
    }
    return list(steps[results.verdict](results))


def _suppressed(results: Results) -> Iterator[NextStep]:
    via = shlex.quote(_anywhere(results))
    tuned = _model(results, "tuned")
    yield NextStep(
        "Ask one prompt of your own under the best conjugation; the answer comes back inverted.",
        f"palimpsest prompt --model {tuned} --via {via} 'YOUR PROMPT'",
    )
    yield NextStep(
        "Let programs use the model so, over OpenAI’s API.",
        f"palimpsest serve --upstream {_upstream(results)} --via {via}",
    )
    yield NextStep(
        "Find the best conjugation for prompts of your own, whose answers nobody knows.",
        f"palimpsest recommend {tuned} --base {_model(results, 'base')} --prompts PROMPTS.txt",
    )


def _lost(results: Results) -> Iterator[NextStep]:
    yield NextStep(
        "“Lost” speaks of the conjugations tried. List the others, and try some: answers on file "
        "are not asked again.",
        f"palimpsest list conjugations\n{_again(results)}{_more_vias(results)}",
    )
    yield NextStep(
        "Find out when it went: diagnose an earlier checkpoint of the same tuning.",
        f"palimpsest diagnose {_model(results, 'base')} EARLIER_CHECKPOINT --suite "
        f"{shlex.quote(_suite(results))} --out palimpsest-earlier",
    )
    yield NextStep(
        "Before you tune again: see in the laboratory what replay, LoRA and other remedies keep, "
        "and at what cost.",
        "palimpsest lab run small",
    )


def _inconclusive(results: Results) -> Iterator[NextStep]:
    if not results.suite.from_logs:
        yield NextStep(
            "Check first that the pair is what it claims to be: tokenizer, template, adapter, NaN.",
            f"palimpsest doctor {_model(results, 'base')} {_model(results, 'tuned')}",
        )
    limited = " --limit " in results.provenance.command
    yield NextStep(
        "Ask more examples, or under more conjugations: answers on file are not asked again.",
        f"{_again(results)}{' --limit MORE' if limited else _more_vias(results)}",
    )
    yield NextStep(
        "Look at the wrong answers below “Single prompts”. If some are right in other words, "
        "choose a scorer that sees it.",
        "palimpsest list scorers",
    )


def _kept(results: Results) -> Iterator[NextStep]:
    yield NextStep(
        "Make it a check: in CI this exits with 3 as soon as an ability is lost or suppressed.",
        f"{_again(results)} --fail-on forgotten",
    )
    yield NextStep(
        "Other abilities may have gone. See which suites there are.", "palimpsest list suites"
    )


def _model(results: Results, role: str) -> str:
    """Return a model as a word of a command; logs name it by what no command can load."""
    if results.suite.from_logs:
        return role.upper()
    spec: str = getattr(results, role).spec
    return shlex.quote(spec)


def _upstream(results: Results) -> str:
    """Return what `serve` stands before: the address of an endpoint, or a local model."""
    endpoint = re.fullmatch(r"openai:[^@]*@(https?://[^,]+)(,.*)?", results.tuned.spec)
    return shlex.quote(endpoint[1]) if endpoint else _model(results, "tuned")


def _anywhere(results: Results) -> str:
    """Return the best conjugation as any prompt can be put under it.

    A language that the suite itself is written in becomes a translation into that language.
    """
    name = results.best.name if results.best else "leet"
    native = {row.name for row in table_rows(results) if row.kind == "native"}
    first, *links = name.split("|")
    if name in native and not first.startswith("translate:"):
        first = f"translate:{first.removeprefix('native:')}"
    return "|".join([first, *links])


def _more_vias(results: Results) -> str:
    """Return options that keep the conjugations of this run and add two."""
    if results.suite.from_logs:
        return ""
    tried = [one.name for one in results.conjugations]
    new = [name for name in _WORTH_TRYING if name not in tried][:2]
    before = [] if " --via " in results.provenance.command else tried
    return "".join(f" --via {shlex.quote(name)}" for name in [*before, *new])


def _suite(results: Results) -> str:
    return "SUITE" if results.suite.from_logs else results.suite.name


def _again(results: Results) -> str:
    """Return the command of this run, to which options are added."""
    command = results.provenance.command
    if command.startswith(("palimpsest diagnose ", "palimpsest compare ")):
        return command
    if results.suite.from_logs:
        return "palimpsest compare BASE TUNED"
    base, tuned = _model(results, "base"), _model(results, "tuned")
    return f"palimpsest diagnose {base} {tuned} --suite {shlex.quote(_suite(results))}"
