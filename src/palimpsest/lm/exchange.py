r"""The equation with a real model, :math:`s^{-1} \circ T \circ s`: prompts out, answers back.

Whoever asks a model under a conjugation (a diagnosis, the proxy, another tool's model) asks through
an :class:`Exchange`, so that one prompt with one raw answer means the same to all of them.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property, lru_cache
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

from palimpsest.errors import UserError
from palimpsest.lm.conjugations.spans import survival
from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.prompts import Prompt, map_text, texts_of
from palimpsest.lm.stops import first_stop, n_open

if TYPE_CHECKING:
    from sacrebleu.metrics.chrf import CHRF

P = ParamSpec("P")
T = TypeVar("T")

SPOKEN_ROLES = frozenset({"system", "developer", "user", "assistant"})
"""Messages with these roles are conjugated; what tools say stays as it is."""

_LINE_BREAKS = re.compile(r"(\r?\n)+")

_MARK = re.compile(r"<\|[^|<>\s]{1,40}\|>|</?[a-z_]{1,40}>|\[/?[A-Z_]{1,40}\]")
"""Marks that models end their turns with: no words, so that no conjugation is meant by them."""

_BESIDE: tuple[str, ...] = (
    "", " ", "\n", "a", "Z", "é", "7", "\\", "-", "'", ".", ":", "`", "{", "a ", " b",
)  # fmt: skip
"""What may stand beside a stop string: one of each kind of text that rules tell apart."""

_LONGEST_STOP = 4096
"""Characters of a conjugated stop string; a longer one is only read in the answer."""

_SHORT = 2048
"""Characters up to which a growing answer is inverted anew with each piece."""

_SHARE = 128
"""From there on it is inverted when it has grown by one part in so many: doing it each time would
take quadratic time."""

_MOST_ON_LOOP = 50_000
"""Characters that a rule rewrites in some milliseconds; more would keep other requests waiting."""

_N_TOGETHER = 512
"""Pairs that are conjugated at a time: many for a translator, few enough to hold in memory."""

_N_WAITING = 64
"""Answers that wait to be inverted together, where that is faster."""

_WAIT_SECONDS = 2.0
"""How long the first of them waits at most: so much is asked again after a crash."""


class ConjugationError(UserError):
    """A conjugation, mostly of a plugin, that fails on a text."""


class BrokenPromiseError(ConjugationError):
    """A conjugation that called a part of an answer certain which then changed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The conjugation '{name}' called a text certain that then changed.",
            hint="Leave it out, or tell the authors of the plugin that provides it.",
        )


class Reading(NamedTuple):
    """A raw answer as the one who asked is to read it."""

    text: str
    """The inverted answer, cut before the first stop string."""

    stopped: bool
    """Whether a stop string was met."""


class Fidelity(NamedTuple):
    """How well a prompt survives its conjugation."""

    round_trip: bool
    """Whether it comes back unchanged."""

    chrf: float
    """chrF of what comes back against the prompt, from 0 to 1."""

    survival: float
    """Share of the protected spans of the prompt that the sent one still has."""


