r"""The equation with a real model, :math:`s^{-1} \circ T \circ s`: prompts out, answers back.

Whoever asks a model under a conjugation (a diagnosis, the proxy, another tool's model) asks through
an :class:`Exchange`, so that one prompt with one raw answer means the same to all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache, cached_property, lru_cache
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple, ParamSpec, TypeVar

from palimpsest.errors import UserError
from palimpsest.lm.conjugations import TextConjugation, survival
from palimpsest.lm.prompts import Prompt, map_text, texts_of
from palimpsest.lm.stops import THOUGHTS, answer_start, cut, first_stop, may_open_thought, n_open

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
    "", " ", "\n", "a", "Z", "é", "7", "\\", "-", "'", ".", ":", "`", "{", "a ", " b", "猫",
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

_LIKE = 0.5
"""A word that is likelier than this an image of the conjugation counts as one."""

_N_TELLING = 8
"""Words after which an answer counts as conjugated if none could tell: a stream must go on."""

_LONGEST_KEPT = 40
"""Characters of a word whose likeness is kept, so that hostile ones take no memory."""

_WORD = re.compile(r"\S+")

_OPENINGS = tuple({opening[0] for opening, _ in THOUGHTS})

THOUGHT_ALONE = "a thought without an answer"
IN_PLAIN_TEXT = "in plain text"
PARTLY_PLAIN = "partly in plain text"
"""Flags of answers."""


class ConjugationError(UserError):
    """A conjugation, mostly of a plugin, that fails on a text."""


class BrokenPromiseError(ConjugationError):
    """A conjugation that called a part of an answer certain which then changed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The conjugation '{name}' called a text certain that then changed.",
            hint="Leave it out, or tell the authors of the plugin that provides it.",
        )


Form = Literal["conjugated", "plain", "mixed"]
"""What an answer to a conjugated prompt is written in."""


class Reading(NamedTuple):
    """A raw answer as the one who asked is to read it."""

    text: str
    """The answer, inverted if it was conjugated, and cut before the first stop string."""

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


