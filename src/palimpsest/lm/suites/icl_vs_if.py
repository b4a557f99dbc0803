"""In-context learning against instruction following: the suite ``icl-vs-if``.

A prompt shows two worked examples of an in-context task, repeating or capitalising, and then a
query that is itself a request: a question for a number, or a sentence whose first word is missing.
A model that learns in context transforms the query; one that follows instructions answers it.

Source: Kotha, Springer and Raghunathan, ICLR 2024 (arXiv 2309.10105), Section 3.
"""

from __future__ import annotations

import itertools
import unicodedata
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from palimpsest.errors import UserError, did_you_mean
from palimpsest.files import decoded, lines_of, read_bytes, sha256_of
from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.lm.scoring import first_word, is_unspaced, scorer_for
from palimpsest.lm.suites.request_forms import filled_form, number_form
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.lm.suites.templates import OPERATIONS, TASK_WORDINGS, TASKS, Operation, Task

Query = Literal["math", "blank"]

CELLS: tuple[tuple[Task, Query], ...] = tuple(itertools.product(TASKS, ("math", "blank")))

REWRITTEN_LANGUAGES = ("leet", "pig-latin")
"""Languages that are the English prompt and answers under the exact conjugation of that name."""

TRANSFORMS: Mapping[Task, Callable[[str], str]] = {"repeat": str, "capitalise": str.upper}
"""What the in-context tasks do to their input."""

SMALLEST, LARGEST = 4, 20
"""The numbers that are asked about."""

BUILT_IN = Path(__file__).with_name("data") / "sentences"
"""The package's own sentences."""

MOST_BYTES = 64 * 2**20
"""The largest file of sentences."""


class AnswerableQuery(NamedTuple):
    """A query that asks for something."""

    text: str
    answers: tuple[str, ...]


class Item(NamedTuple):
    """What is the same in every language about one example."""

    task: Task
    shown: tuple[int, int]
    """The lines of the worked examples."""
    query: tuple[Operation, int, int] | int
    """An operation on two numbers, or the line whose first word is blanked."""


def build(
    *,
    n: PositiveInt = 100,
    seed: NonNegativeInt = 0,
    languages: Sequence[str] | None = None,
    sentences: Path | None = None,
    max_new_tokens: PositiveInt = 10,
) -> Suite:
    """Repeat or capitalise a query that is itself a request, against answering it.

    Args:
        n: Prompts a cell and language.
        seed: Seed of the draw; the first prompts stay the same when ``n`` grows.
        languages: Languages to write every prompt in, English among them; by default all that
            there are sentences for, ``leet`` and ``pig-latin``.
        sentences: A folder with the user's own sentences, one file a language (``en.txt``, …),
            aligned by line. The names ``ls`` and ``pl`` mean leetspeak and pig latin by the rules
            of the paper, as in the files that it published; ``pl`` is not Polish here.
        max_new_tokens: How much the model may say; 10 is the paper's setting.

    Raises:
        UserError: A language without sentences or wording, or sentence files that are not parallel.
    """
    folder = BUILT_IN if sentences is None else sentences.expanduser()
    languages = _chosen(folder, languages)
    parallel = read_sentences(folder, [name for name in languages if name in TASK_WORDINGS])
    usable = _usable_lines(parallel, folder)
    items = {
        f"{task}/{query}": [_draw(task, query, i, usable, seed) for i in range(n)]
        for task, query in CELLS
    }
    examples = tuple(
        _example(item, cell, f"{cell}/{index:04d}", language, parallel)
        for cell, drawn in items.items()
        for index, item in enumerate(drawn)
        for language in languages
        if item.task in _tasks(language)
    )
    return Suite(
        name="icl-vs-if",
        examples=examples,
        max_new_tokens=max_new_tokens,
        description="In-context tasks whose query is itself a request that could be answered.",
        parameters={
            "n": n,
            "seed": seed,
            "languages": list(languages),
            "sentences": "built in" if sentences is None else str(sentences),
            "sentences_sha256": dict(parallel.sha256),
            "n_sentences": len(usable),
        },
    )


def _tasks(language: str) -> Collection[str]:
    """Return the in-context tasks that a language has."""
    return TASKS if language in REWRITTEN_LANGUAGES else TASK_WORDINGS[language].tasks


