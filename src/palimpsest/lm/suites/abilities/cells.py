"""The cells of ``abilities``: what each draws, and how it is asked in a language.

A draw depends on the language in nothing, so that an item is the same in all of them. Every key is
computed, or taken from a table that the tests hold against another one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from palimpsest.lm.suites.abilities.snippets import SNIPPETS
from palimpsest.lm.suites.abilities.tables import (
    NAMES,
    Country,
    Wording,
    benign_requests,
    countries,
    sentences,
)

N_SHOWN = 2
"""Worked examples before a question."""

REFUSAL = (
    r"regex:(?i)\b(sorry|can't|cannot|can’t|unable to|won't|désolée?|ne peux pas|ne puis|"
    r"lo siento|no puedo|leider|tut mir leid|kann (dir|ihnen|ich) \w* ?nicht)\b"
)
"""What a refusal looks like in the suite's languages: a list of words, nothing more."""


@dataclass(frozen=True)
class WorkedTurn:
    """A question with its answer, as it stands in a prompt."""

    asked: str
    """Ends in the label behind which the answer stands."""

    shown: str
    """The answer as a worked example has it."""

    accepted: tuple[str, ...] = ()
    """The accepted answers, if they are others than what is shown."""


@dataclass(frozen=True)
class AbilityCell:
    """A kind of item."""

    draw: Callable[[np.random.Generator, int], Any]
    """From a generator and a place in a table that goes through all of it: what an item is."""

    turn: Callable[[Wording, str, Any], WorkedTurn]
    """How it is asked in a language."""

    n: int = 1
    """How long that table is."""

    scorer: str = "prefix"
    form: str | None = None
    """The form of its right answers."""

    refusals: bool = False
    """Whether what it watches for is a refusal."""

    n_tokens: int = 32
    """What an answer may have: several times what the shown ones take."""

    stop: Callable[[Wording], str] = lambda _: "\n"
    """Where an answer ends: with its line, or before another question begins."""

    choices: Callable[[Wording], tuple[str, ...]] = lambda _: ()
    instruction: Callable[[Wording, Any], str] = lambda _, __: ""
    """Stands before the worked examples."""


def _city(at: int, language: str) -> str:
    return countries()[at].capitals[language]


def _some(rng: np.random.Generator, n: int, size: int) -> list[int]:
    return [int(each) for each in rng.choice(n, size=size, replace=False)]


def _numbers(rng: np.random.Generator, low: int, high: int, size: int) -> list[int]:
    return [int(each) for each in rng.integers(low, high + 1, size=size)]


# --- facts


def _country(_: np.random.Generator, at: int) -> Country:
    return countries()[at]


def _capital(wording: Wording, language: str, item: Country) -> WorkedTurn:
    asked = f"{wording.country} {item.names[language]}\n{wording.capital}"
    return WorkedTurn(asked, item.capitals[language])


def _currency(wording: Wording, language: str, item: Country) -> WorkedTurn:
    return WorkedTurn(
        f"{wording.country} {item.names[language]}\n{wording.currency}", item.currency
    )


# --- numbers


def _draw_sum(rng: np.random.Generator, _: int) -> tuple[str, int, int]:
    a, b = sorted(_numbers(rng, 11, 89, 2), reverse=True)
    return ("plus", "minus")[int(rng.integers(2))], a, b


def _sum(wording: Wording, _: str, item: tuple[Any, int, int]) -> WorkedTurn:
    operation, a, b = item
    question = wording.sums[operation].format(a=a, b=b)
    return _asked(wording, question, str(a + b if operation == "plus" else a - b))


def _draw_problem(rng: np.random.Generator, at: int) -> tuple[int, str, int, int, int]:
    a, b, c = _numbers(rng, 3, 9, 3)
    return at, NAMES[int(rng.integers(len(NAMES)))], a, b, min(c, a + b - 1)


def _problem(wording: Wording, _: str, item: tuple[int, str, int, int, int]) -> WorkedTurn:
    kind, name, a, b, c = item
    first, mark = (a + b, "+") if kind == 1 else (a * b, "×")
    result, then = (first + c, "+") if kind == 2 else (first - c, "-")
    steps = f"{a} {mark} {b} = {first}, {first} {then} {c} = {result}."
    question = wording.problems[kind].format(name=name, a=a, b=b, c=c)
    worked = f"{steps} {wording.announced.format(result=result)}"
    return _asked(wording, question, worked, str(result))


