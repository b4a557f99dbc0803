r"""Entry point ``inspect_ai``: models, solvers, tasks and a scorer; see ``docs/how-to/inspect.md``.

Inspect loads this module at every start, so what it needs of us is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from palimpsest.integrations.inspect_ai import PACKAGE, in_package, typed  # isort: skip
from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.model import GenerateConfig, ModelAPI, modelapi
from inspect_ai.scorer import Scorer, accuracy, mean, scorer, stderr
from inspect_ai.solver import Solver, generate, solver

__all__ = ["conjugate", "conjugated", "icl_vs_if", "jsonl", "nli", "outcome", "rosetta", "suite"]


@modelapi(name="conjugate")
def conjugate() -> type[ModelAPI]:
    """Any model, asked under a conjugation: ``--model conjugate/openai/gpt-4o -M via=leet``."""
    from palimpsest.integrations.inspect_ai import ConjugateAPI

    return ConjugateAPI


@solver(name=in_package("conjugated"))
def conjugated(via: str, solver: Solver | None = None) -> Solver:
    """Ask under a conjugation: what is said to the model is conjugated, its answers are inverted.

    The conversation stays plain; what the model itself said is in the sample's store. Solvers that
    call a model themselves, as agents do, are out of reach: wrap the model for them.

    Args:
        via: A conjugation such as ``leet``, or a vote: ``vote(leet,rot13)``.
        solver: One whose calls of ``generate`` are asked so; by default ``generate()`` itself.

    Raises:
        PrerequisiteError: A conjugation that cannot be used.
    """
    from palimpsest.integrations.inspect_ai import build_solver

    return build_solver(via, solver)


@scorer(
    metrics={
        "right": [accuracy(), stderr()],
        "intruded": [mean(), stderr()],
        "broken": [mean(), stderr()],
        "unparsed": [mean(), stderr()],
    },
    name=in_package("outcome"),
)
def outcome(stop: str | Sequence[str] = "\n") -> Scorer:
    r"""Say which task an answer belongs to: right, intruded, broken, or unparsed.

    An answer is *right* if it begins with a target, *intruded* if it begins with an answer of
    another ability (``answers`` in the sample's metadata), *unparsed* if there is no text, and
    *broken* otherwise. Under a lossy conjugation it is compared with what that leaves of the
    targets.

    Args:
        stop: Answers end before the first of these.
    """
    from palimpsest.integrations.inspect_ai import build_scorer

    return build_scorer([stop] if isinstance(stop, str) else stop)


@task(name=in_package("icl_vs_if"))
def icl_vs_if(
    lang: str | None = None,
    via: str | None = None,
    n: int = 100,
    seed: int = 0,
    sentences: str | None = None,
    max_new_tokens: int = 10,
    limit: int | None = None,
) -> Task:
    """Repeat or capitalise a query that is itself a request, against answering it.

    Args:
        lang: One of the suite's languages; by default English.
        via: A conjugation, or a language of the suite and a conjugation: ``leet``, ``fr|leet``.
        n: Prompts a cell.
        seed: Seed of the draw.
        sentences: A folder with sentences of your own.
        max_new_tokens: How much the model may say.
        limit: At most so many samples a cell.
    """
    options = {"n": n, "seed": seed, "sentences": sentences, "max_new_tokens": max_new_tokens}
    return _task("icl-vs-if", options, lang=lang, via=via, limit=limit)


@task(name=in_package("rosetta"))
def rosetta(
    lang: str | None = None,
    via: str | None = None,
    n: int = 100,
    seed: int = 0,
    split: str = "report",
    limit: int | None = None,
) -> Task:
    """Like ``icl_vs_if``, in the grammar of the models that come with Palimpsest.

    Args:
        lang: One of the suite's languages; by default English.
        via: A conjugation, or a language of the suite and a conjugation.
        n: Prompts a cell.
        seed: Seed of the draw.
        split: ``report`` or ``select``.
        limit: At most so many samples a cell.
    """
    options = {"n": n, "seed": seed, "split": split}
    return _task("rosetta", options, lang=lang, via=via, limit=limit)


@task(name=in_package("nli"))
def nli(
    rows: str | None = None,
    lang: str | None = None,
    via: str | None = None,
    n: int | None = None,
    seed: int = 0,
    split: str | None = None,
    max_new_tokens: int = 10,
    limit: int | None = None,
) -> Task:
    """Whether a hypothesis follows from a premise; answers are generated, not compared.

    Args:
        rows: A file or folder of XNLI or of your own; by default a small sample.
        lang: One of the suite's languages; by default English.
        via: A conjugation, or a language of the suite and a conjugation.
        n: Rows of each label; by default all.
        seed: Seed of the draw.
        split: ``train``, ``validation`` or ``test``.
        max_new_tokens: How much the model may say.
        limit: At most so many samples.
    """
    options = {"n": n, "seed": seed, "split": split, "max_new_tokens": max_new_tokens}
    spec = "nli" if rows is None else f"nli:{typed(rows)}"
    return _task(spec, options, lang=lang, via=via, limit=limit)


@task(name=in_package("jsonl"))
def jsonl(
    file: str,
    lang: str | None = None,
    via: str | None = None,
    ability: str | None = None,
    max_new_tokens: int | None = None,
    stop: str | None = None,
    limit: int | None = None,
) -> Task:
    """Your own prompts: one JSON object a line, with id, prompt, answers, lang and group.

    Args:
        file: As for ``palimpsest diagnose --suite jsonl:FILE``.
        lang: One of the file's languages; by default English, or the first.
        via: A conjugation, or a language of the file and a conjugation.
        ability: The one under test; by default the first.
        max_new_tokens: How much the model may say; by default enough for the longest answer.
        stop: Answers end before it; by default before a line break.
        limit: At most so many samples a group.
    """
    options = {"ability": ability, "max_new_tokens": max_new_tokens, "stop": stop}
    return _task(f"jsonl:{typed(file)}", options, lang=lang, via=via, limit=limit)


@task(name=in_package("suite"))
def suite(
    spec: str, lang: str | None = None, via: str | None = None, limit: int | None = None
) -> Task:
    """Any suite, those of plugins included.

    Args:
        spec: As for ``palimpsest diagnose --suite``: ``icl-vs-if:n=50``.
        lang: One of the suite's languages.
        via: A conjugation, or a language of the suite and a conjugation.
        limit: At most so many samples a cell.
    """
    return _task(typed(spec), {}, lang=lang, via=via, limit=limit)


def _task(
    spec: str, options: Mapping[str, object], *, lang: object, via: object, limit: int | None
) -> Task:
    from palimpsest.integrations.inspect_ai import plan

    planned = plan(spec, options, lang=lang, via=via, limit=limit)
    built = planned.suite
    return Task(
        dataset=MemoryDataset(planned.samples, name=built.name),
        solver=generate() if planned.via == "identity" else conjugated(planned.via),
        scorer=outcome(list(built.stop)),
        # Stops are read by the scorer alone: some providers refuse one that is but a line break.
        config=GenerateConfig(temperature=0.0, max_tokens=built.max_new_tokens),
        metadata={PACKAGE: {"suite": built.name, "chance": built.chance, **built.parameters}},
    )
