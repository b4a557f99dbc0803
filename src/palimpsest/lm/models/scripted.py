"""Model that answers by rule: for tests, tutorials and dry runs, without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter

from palimpsest.errors import UserError
from palimpsest.files import digest, parse_json, read_bytes
from palimpsest.lm.models.protocol import Decided, Finish, Generation
from palimpsest.lm.models.sampling import DrawsAnswers
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.stops import first_stop
from palimpsest.specs import Spec


class ScriptedModel(DrawsAnswers):
    """A language model that answers by calling a function.

    Words count as tokens. A candidate's score is 0 if the scripted answer starts with it, spaces
    before it aside, and −100 otherwise.

    Args:
        answer: Gives the text that continues a prompt, or several: samples are these in turn, and
            the first is the greedy one.
        name: What reports call the model.
        fingerprint: Identifies the behaviour; models that answer differently need different ones.

    Example:
        >>> model = ScriptedModel(lambda prompt: " 12. So it is.")
        >>> dict(model.generate(["What is 5 plus 7?"], max_new_tokens=10, stop=["."]))[0].text
        ' 12'
    """

    chat = False

    def __init__(
        self,
        answer: Callable[[Prompt], str | Sequence[str]],
        *,
        name: str = "scripted",
        fingerprint: str | None = None,
    ) -> None:
        self._answers = answer
        self.spec = name
        self.fingerprint = fingerprint or digest(f"scripted:{name}")

    def describe(self) -> Mapping[str, str]:
        """Say that no network is behind the answers."""
        return {"architecture": "scripted answers", "fingerprint": self.fingerprint}

    def _answer(self, prompt: Prompt) -> str:
        found = self._answers(prompt)
        if isinstance(found, str):
            return found
        number = 1 if self._sampling is None else self._sampling.number
        return found[(number - 1) % len(found)]

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        decided: Decided | None = None,
    ) -> Iterator[tuple[int, Generation]]:
        """Answer every prompt in order, word by word, with the stops of a real back end."""
        for index, prompt in enumerate(prompts):
            started = perf_counter()
            text, finish, n_tokens = self._spoken(prompt, max_new_tokens, stop, decided, index)
            yield index, Generation(text, finish, n_tokens, perf_counter() - started)

    def _spoken(
        self,
        prompt: Prompt,
        max_new_tokens: int,
        stop: Sequence[str],
        decided: Decided | None,
        index: int,
    ) -> tuple[str, Finish, int]:
        text, n_tokens = "", 0
        for n_tokens, word in enumerate(_words(self._answer(prompt)), start=1):
            text += word
            end = first_stop(text, stop)
            if end is not None:
                return text[:end], "stop", n_tokens
            if decided is not None and decided(index, text):
                return text, "decided", n_tokens
            if n_tokens == max_new_tokens:
                return text, "length", n_tokens
        return text, "stop", n_tokens + 1

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Return 0 for candidates that start the scripted answer, −100 for the others."""
        answers = [self._answer(prompt).lstrip() for prompt in prompts]
        return [
            [0.0 if answer.startswith(text.lstrip()) else -100.0 for text in texts]
            for answer, texts in zip(answers, candidates, strict=True)
        ]

    def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        """Return ``None``: nothing but the answers is known."""

    def vocabulary(self) -> frozenset[str] | None:
        """Return ``None``, too."""

    def close(self) -> None:
        """Do nothing: there is no memory to free."""


def load(spec: Spec) -> ScriptedModel:
    """Answers from a JSON file: {prompt: answer}, or [{"contains": …, "answer": …}, …].

    An answer may be a list of several, which samples give in turn.
    """
    spec.allow(())
    path = Path(spec.target).expanduser()
    hint = 'Expected a JSON file such as {"What is 5 plus 7?": " 12"}.'
    if not path.exists():
        raise UserError(f"No scripted model at '{path}'.", hint=hint)
    content = read_bytes(path, hint=hint)
    rules = _rules(parse_json(content, f"The scripted model '{path}'", hint=hint), path)

    def answer(prompt: Prompt) -> str | Sequence[str]:
        text = prompt if isinstance(prompt, str) else "\n".join(m.content for m in prompt)
        return next((reply for matches, reply in rules if matches(text)), "")

    return ScriptedModel(answer, name=spec.text, fingerprint=digest(b"scripted:" + content))


_Rule = tuple[Callable[[str], bool], str | Sequence[str]]
_Rules = list[_Rule]


def _rules(value: object, path: Path) -> _Rules:
    if isinstance(value, dict) and all(map(_is_answer, value.values())):
        return [(prompt.__eq__, reply) for prompt, reply in value.items()]
    if isinstance(value, list):
        return [_rule(entry, path, number) for number, entry in enumerate(value, start=1)]
    raise UserError(
        f"The scripted model '{path}' holds neither prompts with answers nor a list of rules.",
        hint='Expected {"prompt": "answer"} or [{"contains": "part", "answer": "text"}].',
    )


def _is_answer(value: object) -> bool:
    several = value if isinstance(value, list) else [value]
    return bool(several) and all(isinstance(each, str) for each in several)


def _rule(entry: object, path: Path, number: int) -> _Rule:
    match entry:
        case {"contains": str(part), "answer": reply, **others} if not others and _is_answer(reply):
            return (lambda text: part in text), reply
    raise UserError(
        f"The scripted model '{path}' has an invalid rule, number {number}: {entry!r}.",
        hint='Expected {"contains": "part", "answer": "text"}.',
    )


def _words(text: str) -> Iterator[str]:
    """Split before every space or newline, so that joining the words gives the text again."""
    word = ""
    for character in text:
        if character.isspace() and word.strip():
            yield word
            word = ""
        word += character
    if word:
        yield word