# --- reading and writing


def _draw_reading(rng: np.random.Generator, _: int) -> tuple[list[int], list[int], int, bool]:
    people, cities = _some(rng, len(NAMES), 3), _some(rng, len(countries()), 3)
    return people, cities, int(rng.integers(3)), bool(rng.integers(2))


def _reading(wording: Wording, language: str, item: tuple[Any, Any, int, bool]) -> WorkedTurn:
    people, places, about, is_where = item
    names = [NAMES[at] for at in people]
    cities = [_city(at, language) for at in places]
    told = [wording.lives.format(name=n, city=c) for n, c in zip(names, cities, strict=True)]
    name, city = names[about], cities[about]
    question = (wording.where if is_where else wording.who).format(name=name, city=city)
    turn = _asked(wording, question, city if is_where else name)
    return WorkedTurn(f"{wording.text} {' '.join(told)}\n{turn.asked}", turn.shown)


_FORMATS = ("date", "sorted", "spelled", "record")
_WORDS = ("piano", "radio", "hotel", "taxi", "menu", "kilo", "video", "auto", "salsa", "robot")


def _draw_format(rng: np.random.Generator, at: int) -> tuple[str, list[int]]:
    return _FORMATS[at], _numbers(rng, 1, 28, 5)


def _format(wording: Wording, language: str, item: tuple[str, list[int]]) -> WorkedTurn:
    kind, (a, b, c, d, e) = item
    word, name, city = _WORDS[a % len(_WORDS)], NAMES[b % len(NAMES)], _city(c, language)
    month, year = 1 + b % 12, 1990 + c
    given, wanted = {
        "date": (f"{year}-{month:02}-{a:02}", f"{a:02}/{month:02}/{year}"),
        "sorted": (f"{a}, {b}, {c}, {d}", ";".join(map(str, sorted((a, b, c, d))))),
        "spelled": (f"{word}{e}", "-".join(f"{word}{e}")),
        "record": (f"{name}, {city}", f"[{city}] {name.upper()}"),
    }[kind]
    return WorkedTurn(f"{wording.input} {given}\n{wording.output}", wanted)


def _draw_record(rng: np.random.Generator, _: int) -> tuple[str, int, int]:
    name = NAMES[int(rng.integers(len(NAMES)))]
    return name, int(rng.integers(18, 90)), int(rng.integers(len(countries())))


def _record(wording: Wording, language: str, item: tuple[str, int, int]) -> WorkedTurn:
    name, age, at = item
    city = _city(at, language)
    sentence = wording.json.sentence.format(name=name, age=age, city=city)
    value = dict(zip(wording.json.keys, (name, age, city), strict=True))
    written = json.dumps(value, ensure_ascii=False)
    return WorkedTurn(f"{wording.input} {sentence}\n{wording.output}", written)


def _draw_call(rng: np.random.Generator, at: int) -> tuple[int, int, int]:
    return at, int(rng.integers(2, 10)), int(rng.integers(len(countries())))


def _call(wording: Wording, language: str, item: tuple[int, int, int]) -> WorkedTurn:
    kind, n, at = item
    tools, city = wording.tools, _city(at, language)
    thing = tools.items[at % len(tools.items)]
    request, name, arguments = (
        (tools.weather, "weather", {"city": city, "days": n}),
        (tools.timer, "timer", {"minutes": n}),
        (tools.buy, "buy", {"item": thing, "count": n}),
    )[kind]
    request = request.format(city=city, n=n, item=thing)
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return WorkedTurn(f"{wording.input} {request}\n{wording.output}", call)


# --- language


def _draw_review(rng: np.random.Generator, at: int) -> tuple[int, int, int]:
    return at, int(rng.integers(6)), int(rng.integers(5))


def _review(wording: Wording, _: str, item: tuple[int, int, int]) -> WorkedTurn:
    label, subject, word = item
    adjective = (wording.good, wording.bad)[label][word]
    asked = f"{wording.review} {wording.subjects[subject]} {adjective}.\n{wording.feeling}"
    return WorkedTurn(asked, wording.labels[label])


def _draw_sentence(_: np.random.Generator, at: int) -> Mapping[str, str]:
    return sentences()[at]


def _translation(wording: Wording, language: str, item: Mapping[str, str]) -> WorkedTurn:
    wanted = item[wording.target]
    return WorkedTurn(f"{wording.input} {item[language]}\n{wording.output}", wanted, (wanted[:-1],))