_UNCHANGED = Fidelity(round_trip=True, chrf=1.0, survival=1.0)


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

    def read(self, raw: str, *, cut_off: bool = False) -> Reading:
        """Return what a raw answer means.

        Args:
            raw: As the model gave it.
            cut_off: Whether it might have gone on: its last word may be half of one.
        """
        start = answer_start(raw)
        if start is None:
            return Reading("", stopped=False)
        if self.conjugation.changes_nothing:
            end = first_stop(raw, self.stops, start)
            return Reading(raw[start:end], end is not None)
        answer = raw[start:]
        mark = first_stop(answer, self._marks)
        answer = answer[:mark]
        # In an answer that might have gone on, the last word may be half of one and tells nothing.
        is_image = self._is_image(answer[: _end_of_words(answer)] if cut_off else answer)
        text = self._plain(answer, whole=True) if is_image is False else self.invert(answer)
        end = first_stop(text, self.read_stops)
        return Reading(text[:end], (mark if end is None else end) is not None)

    def reader(self) -> Reader:
        """Return what reads one answer piece by piece."""
        return Reader(self)

    def image(self, text: str) -> str:
        """Return what a conjugation gives back of a text, ``s⁻¹(s(text))``."""
        return text if self.conjugation.exact else self.invert(self.apply(text))

    def invert(self, raw: str) -> str:
        """Return ``s⁻¹(raw)``, uncut."""
        return self._guard(self.conjugation.invert, raw)

    def settled(self, raw: str) -> Iterator[Reading]:
        """Yield what nothing that may follow ``raw`` changes of the answer's beginning.

        Several readings are possible as long as it cannot be told in which form the answer is;
        none is certain within a thought.
        """
        if raw.lstrip()[:1] in _OPENINGS:
            start = answer_start(raw)
            if start is None or (start == 0 and raw.strip() and may_open_thought(raw)):
                yield Reading("", stopped=False)
                return
            raw = raw[start:]
        if self._marks:
            raw = raw[: first_stop(raw, self._marks)]
        if not self._tells:
            yield self.settled_as_conjugated(raw)
            return
        is_image = self._is_image(raw[: _end_of_words(raw)])
        if is_image is not False:
            yield self.settled_as_conjugated(raw)
        if is_image is not True:
            yield self._up_to_stop(self._plain(raw, whole=False))

    def settled_as_conjugated(self, raw: str) -> Reading:
        """Return what would be settled if the answer were conjugated, whatever its words tell."""
        return self._up_to_stop(self._guard(self.conjugation.certain, raw))

    def _up_to_stop(self, text: str) -> Reading:
        found = first_stop(text, self.read_stops)
        if found is not None:
            return Reading(text[:found], stopped=True)
        n_held = n_open(text, self.read_stops) if self._has_long_stops else 0
        return Reading(text[: len(text) - n_held], stopped=False)

    def form(self, raw: str, *, cut_off: bool = False) -> Form:
        """Return in which form an answer is.

        The first word that can tell decides how it is read; another word that says otherwise makes
        it mixed. Where none of the first few can tell, the model is taken to have answered in the
        form in which it was asked.
        """
        start = answer_start(raw)
        if start is None or not self._tells:
            return "conjugated"
        raw = raw[start : _end_of_words(raw) if cut_off else None]
        told: set[bool] = set()
        for word in raw[: first_stop(raw, self.sent_stops)].split():
            likeness = _likeness(self.conjugation, word)
            if likeness is not None:
                told.add(likeness >= _LIKE)
                if len(told) > 1:
                    return "mixed"
        return "plain" if told == {False} else "conjugated"

    @cached_property
    def _has_long_stops(self) -> bool:
        return any(len(stop) > 1 for stop in self.read_stops)

    @cached_property
    def _tells(self) -> bool:
        """Whether the conjugation recognises any word: the base class recognises none."""
        return not self.conjugation.changes_nothing and (
            self.conjugation.likeness("seen") is not None
            or self.conjugation.likeness("the") is not None
        )

    def _is_image(self, text: str) -> bool | None:
        """Return whether an answer is to be inverted, by its first word that can tell."""
        if not self._tells:
            return True
        end = first_stop(text, self.sent_stops)  # where the model would have been stopped
        for place, word in enumerate(_WORD.finditer(text[:end]), start=1):
            likeness = self._guard(_likeness, self.conjugation, word[0])
            if likeness is not None:
                return likeness >= _LIKE
            if place == _N_TELLING:
                return True
        return None if end is None else True

    def _plain(self, text: str, *, whole: bool) -> str:
        """Return what is read of a plain answer: what a lossy conjugation would leave of it."""
        if self.conjugation.exact:
            return text
        if whole:
            return self.image(text)
        return self._guard(self.conjugation.certain, self.apply(text[: _end_of_words(text)]))

    def flags(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Return what went wrong in conjugating these texts, each phrase once."""
        found: dict[str, None] = {}
        for text in texts:
            found.update(dict.fromkeys(self._guard(self.conjugation.flags, text)))
        return tuple(found)

    def answer_flags(self, raws: Iterable[str], *, cut_off: bool = False) -> tuple[str, ...]:
        """Return what went wrong in reading these answers, each phrase once."""
        found = (flag for raw in raws for flag in self._flags_of(raw, cut_off))
        return tuple(dict.fromkeys(found))

    def _flags_of(self, raw: str, cut_off: bool) -> Iterator[str]:
        start = answer_start(raw)
        if start is None or (start and not raw[start:].strip()):
            yield THOUGHT_ALONE
        form = self.form(raw, cut_off=cut_off)
        if form != "conjugated":
            yield {"plain": IN_PLAIN_TEXT, "mixed": PARTLY_PLAIN}[form]
        if form != "plain":
            yield from self._guard(self.conjugation.answer_flags, raw)

    def fidelity(self, prompt: Prompt, sent: Prompt) -> Fidelity:
        """Return how well a prompt survives; ``sent`` is what :meth:`send` made of it."""
        if self.conjugation.changes_nothing:
            return _UNCHANGED
        texts, conjugated = texts_of(prompt), texts_of(sent)
        back = tuple(map(self.invert, conjugated))
        if self.conjugation.exact and back == texts:
            return _UNCHANGED
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
        >>> [reader.feed(piece) for piece in ["Wh3r3 15 \\", "7", "\n3nd"]], reader.stopped
        (['Where is ', '7', ''], True)
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._marks = exchange._marks
        self._raw = ""
        self._next = 0
        self._given = ""
        self._begun = False
        self._marked = False
        self._is_image: bool | None = None
        self.thought = ""
        """What the model thought before it answered, once it has answered."""
        self.stopped = False
        """Whether a stop string was met, so that nothing more will come."""

    @property
    def is_slow(self) -> bool:
        """Whether the next step should not be taken on the event loop."""
        return self._exchange.is_slow(len(self._raw))

    def append(self, piece: str) -> None:
        """Take what the model said next, without asking what is certain."""
        if self._marked:
            return
        if not self._begun or not self._marks:
            self._raw += piece
        else:
            self._cut(self._raw + piece, len(self._raw) - max(map(len, self._marks)))

    def feed(self, piece: str) -> str:
        """Take what the model said next; return what has become certain by it."""
        self.append(piece)
        if self.stopped or not (self._begun or self._begin(more=True)):
            return ""
        if self._marked:
            return self.finish()
        if len(self._raw) < self._next:
            return ""
        n = len(self._raw)
        self._next = n + (n // _SHARE if n > _SHORT else 1)
        raw = self._raw[: n - n_open(self._raw, self._marks)]
        certain = self._read(raw, whole=False)
        held = n_open(certain[len(self._given) :], self._exchange.read_stops)
        return self._advance(certain, len(certain) - held)

    def finish(self) -> str:
        """Return the rest of the answer: the model will say no more.

        Raises:
            BrokenPromiseError: The conjugation called something certain that was not.
        """
        if self.stopped or not (self._begun or self._begin(more=False)):
            return ""
        whole = self._read(self._raw, whole=True)
        if not whole.startswith(self._given):
            raise BrokenPromiseError(self._exchange.conjugation.name)
        rest = self._advance(whole, len(whole))
        self.stopped = self.stopped or self._marked
        return rest

    def _begin(self, *, more: bool) -> bool:
        """Return whether the answer has begun, and leave the thought before it behind."""
        start = answer_start(self._raw)
        if start is None or (more and (start == len(self._raw) or may_open_thought(self._raw))):
            return False
        self._begun = True
        self.thought, answer = self._raw[:start], self._raw[start:]
        self._raw = answer
        if self._marks:
            self._cut(answer, 0)
        return True

    def _cut(self, raw: str, start: int) -> None:
        end = first_stop(raw, self._marks, max(start, 0))
        self._raw, self._marked = raw[:end], end is not None

    def _read(self, raw: str, *, whole: bool) -> str:
        exchange = self._exchange
        if self._is_image is None:
            self._is_image = exchange._is_image(raw if whole else raw[: _end_of_words(raw)])
            if self._is_image is None and whole:
                self._is_image = True
        if self._is_image is None:  # nothing is certain but that nothing stands before a word
            return ""
        if not self._is_image:
            return exchange._plain(raw, whole=whole)
        if whole:
            return exchange.invert(raw)
        return exchange._guard(exchange.conjugation.certain, raw)

    def _advance(self, text: str, settled: int) -> str:
        """Return what is new up to a stop string, or to where one may yet begin."""
        found = first_stop(text, self._exchange.read_stops, len(self._given))
        self.stopped = found is not None and found <= settled
        end = found if found is not None and self.stopped else settled
        new = text[len(self._given) : end]
        self._given += new
        return new


def _likeness(conjugation: TextConjugation, word: str) -> float | None:
    if len(word) > _LONGEST_KEPT:
        return conjugation.likeness(word)
    return _kept_likeness(conjugation, word)


@lru_cache(maxsize=65536)
def _kept_likeness(conjugation: TextConjugation, word: str) -> float | None:
    return conjugation.likeness(word)  # asked again with every token


def _end_of_words(text: str) -> int:
    """Return where the last word begins, which may still grow."""
    if not text or text[-1].isspace():
        return len(text)
    return len(text) - len(text.rsplit(maxsplit=1)[-1])


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
    beside = (*_BESIDE, *conjugation.beside)
    for before, after in product(beside, repeat=2):
        whole = conjugation.invert(before + written + after)
        if first_stop(before + written, [written]) != len(before):
            continue  # the model would have been stopped before
        if whole[: first_stop(whole, read)] != conjugation.invert(before):
            return None
    for before, after in product(beside, repeat=2):
        raw = conjugation.apply(before + stop + after)
        cut_there, cut_here = conjugation.invert(raw), conjugation.invert(cut(raw, [written]))
        if cut(cut_there, read) != cut(cut_here, read):
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


async def off_loop(slow: bool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do the work in a thread if it is slow, so that an event loop goes on."""
    if not slow:
        return work(*args, **kwargs)
    from anyio.to_thread import run_sync

    return await run_sync(lambda: work(*args, **kwargs))
