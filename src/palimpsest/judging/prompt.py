"""Ask a model one prompt under one conjugation, or under several that vote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from palimpsest.errors import UserError
from palimpsest.lm.conjugations.ensembles import TextEnsemble, agreeing, parse_ensemble
from palimpsest.lm.conjugations.fidelity import round_trip_chrf
from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.models.protocol import Generation, LanguageModel
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.prompts import Prompt, map_text, texts_of
from palimpsest.lm.stopping import cut

T = TypeVar("T")


@dataclass(frozen=True)
class MemberAnswer:
    r"""A prompt on its way through :math:`s^{-1} \circ T \circ s` for one conjugation."""

    via: str
    """The conjugation's name."""

    sent: Prompt
    """``s(prompt)``."""

    raw: str
    """The model's own text."""

    answer: str
    """``s⁻¹(raw)``, cut at the stop strings."""

    round_trip: float
    """chrF of ``s⁻¹(s(prompt))`` against the prompt, from 0 to 1; 1 for every exact one."""

    notes: tuple[str, ...]
    """What a reader must know before trusting the answer."""

    agrees: bool
    """Whether this answer is one of those that won the vote."""


@dataclass(frozen=True)
class Asked:
    """One prompt with the answers of all members and the one they agree on."""

    prompt: Prompt
    """As it was given."""

    via: str
    """The conjugation or ensemble, in its shortest form."""

    members: tuple[MemberAnswer, ...]
    """In the order of the ensemble."""

    answer: str
    """The only answer, or the winner of the vote."""

    def to_json(self) -> dict[str, Any]:
        """Return what ``palimpsest prompt --json`` prints; only a vote has ``members``."""
        prompt = asdict(self)["prompt"]
        members = [asdict(member) for member in self.members]
        if len(members) > 1:
            return {"prompt": prompt, "via": self.via, "answer": self.answer, "members": members}
        del members[0]["agrees"]
        return {"prompt": prompt, **members[0]}


def ask(
    model: str | LanguageModel,
    prompt: Prompt,
    *,
    via: str = "identity",
    max_new_tokens: int = 50,
    stop: Sequence[str] = (),
) -> Asked:
    """Ask a model one prompt, under every member of an ensemble in one batch.

    Args:
        model: A spec, or an open model, which is left open.
        prompt: Text, or messages; every message is conjugated.
        via: A conjugation such as ``leet|upper``, or ``vote(leet,rot13)``.
        max_new_tokens: Length of each raw answer.
        stop: Answers end before the first of these, which is looked for in the inverted answer,
            as ``s`` may rewrite them. Line breaks end the raw answer, too.

    Raises:
        UserError: A blank prompt, a model or conjugation that cannot be used, or one that fails
            on this prompt.

    Example:
        >>> from palimpsest.lm.models.scripted import ScriptedModel
        >>> shouts = ScriptedModel(lambda prompt: f" {prompt}!")
        >>> asked = ask(shouts, "Say it.", via="vote(identity,leet)")
        >>> asked.answer, [member.raw for member in asked.members]
        (' Say it.!', [' Say it.!', ' S4y 17.!'])
    """
    _check(prompt, stop)
    ensemble = parse_ensemble(via)
    sent = [_tried(member, _conjugated, prompt) for member in ensemble.members]
    asked: AbstractContextManager[LanguageModel] = (
        closing(load_model(model)) if isinstance(model, str) else nullcontext(model)
    )
    with asked as opened:
        generations = dict(
            opened.generate(sent, max_new_tokens=max_new_tokens, stop=_sent_stops(ensemble, stop))
        )
    found = [generations[place] for place in range(len(sent))]
    return _answered(ensemble, prompt, sent, found, stop)


def _check(prompt: Prompt, stop: Sequence[str]) -> None:
    if not "".join(texts_of(prompt)).strip():
        raise UserError(
            "The prompt is empty: there is nothing to ask.",
            hint="Give it as argument, by --file, or on standard input.",
        )
    if "" in stop:
        raise UserError(
            "A stop string is empty: it would end every answer before its first letter.",
            hint="Leave it out.",
        )


def _answered(
    ensemble: TextEnsemble,
    prompt: Prompt,
    sent: Sequence[Prompt],
    found: Sequence[Generation],
    stop: Sequence[str],
) -> Asked:
    raws = [generation.text for generation in found]
    answers = [
        cut(_tried(member, _inverted, raw), stop)
        for member, raw in zip(ensemble.members, raws, strict=True)
    ]
    winners = agreeing(answers)
    members = tuple(
        MemberAnswer(
            via=member.name,
            sent=sent[place],
            raw=raws[place],
            answer=answers[place],
            round_trip=_round_trip(member, prompt, sent[place]),
            notes=_notes(member, prompt, found[place]),
            agrees=place in winners,
        )
        for place, member in enumerate(ensemble.members)
    )
    return Asked(prompt, ensemble.name, members, ensemble.combine(answers))


def _sent_stops(ensemble: TextEnsemble, stop: Sequence[str]) -> list[str]:
    """Return the stop strings that hold in every member's text: line breaks, or all if plain."""
    plain = all(member.name == "identity" for member in ensemble.members)
    return [text for text in stop if plain or not text.strip("\r\n")]


def _conjugated(conjugation: TextConjugation, prompt: Prompt) -> Prompt:
    conjugation.prepare(prompts=texts_of(prompt))
    return map_text(prompt, conjugation.apply)


def _inverted(conjugation: TextConjugation, raw: str) -> str:
    conjugation.prepare(answers=[raw])
    return conjugation.invert(raw)


def _round_trip(conjugation: TextConjugation, prompt: Prompt, sent: Prompt) -> float:
    if conjugation.exact:
        return 1.0
    back = _tried(conjugation, lambda one, text: map_text(text, one.invert), sent)
    return round_trip_chrf("\n".join(texts_of(prompt)), "\n".join(texts_of(back)))


def _notes(conjugation: TextConjugation, prompt: Prompt, generation: Generation) -> tuple[str, ...]:
    flags = [flag for text in texts_of(prompt) for flag in conjugation.flags(text)]
    notes = [f"The conjugation flags the prompt: {flag}." for flag in flags]
    notes += [
        f"The conjugation flags the answer: {flag}."
        for flag in conjugation.answer_flags(generation.text)
    ]
    notes += conjugation.notes()
    if generation.finish == "length" and generation.n_tokens:
        notes.append(f"The answer was cut off after {generation.n_tokens} tokens.")
    elif generation.finish == "length":
        notes.append("The prompt leaves no room for an answer in the model's context.")
    return tuple(dict.fromkeys(notes))


def _tried(
    conjugation: TextConjugation, function: Callable[[TextConjugation, Any], T], text: Any
) -> T:
    """Call a function of a conjugation; a plugin can raise anything, and is named then."""
    try:
        return function(conjugation, text)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"The conjugation '{conjugation.name}' fails on this prompt or its answer: {error!r}.",
            hint="Leave it out, or tell the authors of the plugin that provides it.",
        ) from error
