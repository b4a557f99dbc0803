"""Natural language inference: the suite ``nli``.

A prompt gives a premise and a hypothesis and asks whether the hypothesis is true, false or neither.

**Wrong labels are broken, not intruded.** Intruded answers are those of *another ability*, which
would show that the model inferred another task. To say ``False`` where ``True`` is right is to do
the same task badly: it shows no other task, least of all that of writing code. Besides, an answer
chosen by likelihood is always one of the three labels. Were wrong ones intruded, every error would
be, and the rule of the verdict, which calls nothing lost while most errors are intrusions, could
never find that inference is lost. So this suite has no intruding answers, and what was said instead
of the right label stands in the answers themselves.

**All rows are in one cell**, and its examples take the labels by turns. In a cell of one label, a
model that always gives the same answer is right always or never: let a base model say ``True`` to
everything and a tuned one ``False``, and the cell of entailment shows a fall by 100 points, though
neither has any ability. Over all labels both are at chance, which is what the verdict must see. The
label begins the id of each example, so that the answers can still be counted by label.

Source: Kotha, Springer and Raghunathan, ICLR 2024 (arXiv 2309.10105), on XNLI (arXiv 1809.05053).
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from palimpsest.errors import UserError
from palimpsest.lm.suites.nli.files import Split
from palimpsest.lm.suites.nli.rows import InferencePair, ParallelPairs, read_pairs
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.lm.suites.templates import INFERENCE_WORDINGS, LABELS, Label

CELL = "inference"
"""The one cell."""

SAMPLE = Path(__file__).parents[1] / "data" / "nli"
"""The package's own rows: each hypothesis comes under each label, so it gives none away."""


def build(
    path: Path | None = None,
    *,
    n: PositiveInt | None = None,
    seed: NonNegativeInt = 0,
    languages: Sequence[str] | None = None,
    source: str = "en",
    split: Split | None = None,
    max_new_tokens: PositiveInt = 10,
) -> Suite:
    """Whether a sentence follows from another: true, false or neither, in four languages.

    Args:
        path: Rows of premise, hypothesis and label, in several languages; by default a small sample
            of the package's own. A file (TSV, JSON lines, Parquet), a folder with one a language
            (``en.tsv``, …), or a folder saved by ``datasets``.
        n: Rows a label; by default all.
        seed: Seed of the order in which rows are taken; the first stay the same when ``n`` grows.
        languages: Languages to ask in; by default all that there are rows and wording for.
        source: The language of the plain prompts.
        split: Which one, if there are several; by default ``validation``, as in the paper.
        max_new_tokens: How much the model may say where it cannot choose by likelihood.

    Raises:
        UserError: The rows cannot be read, are malformed, not aligned, or fewer than asked for.
        MissingExtraError: Parquet or Arrow without ``pyarrow``.
    """
    where = SAMPLE if path is None else path.expanduser()
    parallel = read_pairs(where, languages=languages, source=source, split=split)
    drawn = {label: _drawn(parallel.pairs[source], label, n, seed, where) for label in LABELS}
    counts = {label: len(keys) for label, keys in drawn.items()}
    return Suite(
        name="nli" if path is None else f"nli:{path}",
        examples=tuple(_examples(parallel, drawn)),
        source_language=source,
        max_new_tokens=max_new_tokens,
        # Always giving the commonest label; a third if there are as many of each.
        chance=max(counts.values()) / sum(counts.values()),
        description="Whether a hypothesis follows from a premise: true, false or neither.",
        parameters={
            "n": n,
            "seed": seed,
            "languages": list(parallel.pairs),
            "source": source,
            "split": split,
            "path": "built in" if path is None else str(path),
            "sha256": _named(parallel.sha256, where),
            "n_rows": counts,
        },
    )


def _named(hashes: Mapping[str, str], where: Path) -> dict[str, str]:
    """Return the hashes by names that do not say where the folder is."""
    return {
        Path(path).relative_to(where.parent).as_posix(): sha256 for path, sha256 in hashes.items()
    }


def _drawn(
    pairs: Mapping[str, InferencePair], label: Label, n: int | None, seed: int, path: Path
) -> list[str]:
    """Return the ids of rows with a label, in an order that does not depend on how many."""
    keys = [key for key, pair in pairs.items() if pair.label == label]
    if n is not None and n > len(keys):
        counts = Counter(pair.label for pair in pairs.values())
        fewest = min(counts[each] for each in LABELS)
        smaller = f"Choose n={fewest} or less, or leave" if fewest else "Leave"
        rows = "1 row" if len(keys) == 1 else f"{len(keys)} rows"
        raise UserError(
            f"{path} has {rows} with the label {label}, but n={n} asks for more.",
            hint=f"{smaller} n out to take all rows.",
        )
    stream = np.random.SeedSequence(seed, spawn_key=(LABELS.index(label),))
    order = np.random.default_rng(stream).permutation(len(keys))
    return [keys[place] for place in order[:n]]


def _examples(parallel: ParallelPairs, drawn: Mapping[Label, Sequence[str]]) -> Iterator[Example]:
    # By turns, so that the first of them are of all labels.
    for keys in itertools.zip_longest(*drawn.values()):
        for label, key in zip(drawn, keys, strict=True):
            if key is not None:
                for language, pairs in parallel.pairs.items():
                    yield _example(key, label, language, pairs[key])


def _example(key: str, label: Label, language: str, pair: InferencePair) -> Example:
    wording = INFERENCE_WORDINGS[language]
    return Example(
        source_id=f"{label}/{key}",
        cell=CELL,
        language=language,
        prompt=wording.prompt(pair.premise, pair.hypothesis),
        answers={"nli": (wording.choice(label),)},
        choices=wording.choices,
    )
