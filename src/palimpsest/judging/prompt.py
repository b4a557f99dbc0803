"""One prompt, asked under one conjugation or under several that vote."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

from palimpsest.errors import UserError
from palimpsest.lm import Exchange, Prompt, shared_stops, texts_of
from palimpsest.lm.conjugations import agreeing, parse_ensemble
from palimpsest.lm.models import Generation, LanguageModel, load_model


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
class PromptAnswer:
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
) -> PromptAnswer:
    """Ask a model one prompt, under every member of an ensemble in one batch.

    Args:
        model: A spec, or an open model, which is left open.
        prompt: Text, or messages; every message is conjugated.
        via: A conjugation such as ``leet|upper``, or ``vote(leet,rot13)``.
        max_new_tokens: Length of each raw answer.
        stop: Answers end before the first of these, as they stand in the inverted answer.

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
    exchanges = [Exchange(member, stop) for member in ensemble.members]
    for exchange in exchanges:
        exchange.prepare(prompts=texts_of(prompt))
    sent = [exchange.send(prompt) for exchange in exchanges]
    asked: AbstractContextManager[LanguageModel] = (
        closing(load_model(model)) if isinstance(model, str) else nullcontext(model)
    )
    with asked as opened:
        stops = shared_stops(exchanges)
        found = dict(opened.generate(sent, max_new_tokens=max_new_tokens, stop=stops))
    for place, exchange in enumerate(exchanges):
        exchange.prepare(answers=[found[place].text])
    answers = [exchange.read(found[place].text).text for place, exchange in enumerate(exchanges)]
    winners = agreeing(answers)
    members = tuple(
        MemberAnswer(
            via=exchange.conjugation.name,
            sent=sent[place],
            raw=found[place].text,
            answer=answers[place],
            round_trip=exchange.fidelity(prompt, sent[place]).chrf,
            notes=_notes(exchange, prompt, found[place]),
            agrees=place in winners,
        )
        for place, exchange in enumerate(exchanges)
    )
    return PromptAnswer(prompt, ensemble.name, members, ensemble.combine(answers))


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


def _notes(exchange: Exchange, prompt: Prompt, generation: Generation) -> tuple[str, ...]:
    flags = exchange.flags(texts_of(prompt))
    notes = [f"The conjugation flags the prompt: {flag}." for flag in flags]
    flags = exchange.answer_flags([generation.text])
    notes += [f"The conjugation flags the answer: {flag}." for flag in flags]
    notes += exchange.conjugation.notes()
    if generation.finish == "length" and generation.n_tokens:
        notes.append(f"The answer was cut off after {generation.n_tokens} tokens.")
    elif generation.finish in ("filtered", "refused"):
        notes.append("A content filter of the server, or the model, refused to answer.")
    elif generation.finish == "length":
        notes.append("The prompt leaves no room for an answer in the model's context.")
    return tuple(dict.fromkeys(notes))
