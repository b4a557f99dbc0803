"""Suite of tasks of lm-evaluation-harness: its documents, prompts, filters and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt

from palimpsest.errors import UserError
from palimpsest.integrations.lm_eval_tasks.documents import HarnessDocument
from palimpsest.integrations.lm_eval_tasks.loading import (
    LIMITS,
    TaskOptions,
    documents,
    load_tasks,
)
from palimpsest.judging.compare import find_versions
from palimpsest.lm import Message, Prompt
from palimpsest.lm.suites import DEFAULT_LANGUAGE, Example, Suite

_N_TOKENS = 256
"""What the harness lets a model say where a task does not tell."""


def build(
    tasks: Sequence[str],
    *,
    include_path: Path | None = None,
    num_fewshot: NonNegativeInt | None = None,
    metric: str | None = None,
    filter: str | None = None,
    apply_chat_template: bool = False,
    fewshot_as_multiturn: bool = True,
    system_instruction: str | None = None,
    seed: int = 1234,
) -> Suite:
    """Tasks of lm-evaluation-harness: TASK+TASK, with its prompts, filters and metrics.

    Args:
        tasks: Names of tasks, groups or tags, or YAML files. Tasks whose names differ in nothing
            but a language are versions of one cell, as ``compare`` has it.
        include_path: A folder with YAML files of tasks.
        num_fewshot: Worked examples; by default as many as the task says, or none.
        metric: By which answers are judged; by default the task's first that is a fraction for
            each document.
        filter: Of several that a task has; by default its first.
        apply_chat_template: Whether prompts are messages, for each model's own chat template.
        fewshot_as_multiturn: Whether worked examples are then turns of their own.
        system_instruction: Stands before the task's description.
        seed: Of the draws of worked examples; by default the harness's.

    Raises:
        UserError: No such task, data that are not at hand, or a task that cannot be carried over.
    """
    options = TaskOptions(
        num_fewshot=num_fewshot,
        seed=seed,
        metric=metric,
        filter=filter,
        chat=apply_chat_template,
        multiturn=fewshot_as_multiturn,
        system=system_instruction,
    )
    loaded = load_tasks(tasks, None if include_path is None else include_path.expanduser())
    versions = find_versions(loaded)
    judged: dict[str, str] = {}
    examples: list[Example] = []
    for name, task in loaded.items():
        cell, language = versions[name].cell, versions[name].language or DEFAULT_LANGUAGE
        found = list(documents(name, task, options))
        judged[name] = f"{found[0].metric}@{found[0].filter}" if found else ""
        examples += _examples(found, cell, language)
    return Suite(
        name=f"lm-eval:{'+'.join(tasks)}",
        examples=tuple(_with_source(examples)),
        source_language=DEFAULT_LANGUAGE,
        max_new_tokens=_N_TOKENS,
        stop=(),
        chance=_chance([each for each in examples if each.language == DEFAULT_LANGUAGE]),
        description=f"Tasks of lm-evaluation-harness: {', '.join(loaded)}.",
        parameters={
            "tasks": list(loaded),
            "judged by": judged,
            "versions": {name: str(task.VERSION) for name, task in loaded.items()},
            "seed": seed,
        },
    )


def _with_source(examples: Sequence[Example]) -> Iterable[Example]:
    """Return the examples that have a version in the plain language."""
    plain = {each.source_id for each in examples if each.language == DEFAULT_LANGUAGE}
    return (each for each in examples if each.source_id in plain)


def _examples(found: Sequence[HarnessDocument], cell: str, language: str) -> list[Example]:
    return [
        Example(
            source_id=f"{cell}/{document.requests[0].doc_id}",
            cell=cell,
            language=language,
            prompt=_prompt(document),
            answers={cell: _targets(document)},
            scorer=f"lm-eval:{document.metric}@{document.filter}",
            as_lm_eval=True,
            item=document,
            **_asking(document),
        )
        for document in found
    ]


def _asking(document: HarnessDocument) -> dict[str, Any]:
    """Return how an example is asked, beyond its prompt."""
    if document.kind == "generate_until":
        return _generating(document.requests[0].args[1] or {})
    choices = tuple(request.args[1] for request in document.requests)
    return {"choices": choices, "choices_joined": True}


def _generating(options: Mapping[str, Any]) -> dict[str, Any]:
    until = options.get("until") or ()
    until = [until] if isinstance(until, str) else until
    limits = (options.get(name) for name in LIMITS)
    return {
        "max_new_tokens": next((int(each) for each in limits if each is not None), _N_TOKENS),
        "stop": tuple(dict.fromkeys(filter(None, until))),
    }


def _prompt(document: HarnessDocument) -> Prompt:
    context = document.requests[0].args[0]
    messages = getattr(context, "messages", None)
    if messages is None:
        return str(context)
    return tuple(Message(each["role"], each["content"]) for each in messages)


def _targets(document: HarnessDocument) -> tuple[str, ...]:
    """Return the texts that the task has for right answers."""
    task, doc = document.task, document.doc
    target = task.doc_to_target(doc)
    targets = target if isinstance(target, list | tuple) else [target]
    choices = task.doc_to_choice(doc) if task.config.doc_to_choice is not None else None
    return tuple(_text(each, choices) for each in targets)


def _text(target: Any, choices: Sequence[str] | None) -> str:
    if choices is not None and isinstance(target, int):
        if not 0 <= target < len(choices):
            raise UserError(
                f"A document's target is {target}, but it has {len(choices)} choices.",
                hint="Correct doc_to_target in the task's YAML file.",
            )
        return str(choices[target])
    return str(target)


def _chance(examples: Sequence[Example]) -> float | None:
    """Return how often drawing among the choices is right, if all examples have several."""
    if not examples or not all(len(each.choices) > 1 for each in examples):
        return None
    return sum(1 / len(each.choices) for each in examples) / len(examples)
