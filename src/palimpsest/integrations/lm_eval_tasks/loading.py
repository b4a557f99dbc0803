"""Loading of tasks of lm-evaluation-harness, and refusal of what cannot be carried over."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import Any

from palimpsest.errors import UserError, did_you_mean, from_extra
from palimpsest.integrations.lm_eval_tasks.documents import KINDS, HarnessDocument, judged_by

LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
"""What limits an answer, the first that is there."""

_OF_DRAWING = {"until", "do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "seed"}
"""Settings that change no greedy answer, or that are looked at elsewhere."""

_MEANINGLESS = {"num_beams": 1, "repetition_penalty": 1.0, "num_return_sequences": 1, "n": 1}
"""Settings with the values that change nothing."""


_CLIENTS = {
    "openai", "anthropic", "litellm", "mistralai", "cohere", "groq", "ollama", "together",
    "OpenAI", "AzureOpenAI", "AsyncOpenAI", "Anthropic", "InferenceClient",
}  # fmt: skip
"""Packages and classes by which code asks a language model."""


@dataclass(frozen=True)
class TaskOptions:
    """How tasks make their prompts, and by what they are judged."""

    num_fewshot: int | None = None
    seed: int = 1234
    metric: str | None = None
    filter: str | None = None
    chat: bool = False
    multiturn: bool = True
    system: str | None = None


def load_tasks(names: Sequence[str], include_path: Path | None) -> dict[str, Any]:
    """Return the tasks by their names; groups and tags become their members.

    Raises:
        UserError: No such task or folder, or one whose data are not at hand.
        MissingExtraError: The harness is not installed.
    """
    with from_extra("Tasks of lm-evaluation-harness", package="lm_eval", extra="lm-eval"):
        from lm_eval.tasks import TaskManager
    if include_path is not None and not include_path.is_dir():
        raise UserError(
            f"There is no folder '{include_path}' with YAML files of tasks.",
            hint="Name one with include_path=DIR.",
        )
    folder = str(include_path) if include_path is not None else None
    manager = TaskManager(include_path=folder, include_defaults=False)
    if not all(_is_known(manager, name) for name in names):  # reads the harness's own thousands
        manager = TaskManager(include_path=folder)
    tasks: dict[str, Any] = {}
    for name in names:
        if not _is_known(manager, name):
            raise UserError(
                f"lm-evaluation-harness has no task '{name}'."
                f"{did_you_mean(name, manager.all_tasks)}",
                hint="List its tasks with: palimpsest lm-eval ls tasks; name a folder with your "
                "own by include_path=DIR.",
            )
        tasks.update(_loaded(manager, name))
    return tasks


def _is_known(manager: Any, name: str) -> bool:
    return name in manager.task_index or Path(name).suffix in (".yaml", ".yml")


def _loaded(manager: Any, name: str) -> dict[str, Any]:
    try:
        return dict(manager.load([name])["tasks"])
    except Exception as error:  # of datasets, of the harness, or of the task's own code
        entry = manager.task_index.get(name)
        path = getattr(entry, "yaml_path", None) or Path(name)
        raise UserError(
            f"The task '{name}' cannot be loaded: {type(error).__name__}: {error!s:.300}",
            hint=_how_to_put_in_place(name, Path(path)),
        ) from error


def _how_to_put_in_place(name: str, path: Path) -> str:
    """Return which file a task is in, which rows it wants, and what to write to give it some."""
    config = _read_config(path)
    wanted = " ".join(
        str(config[key]) for key in ("dataset_path", "dataset_name") if config.get(key)
    )
    splits = dict.fromkeys(
        str(config[key])
        for key in ("training_split", "validation_split", "test_split", "fewshot_split")
        if config.get(key)
    )
    files = ", ".join(f"{split}: {split.upper()}.jsonl" for split in splits or ["test"])
    lines = (
        f"include: {path}",
        f"task: {config.get('task', name)}",
        "dataset_path: json",
        "dataset_name: null",
        f"dataset_kwargs: {{data_files: {{{files}}}}}",
    )
    rows = f" It reads {wanted}." if wanted else ""
    return (
        f"Its file is {path}.{rows} If these rows are not on this machine, put them in place as "
        "JSON lines (or csv, parquet), write a file of these lines into a folder of yours, and "
        "name the folder with include_path=DIR:\n" + "\n".join(f"  {line}" for line in lines)
    )


def _read_config(path: Path) -> dict[str, Any]:
    """Return what a task's file says, and those that it includes; nothing if it cannot be read."""
    from lm_eval.tasks._yaml_loader import load_yaml

    try:
        return dict(load_yaml(path, resolve_func=False))
    except Exception:  # whatever is wrong with the file has been said
        return {}