class Exchange:
    """A conjugation with the stop strings of the one who asks: prompts go out, answers come back.

    Args:
        conjugation: Under which a model is asked.
        stops: Where an answer ends, as they stand in *plain* text. None of them empty.
        most_characters: Of all that is sent together; by default as many as it takes.

    Example:
        >>> from palimpsest.lm.conjugations import parse_conjugation
        >>> exchange = Exchange(parse_conjugation("leet"), ["User:"])
        >>> exchange.send("Is it?"), exchange.sent_stops
        ('I5 17?', ('U53r:',))
        >>> exchange.read(" 17 15. U53r: wh0").text
        ' it is. '
    """

    def __init__(
        self,
        conjugation: TextConjugation,
        stops: Iterable[str] = (),
        *,
        most_characters: int | None = None,
    ) -> None:
        self.conjugation = conjugation
        self._n_left = most_characters
        self.stops = tuple(dict.fromkeys(stops))
        self._marks = tuple(filter(_MARK.fullmatch, self.stops))

    @cached_property
    def sent_stops(self) -> tuple[str, ...]:
        r"""The stop strings that the model is told.

        Line breaks go as they are: conjugations keep the lines of a text in their order. So do the
        marks with which models end their turns, such as ``<|im_end|>``. Any other stop goes in
        conjugated form if cutting there and inverting is the same as inverting and cutting there,
        whatever stands beside it. Where that does not hold (a ``5`` under ``leet`` may be an ``s``,
        or the second half of an escape), it is only read in the inverted answer. So are all stops
        under a conjugation that is not :attr:`~TextConjugation.local`.

        Example:
            >>> from palimpsest.lm.conjugations import parse_conjugation
            >>> Exchange(parse_conjugation("leet"), ["\n\n", "seven"]).sent_stops
            ('\n\n',)
        """
        sent = (stop if stop in self._marks else self._sent(stop) for stop in self.stops)
        return tuple(dict.fromkeys(stop for stop in sent if stop))

    @cached_property
    def read_stops(self) -> tuple[str, ...]:
        """The stop strings that are looked for in inverted answers.

        A conjugation that loses something, such as case, cannot give a stop back as it was: what it
        gives back instead counts as well. One that rephrases may give back anything, so there it
        does not.
        """
        return _read_stops(self.conjugation, self.stops)

    def _sent(self, stop: str) -> str | None:
        return self._guard(_sent_stop, self.conjugation, stop)

    def prepare(self, *, prompts: Iterable[str] = (), answers: Iterable[str] = ()) -> None:
        """Let a conjugation that works best on many texts see them all, before each is used."""
        if self.conjugation.batched:
            self._guard(
                self.conjugation.prepare,
                prompts=list(dict.fromkeys(prompts)),
                answers=list(dict.fromkeys(answers)),
            )

    def apply(self, text: str) -> str:
        """Return ``s(text)``; nothing stays nothing.

        Raises:
            ConjugationError: The conjugation fails on the text.
            TooLongError: It could make more of it than is allowed.
            UserError: It needs something that is not there, such as a translator.
        """
        if not text:
            return ""
        if self._n_left is None:
            return self._guard(self.conjugation.apply, text)
        sent = self._guard(self.conjugation.apply_within, text, self._n_left)
        self._n_left -= len(sent)
        return sent

    def send(self, prompt: Prompt) -> Prompt:
        """Return the prompt as the model gets it: ``s`` of every text in it."""
        return map_text(prompt, self.apply)

    def read(self, raw: str) -> Reading:
        """Return what a raw answer means, taken as complete."""
        reader = self.reader()
        reader.append(raw)
        return Reading(reader.finish(), reader.stopped)

    def reader(self) -> Reader:
        """Return what reads one answer piece by piece."""
        return Reader(self)

    def image(self, text: str) -> str:
        """Return what a conjugation gives back of a text, ``s⁻¹(s(text))``."""
        return text if self.conjugation.exact else self.invert(self.apply(text))

    def invert(self, raw: str) -> str:
        """Return ``s⁻¹(raw)``, uncut."""
        return self._guard(self.conjugation.invert, raw)

    def settled(self, raw: str) -> Reading:
        """Return the beginning of the answer that nothing which may follow ``raw`` changes."""
        marked = first_stop(raw, self._marks) if self._marks else None
        text = self.conjugation.certain(raw[:marked])
        found = first_stop(text, self.read_stops)
        if found is not None:
            return Reading(text[:found], stopped=True)
        return Reading(text[: len(text) - n_open(text, self.read_stops)], stopped=False)

    def flags(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Return what went wrong in conjugating these texts, each phrase once."""
        found = (flag for text in texts for flag in self._guard(self.conjugation.flags, text))
        return tuple(dict.fromkeys(found))

    def answer_flags(self, raws: Iterable[str]) -> tuple[str, ...]:
        """Return what went wrong in inverting these answers, each phrase once."""
        found = (flag for raw in raws for flag in self._guard(self.conjugation.answer_flags, raw))
        return tuple(dict.fromkeys(found))

    def fidelity(self, prompt: Prompt, sent: Prompt) -> Fidelity:
        """Return how well a prompt survives; ``sent`` is what :meth:`send` made of it."""
        texts, conjugated = texts_of(prompt), texts_of(sent)
        back = tuple(map(self.invert, conjugated))
        if self.conjugation.exact and back == texts:
            return Fidelity(round_trip=True, chrf=1.0, survival=1.0)
        before, after = "\n".join(texts), "\n".join(conjugated)
        chrf = round_trip_chrf(before, "\n".join(back))
        return Fidelity(back == texts, chrf, survival(before, after))

    def is_slow(self, n_characters: int, *, sending: bool = False) -> bool:
        """Return whether rewriting so much text should not be done on an event loop.

        In sending, what counts is how long it can become, and that stop strings are tried in many
        places.
        """
        if sending:
            n_tried = sum(map(len, self.stops)) * (len(_BESIDE) + len(self.conjugation.beside)) ** 2
            n_characters = int((n_characters + n_tried) * self.conjugation.growth)
        return self.conjugation.batched or n_characters > _MOST_ON_LOOP

    def _guard(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function of the conjugation; a plugin can raise anything, and is named then."""
        try:
            return function(*args, **kwargs)
        except UserError:
            raise
        except Exception as error:
            raise ConjugationError(
                f"The conjugation '{self.conjugation.name}' fails on this prompt or its answer: "
                f"{error!r}.",
                hint="Leave it out, or tell the authors of the plugin that provides it.",
            ) from error


def round_trip_chrf(prompt: str, back: str) -> float:
    """Return the chrF of ``invert(apply(prompt))`` against the prompt, from 0 to 1.

    chrF compares character n-grams up to six (Popović, WMT 2015), as computed by sacrebleu.

    Example:
        >>> round_trip_chrf("The cat sleeps.", "The cat sleeps.")
        1.0
        >>> 0.5 < round_trip_chrf("The cat sleeps.", "The cat is sleeping.") < 1
        True
    """
    if prompt == back:
        return 1.0
    return float(_metric().sentence_score(back, [prompt]).score) / 100


@cache
def _metric() -> CHRF:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()


class Reader:
    r"""One growing answer, inverted as far as it is certain and cut at the stop strings.

    Whatever the pieces, the texts that :meth:`feed` and :meth:`finish` return are together what
    :meth:`Exchange.read` makes of the whole.

    Example:
        >>> from palimpsest.lm.conjugations import parse_conjugation
        >>> reader = Exchange(parse_conjugation("leet"), ["\n"]).reader()
        >>> [reader.feed(piece) for piece in ["17 15 \\", "7", "\n3nd"]], reader.stopped
        (['it is ', '7', ''], True)
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._marks = exchange._marks
        self._raw = ""
        self._next = 0
        self._given = ""
        self._marked = False
        self.stopped = False
        """Whether a stop string was met, so that nothing more will come."""

    @property
    def is_slow(self) -> bool:
        """Whether the next step should not be taken on the event loop."""
        return self._exchange.is_slow(len(self._raw))

    def append(self, piece: str) -> None:
        """Take what the model said next, without asking what is certain."""
        if self._marks and not self._marked:
            start = max(len(self._raw) - max(map(len, self._marks)), 0)
            whole = self._raw + piece
            end = first_stop(whole, self._marks, start)
            self._raw, self._marked = whole[:end], end is not None
        elif not self._marked:
            self._raw += piece

    def feed(self, piece: str) -> str:
        """Take what the model said next; return what has become certain by it."""
        self.append(piece)
        if self.stopped or (len(self._raw) < self._next and not self._marked):
            return ""
        if self._marked:
            return self.finish()
        n = len(self._raw)
        self._next = n + (n // _SHARE if n > _SHORT else 1)
        raw = self._raw[: n - n_open(self._raw, self._marks)]
        certain = self._exchange._guard(self._exchange.conjugation.certain, raw)
        held = n_open(certain[len(self._given) :], self._exchange.read_stops)
        return self._advance(certain, len(certain) - held)

    def finish(self) -> str:
        """Return the rest of the answer: the model will say no more.

        Raises:
            BrokenPromiseError: The conjugation called something certain that was not.
        """
        if self.stopped:
            return ""
        whole = self._exchange.invert(self._raw)
        if not whole.startswith(self._given):
            raise BrokenPromiseError(self._exchange.conjugation.name)
        rest = self._advance(whole, len(whole))
        self.stopped = self.stopped or self._marked
        return rest

    def _advance(self, text: str, settled: int) -> str:
        """Return what is new up to a stop string, or to where one may yet begin."""
        found = first_stop(text, self._exchange.read_stops, len(self._given))
        self.stopped = found is not None and found <= settled
        end = found if found is not None and self.stopped else settled
        new = text[len(self._given) : end]
        self._given += new
        return new


@lru_cache(maxsize=4096)
def _sent_stop(conjugation: TextConjugation, stop: str) -> str | None:
    if _LINE_BREAKS.fullmatch(stop):
        return stop
    if not conjugation.local:
        return None
    written = conjugation.apply(stop)
    if len(written) > _LONGEST_STOP:
        return None
    read = _read_stops(conjugation, (stop,))
    for before, after in product((*_BESIDE, *conjugation.beside), repeat=2):
        whole = conjugation.invert(before + written + after)
        if first_stop(before + written, [written]) != len(before):
            continue  # the model would have been stopped before
        if whole[: first_stop(whole, read)] != conjugation.invert(before):
            return None
    return written


def _read_stops(conjugation: TextConjugation, stops: tuple[str, ...]) -> tuple[str, ...]:
    if conjugation.exact or conjugation.rephrases:
        return stops
    images = (conjugation.invert(conjugation.apply(stop)) for stop in stops)
    return tuple(dict.fromkeys((*stops, *filter(None, images))))


def shared_stops(exchanges: Collection[Exchange]) -> tuple[str, ...]:
    """Return the stop strings that a model can be told in a batch of several exchanges."""
    first, *others = dict.fromkeys(each.sent_stops for each in exchanges) or ((),)
    return tuple(stop for stop in first if all(stop in sent for sent in others))


def prepare_answers(raws: Iterable[tuple[Exchange, str]]) -> None:
    """Let every conjugation that works best on many texts see all its answers at once."""
    answers: dict[str, tuple[Exchange, list[str]]] = {}
    for exchange, raw in raws:
        if exchange.conjugation.batched:
            key = exchange.conjugation.fingerprint
            answers.setdefault(key, (exchange, []))[1].append(raw)
    for exchange, texts in answers.values():
        exchange.prepare(answers=texts)


def read_together(
    replies: Iterable[T], raws: Callable[[T], Sequence[tuple[Exchange, str]]]
) -> Iterator[T]:
    """Yield replies in order, held back for a moment where reading many at once is faster.

    Args:
        replies: As models give them.
        raws: The raw answers in a reply, with the exchanges by which they will be read.
    """
    waiting: list[T] = []
    since = time.monotonic()
    for reply in replies:
        if not any(exchange.conjugation.batched for exchange, _ in raws(reply)):
            yield reply
            continue
        if not waiting:
            since = time.monotonic()
        waiting.append(reply)
        if len(waiting) == _N_WAITING or time.monotonic() - since > _WAIT_SECONDS:
            prepare_answers(pair for each in waiting for pair in raws(each))
            yield from waiting
            waiting = []
    prepare_answers(pair for each in waiting for pair in raws(each))
    yield from waiting


async def off_loop(slow: bool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do the work in a thread if it is slow, so that an event loop goes on."""
    if not slow:
        return work(*args, **kwargs)
    from anyio.to_thread import run_sync

    return await run_sync(lambda: work(*args, **kwargs))


class Continued(NamedTuple):
    """A context with one continuation, as the model is to see them."""

    context: str
    """``s(context)``."""

    continuation: str
    """What the model may say after it."""

    joined: bool
    """Whether the two together are ``s(context + continuation)``."""


def continue_all(exchange: Exchange, pairs: Sequence[tuple[str, str]]) -> Iterator[Continued]:
    r"""Yield contexts with what is to follow them, conjugated: what a likelihood is asked of.

    A context becomes ``s(context)`` whatever follows: what is sent as well where the answer is
    generated, and the same for all choices of a question. The continuation is what
    ``s(context + continuation)`` adds to it, the text as ``s`` writes it whole. Where ``s`` writes
    the context otherwise when more follows (another order of words, a word cut in two), or drops
    the white space between, it is ``s(continuation)`` behind its own white space: the answer that
    inverts to it. An empty context stays empty.

    Raises:
        UserError: The conjugation leaves nothing of a continuation.

    Example:
        >>> from palimpsest.lm.conjugations import parse_conjugation
        >>> list(continue_all(Exchange(parse_conjugation("leet")), [("Is it?", " Yes")]))
        [Continued(context='I5 17?', continuation=' Y35', joined=True)]
        >>> reverse = Exchange(parse_conjugation("reverse-words"))
        >>> list(continue_all(reverse, [("Is it?", " I am sure")]))
        [Continued(context='it? Is', continuation=' sure am I', joined=False)]
    """
    for first in range(0, len(pairs), _N_TOGETHER):
        yield from _continue(exchange, pairs[first : first + _N_TOGETHER])


def _continue(exchange: Exchange, pairs: Sequence[tuple[str, str]]) -> Iterator[Continued]:
    contexts = _applied(exchange, [context for context, _ in pairs])
    wholes = _applied(exchange, ["".join(pair) for pair in pairs])
    ends = [_end(contexts[pair[0]], wholes["".join(pair)], pair[1]) for pair in pairs]
    bodies = _applied(
        exchange,
        [pair[1].lstrip() for pair, end in zip(pairs, ends, strict=True) if end is None],
    )
    for (context, continuation), end in zip(pairs, ends, strict=True):
        body = continuation.lstrip()
        sent = _lead(continuation) + bodies[body] if end is None else end
        if body and not sent.strip():
            raise UserError(
                f"The conjugation '{exchange.conjugation.name}' leaves nothing of the continuation "
                f"{continuation!r}: how likely it is cannot be asked.",
                hint="Choose another conjugation, or leave the task out.",
            )
        yield Continued(contexts[context], sent, joined=end is not None)


def _applied(exchange: Exchange, texts: Sequence[str]) -> dict[str, str]:
    exchange.prepare(prompts=texts)
    return {text: exchange.apply(text) for text in dict.fromkeys(texts)}


def _end(context: str, whole: str, continuation: str) -> str | None:
    """Return what a conjugated text adds to the conjugated context, if that is its beginning."""
    if not whole.startswith(context):
        return None
    end = whole[len(context) :]
    if not end.startswith(_lead(continuation)) or (continuation.strip() and not end.strip()):
        return None
    return end


def _lead(text: str) -> str:
    """Return the white space that a text begins with."""
    return text[: len(text) - len(text.lstrip())]


def sent_choices(exchange: Exchange, sent: Prompt, choices: Sequence[str]) -> tuple[str, ...]:
    """Return a question's choices as continuations of the sent prompt, each conjugated by itself.

    A space stands between text and choice unless the text ends in one; an answer to messages
    begins a line of its own.

    Example:
        >>> from palimpsest.lm.conjugations import parse_conjugation
        >>> sent_choices(Exchange(parse_conjugation("leet")), "15 17? 4n5w3r:", ["Yes", "No"])
        (' Y35', ' N0')
    """
    glue = " " if isinstance(sent, str) and sent and not sent[-1].isspace() else ""
    return tuple(glue + exchange.apply(choice) for choice in choices)


def choices_as_raw(sent: Sequence[str], scores: Sequence[float]) -> str:
    """Return sent choices with their natural-log probabilities as they are recorded.

    Choices that the model cannot take, being too long for its context, are null.

    Example:
        >>> choices_as_raw([" Yes", " No"], [-0.25, -math.inf])
        '{" Yes": -0.25, " No": null}'
    """
    finite = [score if math.isfinite(score) else None for score in scores]
    return json.dumps(dict(zip(sent, finite, strict=True)), ensure_ascii=False)


def chosen(raw: str, sent: Sequence[str]) -> int | None:
    """Return the index of the likeliest choice; ``None`` if several are, or none is possible.

    Args:
        raw: What :func:`choices_as_raw` returned.
        sent: The choices in the order of the example. Two that the conjugation made the same are
            equally likely.

    Example:
        >>> chosen('{" Yes": -0.25, " No": -1.5}', [" Yes", " No"])
        0
    """
    found = json.loads(raw)
    scores = [-math.inf if found[text] is None else float(found[text]) for text in sent]
    best = max(scores)
    if best == -math.inf or scores.count(best) > 1:
        return None
    return scores.index(best)


_TOKENS = "it is about the tokens of the conjugated text, which the inverted answer does not have"
_FORMAT = "the model answers in conjugated text, which has not that form"

CANNOT_HONOUR: Mapping[str, str] = MappingProxyType(
    {
        "logprobs": _TOKENS,
        "top_logprobs": _TOKENS,
        "prompt_logprobs": _TOKENS,
        "logit_bias": _TOKENS,
        "return_token_ids": _TOKENS,
        "bad_words": _TOKENS,
        "allowed_token_ids": _TOKENS,
        "echo": "the prompt would come back conjugated, and as a part of the answer",
        "suffix": "the text after the answer is no message or prompt that can be conjugated alone",
        "prediction": "it foretells the answer in plain text, but the model answers conjugated",
        "response_format": _FORMAT,
        "guided_json": _FORMAT,
        "guided_regex": _FORMAT,
        "guided_choice": _FORMAT,
        "guided_grammar": _FORMAT,
        "structured_outputs": _FORMAT,
        "json_schema": _FORMAT,
        "grammar": _FORMAT,
        "audio": "speech cannot be inverted",
        "web_search_options": "its citations point to places in the conjugated answer",
        "include_stop_str_in_output": "answers are cut before a stop string, after inversion",
    }
)
"""Settings of a request, by OpenAI's and vLLM's names, that cannot be honoured under a conjugation,
each with the reason that the one who asks is told."""

TOOLS_AND_VOTES = "calls of tools cannot be put to the vote"


def asks_for(field: str, value: Any, *, chat: bool = True) -> bool:
    """Return whether the value of a setting asks for anything.

    Example:
        >>> asks_for("logprobs", False), asks_for("logprobs", 0, chat=False)
        (False, True)
    """
    if field == "logprobs" and not chat:
        return value is not None and value is not False  # 0 asks for the chosen token's
    if field == "response_format":
        return value is not None and value != {"type": "text"}
    return bool(value)