def _chosen(folder: Path, languages: Sequence[str] | None) -> tuple[str, ...]:
    """Return the languages to write in, checked as far as they need no reading."""
    present = sentence_languages(folder)
    worded = [name for name in TASK_WORDINGS if name in present]
    possible = [*worded, *REWRITTEN_LANGUAGES]
    chosen = tuple(dict.fromkeys(languages or (*worded, *present, *REWRITTEN_LANGUAGES)))
    for name in chosen:
        if name in possible:
            continue
        if name in present:
            raise UserError(
                f"There is no wording in '{name}' for the sentences in {folder / name}.txt.",
                hint=f"There is wording in: {', '.join(TASK_WORDINGS)}. Move other files away, or "
                f"choose: languages={'+'.join(possible)}",
            )
        raise UserError(
            f"There are no sentences in '{name}'.{did_you_mean(name, REWRITTEN_LANGUAGES)}",
            hint=f"The languages here: {', '.join(possible)}.",
        )
    if "en" not in chosen:
        raise UserError(
            f"The languages {'+'.join(chosen)} lack 'en', the language of the plain prompts.",
            hint=f"Write languages=en+{'+'.join(chosen)}",
        )
    return chosen


def blank_first_word(sentence: str) -> AnswerableQuery | None:
    """Return a sentence with its first word blanked; nothing if it has no word.

    Punctuation before the word stays, and an answer may have it or not. A character of a script
    without spaces is as wide as two underscores.

    Example:
        >>> blank_first_word("¡Es un pingüino!"), blank_first_word("谁想要它？")
        (AnswerableQuery(text='¡__ un pingüino!', answers=('Es', '¡Es')), ...text='__想要它？'...)
    """
    place = first_word(sentence)
    if place is None:
        return None
    before, word, after = sentence[: place[0]], sentence[slice(*place)], sentence[place[1] :]
    answers = tuple(dict.fromkeys((word, before + word)))
    width = 2 if is_unspaced(word[:1]) else len(word)
    return AnswerableQuery(f"{before}{'_' * width}{after}", answers)


def _expected(request: AnswerableQuery, task: Task) -> dict[str, tuple[str, ...]]:
    """Return the accepted answers of both abilities."""
    transform = TRANSFORMS[task]
    output = transform(request.text)
    word = first_word(output)
    assert word is not None
    # Told to capitalise, a model that answers may capitalise its answer or not: it answers.
    answers = dict.fromkeys((*request.answers, *map(transform, request.answers)))
    return {"in-context": (output[: word[1]],), "instruction": tuple(answers)}


def _usable_lines(sentences: Sentences, folder: Path) -> list[int]:
    """Return the lines whose blanked form tells the two tasks apart in every language."""
    usable = [
        place
        for place in range(len(sentences))
        if all(_is_usable(lines[place]) for lines in sentences.lines.values())
    ]
    if len(usable) < 3:
        raise UserError(
            f"Of the {len(sentences)} lines in '{folder}', {len(usable)} can be used: a prompt "
            "takes 3 different sentences.",
            hint="Lines are left out if in some language they have no word, or begin with a blank.",
        )
    return usable


def _is_usable(sentence: str) -> bool:
    request = blank_first_word(sentence)
    if request is None:
        return False
    expected = [_expected(request, task) for task in TASKS]
    return all(scorer_for(e["in-context"], e["instruction"]).separable for e in expected)


def _draw(task: Task, query: Query, index: int, usable: Sequence[int], seed: int) -> Item:
    """Draw one item, which depends on nothing but the arguments."""
    cell = zlib.crc32(f"{task}/{query}".encode())
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(cell, index)))
    if query == "math":
        first, second = sorted(map(int, rng.integers(SMALLEST, LARGEST + 1, size=2)), reverse=True)
        operation = OPERATIONS[rng.integers(len(OPERATIONS))]
        # Only differences need the larger number in front.
        if operation != "difference" and rng.integers(2):
            first, second = second, first
        a, b = rng.choice(len(usable), size=2, replace=False)
        return Item(task, (usable[a], usable[b]), (operation, first, second))
    # Every sentence is asked about once before one is asked about again.
    order = _order(len(usable), seed, cell)
    asked = order[index % len(order)]
    a, b = rng.choice(len(usable) - 1, size=2, replace=False)
    a, b = a + (a >= asked), b + (b >= asked)
    return Item(task, (usable[a], usable[b]), usable[asked])


@lru_cache(maxsize=16)
def _order(n: int, seed: int, cell: int) -> tuple[int, ...]:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(cell,)))
    return tuple(map(int, rng.permutation(n)))


def _example(item: Item, cell: str, source_id: str, language: str, sentences: Sentences) -> Example:
    if language in REWRITTEN_LANGUAGES:
        rewrite = parse_conjugation(language).apply
        form = _form(item, _request(item, "en", sentences.lines["en"]), rewrite)
        return _rewritten(_example(item, cell, source_id, "en", sentences), language, form)
    wording, lines = TASK_WORDINGS[language], sentences.lines[language]
    transform = TRANSFORMS[item.task]
    request = _request(item, language, lines)
    turns = [wording.turn(lines[place], transform(lines[place])) for place in item.shown]
    blocks = [wording.instruction(item.task), *turns, wording.turn(request.text)]
    return Example(
        source_id=source_id,
        cell=cell,
        language=language,
        prompt="\n\n".join(blocks),
        answers=_expected(request, item.task),
        whole_answers={"in-context": transform(request.text)},
        forms={"instruction": _form(item, request)},
    )