def documents(name: str, task: Any, options: TaskOptions) -> Iterator[HarnessDocument]:
    """Yield the documents of a task in the harness's order, with its prompts and draws.

    Raises:
        UserError: Something of the task cannot be carried over.
    """
    _check(name, task, options)
    config = task.config
    if config.num_fewshot is None or (options.num_fewshot is not None and config.num_fewshot != 0):
        task.set_config(key="num_fewshot", value=options.num_fewshot or 0)
    task.set_fewshot_seed(seed=options.seed)
    task._metric_fn_list.pop("acc_mutual_info", None)  # asks for choices without their context
    template = _as_messages if options.chat else None
    judged: tuple[str, str] | None = None
    for number, doc in task.doc_iterator(rank=0, limit=None, world_size=1):
        context = task.fewshot_context(
            doc,
            num_fewshot=config.num_fewshot,
            system_instruction=options.system,
            apply_chat_template=options.chat,
            fewshot_as_multiturn=options.multiturn,
            chat_template=template,
            gen_prefix=task.doc_to_prefix(doc),
        )
        made = task.construct_requests(
            doc=doc,
            ctx=context,
            metadata=(name, number, config.repeats),
            apply_chat_template=options.chat,
            chat_template=template,
        )
        document = HarnessDocument(task, doc, tuple(made if isinstance(made, list) else [made]))
        if judged is None:
            judged = judged_by(document, options.metric, options.filter)
        yield replace(document, metric=judged[0], filter=judged[1])


class MessagesContext(str):
    """A prompt that no template has written yet: the messages that one would get."""

    messages: tuple[dict[str, Any], ...] = ()


def _as_messages(
    messages: Sequence[dict[str, Any]], add_generation_prompt: bool = True
) -> MessagesContext:
    context = MessagesContext("\n".join(str(each["content"]) for each in messages))
    context.messages = tuple(messages)
    return context


def _check(name: str, task: Any, options: TaskOptions) -> None:
    """Raise :class:`UserError` for what cannot be carried over."""
    config = task.config
    said = None
    if task.OUTPUT_TYPE not in KINDS:
        said = f"its output_type is '{task.OUTPUT_TYPE}'; expected {', '.join(KINDS)}"
    elif getattr(task, "multiple_input", False):
        said = "each of its choices has a context of its own (doc_to_text gives a choice)"
    elif getattr(config, "doc_to_image", None) or getattr(config, "doc_to_audio", None):
        said = "it shows pictures or sound"
    elif options.chat and config.gen_prefix:
        said = "it begins the model's answer (gen_prefix), which messages cannot"
    elif (judge := _asked_to_judge(task)) is not None:
        said = (
            f"its process_results asks a language model ({judge}) to judge; here a judge is "
            "greedy, kept and counted, such as --scorer judge:MODEL on the suite rows"
        )
    elif task.OUTPUT_TYPE == "generate_until":
        said = _not_greedy(config.generation_kwargs or {})
    if said is not None:
        raise UserError(
            f"The task '{name}' cannot be carried over: {said}.",
            hint="Leave it out, or evaluate it with the harness: palimpsest lm-eval run; then "
            "compare the logs with: palimpsest compare",
        )


def _asked_to_judge(task: Any) -> str | None:
    """Return the client of a language model that a task's own code uses, if it does."""
    waiting: list[Any] = [task.config.process_results]
    waiting += [each for ensemble in task._filters for each in ensemble.filters]
    seen: set[int] = set()
    while waiting:
        function = inspect.unwrap(getattr(waiting[-1], "func", waiting[-1]))
        waiting.pop()
        code = getattr(function, "__code__", None)
        if code is None or id(code) in seen:
            continue
        seen.add(id(code))
        names = set(_names_in(code))
        found = sorted(names & _CLIENTS)
        if found:
            return found[0]
        known = getattr(function, "__globals__", {})
        for name in names:
            value = known.get(name)
            if getattr(value, "__module__", "").partition(".")[0] in _CLIENTS:
                return str(value.__module__).partition(".")[0]
            if inspect.isfunction(value) and value.__module__ == function.__module__:
                waiting.append(value)
    return None


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _not_greedy(options: dict[str, Any]) -> str | None:
    """Return what the settings of a task ask for besides greedy answers, if they do."""
    drawn = options.get("do_sample")
    if float(options.get("temperature") or 0) > 0 and drawn is not False:
        return "it draws its answers at random (temperature); here models are asked greedily"
    if "" in _listed(options.get("until")):
        return "one of its stop strings (until) is empty"
    others = {name: value for name, value in options.items() if name not in {*LIMITS, *_OF_DRAWING}}
    asked = [
        f"{name}: {value}" for name, value in others.items() if _MEANINGLESS.get(name) != value
    ]
    if asked:
        return f"its generation_kwargs ask for {', '.join(asked)}; here models are asked greedily"
    return None


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
