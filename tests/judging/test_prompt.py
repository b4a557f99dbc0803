from collections.abc import Iterator
from typing import Any

import pytest

from palimpsest.errors import UserError
from palimpsest.judging import prompt as ask_module
from palimpsest.judging.prompt import ask
from palimpsest.lm.conjugations.specs import parse_conjugation
from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.models.protocol import Generation
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.prompts import Message, Prompt


class Watched(ScriptedModel):
    """Keeps what it was asked, and whether it was closed."""

    def __init__(self, answer: Any = lambda prompt: f"{prompt}") -> None:
        super().__init__(answer)
        self.calls: list[tuple[list[Prompt], tuple[str, ...]]] = []
        self.closed = False

    def generate(self, prompts: Any, **options: Any) -> Iterator[tuple[int, Generation]]:
        self.calls.append((list(prompts), tuple(options["stop"])))
        yield from super().generate(prompts, **options)

    def close(self) -> None:
        self.closed = True


class Unreliable(TextConjugation):
    name = "unreliable"
    exact = False

    def __init__(self, fails: str = "") -> None:
        self.fails = fails

    def apply(self, prompt: str) -> str:
        if self.fails == "apply":
            raise KeyError(prompt)
        return prompt

    def invert(self, answer: str) -> str:
        if self.fails == "invert":
            raise KeyError(answer)
        return answer

    def flags(self, prompt: str) -> tuple[str, ...]:
        return ("unchanged line",)

    def answer_flags(self, answer: str) -> tuple[str, ...]:
        return ("empty line",)

    def notes(self) -> tuple[str, ...]:
        return ("It was restarted once.",)


def registered(monkeypatch: pytest.MonkeyPatch, conjugation: TextConjugation) -> None:
    def parse(spec: str, *, source_language: str) -> TextConjugation:
        return conjugation if spec == conjugation.name else parse_conjugation(spec)

    monkeypatch.setattr("palimpsest.lm.conjugations.ensembles.parse_conjugation", parse)


def test_all_members_are_asked_in_one_batch_and_an_open_model_stays_open() -> None:
    model = Watched()
    ask(model, "Say it.", via="vote(identity,rot13,leet)")
    assert [prompts for prompts, _ in model.calls] == [["Say it.", "Fnl vg.", "S4y 17."]]
    assert not model.closed


def test_a_model_given_by_its_spec_is_closed_even_when_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(prompt: Prompt) -> str:
        raise UserError("out of memory")

    model = Watched(fail)
    monkeypatch.setattr(ask_module, "load_model", lambda spec: model)
    with pytest.raises(UserError, match="out of memory"):
        ask("some", "Say it.")
    assert model.closed


def test_a_stop_is_sent_if_every_member_leaves_it_as_it_is() -> None:
    model = Watched(lambda prompt: "a. b\nc")
    plain = ask(model, "Say it.", stop=["\n", "."])
    mixed = ask(model, "Say it.", via="vote(identity,upper)", stop=["\n", "."])
    escaped = ask(model, "Say it.", via="vote(identity,leet)", stop=["\n", "7"])
    assert [stops for _, stops in model.calls] == [("\n", "."), ("\n", "."), ("\n",)]
    assert (plain.members[0].raw, plain.answer) == ("a", "a")
    assert (mixed.members[0].raw, mixed.answer) == ("a", "a")
    assert escaped.members[0].raw == "a. b"


def test_flags_and_notes_of_a_conjugation_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, Unreliable())
    [member] = ask(Watched(), "Say it.", via="unreliable").members
    assert member.notes == (
        "The conjugation flags the prompt: unchanged line.",
        "The conjugation flags the answer: empty line.",
        "It was restarted once.",
    )


@pytest.mark.parametrize("fails", ["apply", "invert"])
def test_a_plugin_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    registered(monkeypatch, Unreliable(fails))
    with pytest.raises(UserError, match="The conjugation 'unreliable' fails on this prompt"):
        ask(Watched(), "Say it.", via="unreliable")


def test_a_prompt_that_leaves_no_room_is_noted() -> None:
    class Full(ScriptedModel):
        def generate(self, prompts: Any, **options: Any) -> Iterator[tuple[int, Generation]]:
            yield 0, Generation("", "length", 0, 0.0)

    [member] = ask(Full(str), "Say it.").members
    assert member.notes == ("The prompt leaves no room for an answer in the model's context.",)


def test_messages_keep_their_roles_and_come_back_in_the_record() -> None:
    prompt = (Message("system", "Be brief."), Message("user", "Say it."))
    asked = ask(ScriptedModel(lambda prompt: "ok"), prompt, via="upper")
    assert asked.members[0].sent == (Message("system", "BE BRIEF."), Message("user", "SAY IT."))
    assert asked.to_json()["prompt"][0] == {"role": "system", "content": "Be brief."}


@pytest.mark.slow
def test_rosetta_answers_a_vote() -> None:
    asked = ask("rosetta:tuned", "Input: What is 5 plus 7?\nOutput:", via="vote(identity,leet)")
    assert len(asked.members) == 2