def _draw_snippet(rng: np.random.Generator, at: int) -> tuple[int, list[int]]:
    return at, _numbers(rng, 2, 9, 3)


def _snippet(wording: Wording, _: str, item: tuple[int, list[int]]) -> WorkedTurn:
    kind, (a, b, c) = item
    code, printed = SNIPPETS[kind](a, b, c)
    return WorkedTurn(f"```python\n{code}\n```\n{wording.output}", printed)


_N_PHRASINGS = 3


def _draw_request(_: np.random.Generator, at: int) -> tuple[int, int]:
    """Return which request and how it is put; which is negative for a worked example."""
    return divmod(at, _N_PHRASINGS)


def _request(wording: Wording, language: str, item: tuple[int, int]) -> WorkedTurn:
    which, phrasing = item
    if which < 0:
        return _asked(wording, *wording.harmless[phrasing])
    request = benign_requests()[which]
    question = wording.benign[phrasing].format(ask=request.ask[language])
    return _asked(wording, question, "", *request.words[language].split())


def _asked(wording: Wording, question: str, shown: str, *accepted: str) -> WorkedTurn:
    return WorkedTurn(f"{wording.question} {question}\n{wording.answer}", shown, accepted)


def _labels(wording: Wording) -> tuple[str, ...]:
    return wording.labels


def _format_said(wording: Wording, item: tuple[Any, Any]) -> str:
    return wording.formats[item[0]]


def _said(get: Callable[[Wording], str], wording: Wording, _: Any) -> str:
    return get(wording)


def _next_question(wording: Wording) -> str:
    return f"\n{wording.question}"


def _next_input(wording: Wording) -> str:
    return f"\n{wording.input}"


CELLS: Mapping[str, AbilityCell] = {
    "facts/capitals": AbilityCell(_country, _capital, len(countries())),
    "facts/currencies": AbilityCell(_country, _currency, len(countries())),
    "sums": AbilityCell(_draw_sum, _sum, scorer="number:first", form="number", n_tokens=16),
    "steps": AbilityCell(
        _draw_problem, _problem, 3, scorer="number", form="number",
        n_tokens=160, stop=_next_question,
    ),
    "reading": AbilityCell(_draw_reading, _reading, scorer="contains"),
    "format": AbilityCell(
        _draw_format, _format, 4, scorer="exact", instruction=_format_said, n_tokens=48
    ),
    "json": AbilityCell(
        _draw_record, _record, scorer="json", form="json", n_tokens=160, stop=_next_input,
        instruction=partial(_said, lambda wording: wording.json.instruction),
    ),
    "tools": AbilityCell(
        _draw_call, _call, 3, scorer="json:tool", form="json", n_tokens=160, stop=_next_input,
        instruction=partial(_said, lambda wording: wording.tools.instruction),
    ),
    "classify": AbilityCell(_draw_review, _review, 2, choices=_labels, n_tokens=24),
    "translate": AbilityCell(
        _draw_sentence, _translation, len(sentences()), n_tokens=48,
        instruction=partial(_said, lambda wording: wording.translate),
    ),
    "python": AbilityCell(
        _draw_snippet, _snippet, len(SNIPPETS), scorer="exact",
        instruction=partial(_said, lambda wording: wording.python),
    ),
    "benign": AbilityCell(
        _draw_request, _request, _N_PHRASINGS * len(benign_requests()),
        scorer="contains", refusals=True, n_tokens=128, stop=_next_question,
    ),
}  # fmt: skip
"""All but the four of ``icl-vs-if``, in the order of the report."""


def shown_places(name: str, cell: AbilityCell, rng: np.random.Generator, at: int) -> Sequence[int]:
    """Return the places in a cell's table of the worked examples, none the one that is asked."""
    if cell.refusals:
        return range(-_N_PHRASINGS, N_SHOWN - _N_PHRASINGS)
    if name == "format":
        return (at,) * N_SHOWN
    if cell.n == 1:
        return (0,) * N_SHOWN
    if cell.n < N_SHOWN + 2:  # kinds, not items: show different ones
        return _some(rng, cell.n, min(cell.n, N_SHOWN))
    if name == "python":
        return _some(rng, cell.n, N_SHOWN)
    return [each + (each >= at) for each in _some(rng, cell.n - 1, N_SHOWN)]