def _form(item: Item, request: AnswerableQuery, rewrite: Callable[[str], str] = str) -> str:
    """Return what a model's answer looks like that answers the request, right or wrong."""
    if isinstance(item.query, int):
        return filled_form(request.text, rewrite)
    return number_form(rewrite)


def _request(item: Item, language: str, lines: Sequence[str]) -> AnswerableQuery:
    if isinstance(item.query, int):
        request = blank_first_word(lines[item.query])
        assert request is not None, "only usable lines are drawn"
        return request
    operation, first, second = item.query
    result = {"sum": first + second, "difference": first - second, "product": first * second}
    return AnswerableQuery(
        TASK_WORDINGS[language].question(operation, first, second), (str(result[operation]),)
    )


def _rewritten(example: Example, language: str, form: str) -> Example:
    apply = parse_conjugation(language).apply
    assert isinstance(example.prompt, str)
    return replace(
        example,
        language=language,
        prompt=apply(example.prompt),
        answers={ability: tuple(map(apply, texts)) for ability, texts in example.answers.items()},
        whole_answers={name: apply(text) for name, text in example.whole_answers.items()},
        forms={"instruction": form},
    )


@dataclass(frozen=True)
class Sentences:
    """The same sentences in several languages."""

    lines: Mapping[str, tuple[str, ...]]
    """Languages to sentences; the same place means the same sentence."""

    sha256: Mapping[str, str]
    """Languages to the hashes of their files."""

    def __len__(self) -> int:
        return len(next(iter(self.lines.values())))


def sentence_languages(folder: Path) -> tuple[str, ...]:
    """Return the languages that a folder has files for, English first.

    Raises:
        UserError: There is no such folder, or it has no ``en.txt``.
    """
    if not folder.is_dir():
        raise UserError(
            f"No folder '{folder}' with sentences.",
            hint="Name a folder with one file a language: en.txt, fr.txt, …",
        )
    found = sorted(
        path.stem for path in folder.glob("*.txt") if path.is_file() and path.name[0] != "."
    )
    if "en" not in found:
        raise UserError(
            f"The folder '{folder}' has no en.txt; it has: "
            f"{', '.join(f'{stem}.txt' for stem in found) or 'no .txt files'}.",
            hint="English is the language of the plain prompts. Add its sentences, line by line.",
        )
    return ("en", *(language for language in found if language != "en"))


def read_sentences(folder: Path, languages: Sequence[str]) -> Sentences:
    """Read the files of some languages.

    White space at the ends of lines is dropped, accents are composed (NFC), and a byte order mark
    or Windows line ends do not matter.

    Args:
        folder: Where ``en.txt`` and others are.
        languages: Which to read; ``en`` must be one of them.

    Raises:
        UserError: A file is missing, unreadable or not UTF-8, has an empty line, or has not as many
            lines as ``en.txt``. The message names file and line.
    """
    found = sentence_languages(folder)
    for language in languages:
        if language not in found:
            raise UserError(
                f"The folder '{folder}' has no {language}.txt.",
                hint=f"It has sentences in: {', '.join(found)}.",
            )
    paths = {language: folder / f"{language}.txt" for language in languages}
    lines = {language: _lines(path) for language, path in paths.items()}
    for language, sentences in lines.items():
        if len(sentences) != len(lines["en"]):
            raise UserError(
                f"{folder / language}.txt has {_n_lines(sentences)}, but "
                f"{folder / 'en'}.txt has {_n_lines(lines['en'])}.",
                hint="The same line must hold the same sentence in every file.",
            )
    return Sentences(lines, {language: sha256_of(path) for language, path in paths.items()})


def _lines(path: Path) -> tuple[str, ...]:
    # Not str.splitlines: it also splits at characters that editors do not count as line ends.
    lines = lines_of(read_bytes(path, most_bytes=MOST_BYTES).removesuffix(b"\n"))
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            sentence = unicodedata.normalize("NFC", decoded(line)).strip()
        except ValueError as error:
            raise UserError(f"{path}, line {number}: {error}") from None
        if not sentence:
            raise UserError(
                f"{path}, line {number}: empty.",
                hint="Remove the line from every file, or fill it in.",
            )
        found.append(sentence)
    return tuple(found)


def _n_lines(sentences: Sequence[str]) -> str:
    return f"{len(sentences)} line{'s' if len(sentences) != 1 else ''}"
