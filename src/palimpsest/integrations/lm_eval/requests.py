"""Requests of the harness on their way to the inner model, and its answers on their way back.

New requests are built, for what the harness logs afterwards are the originals.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from palimpsest.errors import UserError
from palimpsest.integrations.lm_eval.chat import begun_answer, map_messages, messages_of, text_of
from palimpsest.lm import Continued, Exchange, continue_all
from palimpsest.lm.conjugations import TextConjugation

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

_LOGGER = logging.getLogger("lm_eval.models.conjugate")  # the harness shows its own loggers only

_N_SHOWN = 200
"""Characters of a context in the log."""


class Rewriter:
    """Makes conjugated requests of plain ones, and plain answers of conjugated ones.

    Args:
        conjugation: Of all texts.
        apply_template: ``apply_chat_template`` of the inner model.
    """

    def __init__(self, conjugation: TextConjugation, apply_template: Callable[..., Any]) -> None:
        self._exchange = Exchange(conjugation)
        self._apply_template = apply_template

    def scored(self, requests: Sequence[Instance]) -> list[Instance]:
        """Return requests for likelihoods with conjugated contexts and continuations.

        Raises:
            UserError: A request that cannot be conjugated.
        """
        contexts = self._contexts(requests)
        pairs = [(_text_before(request.args[0]), request.args[1]) for request in requests]
        continued = list(continue_all(self._exchange, pairs))
        self._report(pairs, continued)
        sent = [
            _with_arguments(request, context, each.continuation)
            for request, context, each in zip(requests, contexts, continued, strict=True)
        ]
        self._show(sent)
        return sent

    def generated(self, requests: Sequence[Instance]) -> list[Instance]:
        """Return requests for text with conjugated contexts and stop strings.

        Raises:
            UserError: A request that cannot be conjugated.
        """
        sent = [
            _with_arguments(request, context, self._options(request.args[1]))
            for request, context in zip(requests, self._contexts(requests), strict=True)
        ]
        self._show(sent)
        return sent

    def read_all(self, requests: Sequence[Instance], raws: Sequence[str]) -> list[str]:
        """Return what the model's texts mean, each cut at the stop strings of its request."""
        self._exchange.prepare(answers=raws)
        _warn_of_flags("answers", self._exchange.answer_flags, raws)
        return [self.read(request, raw) for request, raw in zip(requests, raws, strict=True)]

    def read(self, request: Instance, raw: str) -> str:
        """Return what one text of the model means."""
        return self._stopping(request.args[1]).read(raw).text

    def _contexts(self, requests: Sequence[Instance]) -> list[Any]:
        """Return every context as the inner model gets it; choices share one."""
        _check_text_only(requests)
        distinct = {id(request.args[0]): request.args[0] for request in requests}
        texts = [text for context in distinct.values() for text in _texts(context)]
        self._exchange.prepare(prompts=texts)
        _warn_of_flags("prompts", self._exchange.flags, texts)
        sent = {key: self._context(context) for key, context in distinct.items()}
        return [sent[id(request.args[0])] for request in requests]

    def _context(self, context: Any) -> Any:
        messages = messages_of(context)
        if messages is None:
            return self._exchange.apply(context)
        begun = messages[-1]["role"] == "assistant"
        return self._apply_template(
            map_messages(messages, self._exchange.apply),
            add_generation_prompt=getattr(context, "add_generation_prompt", not begun),
        )

    def _stopping(self, options: Mapping[str, Any]) -> Exchange:
        """Return the exchange with the stop strings of a generation."""
        return Exchange(self._exchange.conjugation, stops_of(options))

    def _options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a generation, ended by what stands for the stop strings."""
        if "until" not in options:
            return dict(options)
        return {**options, "until": list(self._stopping(options).sent_stops)}

    def _show(self, sent: Sequence[Instance]) -> None:
        """Log the end of the first request, for a reader to see what is asked."""
        for request in sent[:1]:
            context, rest = request.args
            end = repr(str(context)[-_N_SHOWN:])
            _LOGGER.info(
                "Under '%s', the model is asked: …%s, %r",
                self._exchange.conjugation.name,
                end,
                rest,
            )

    def _report(self, pairs: Sequence[tuple[str, str]], continued: Sequence[Continued]) -> None:
        """Log what a reader of the results should know of the likelihoods."""
        name = self._exchange.conjugation.name
        n_alone = sum(not each.joined for each in continued)
        if n_alone:
            _LOGGER.info(
                "Under '%s', %d of %d continuations are conjugated by themselves: with them, "
                "their contexts would read otherwise.",
                name,
                n_alone,
                len(pairs),
            )
        asked: dict[tuple[str, str], set[str]] = {}
        for (context, continuation), each in zip(pairs, continued, strict=True):
            asked.setdefault((context, each.continuation), set()).add(continuation)
        n_same = sum(len(choices) for choices in asked.values() if len(choices) > 1)
        if n_same:
            _LOGGER.warning(
                "Under '%s', %d continuations read like another one of their context: the model "
                "cannot tell them apart, and the harness takes the first.",
                name,
                n_same,
            )


def stops_of(options: Mapping[str, Any]) -> list[str]:
    r"""Return the stop strings of a generation, whether one, several or none are given.

    Example:
        >>> stops_of({"until": "\n"}), stops_of({"until": ["a", ""]}), stops_of({})
        (['\n'], ['a'], [])
    """
    until = options.get("until") or []
    return [stop for stop in ([until] if isinstance(until, str) else until) if stop]


def _with_arguments(request: Instance, *arguments: Any) -> Instance:
    return replace(request, arguments=arguments, resps=[], filtered_resps={})


def _texts(context: Any) -> Iterator[str]:
    messages = messages_of(context)
    if messages is None:
        yield context
    else:
        yield from map(text_of, messages)


def _text_before(context: Any) -> str:
    """Return the text that an answer goes on from: in a chat, at most what begins the answer."""
    messages = messages_of(context)
    return context if messages is None else begun_answer(messages)


def _check_text_only(requests: Sequence[Instance]) -> None:
    for request in requests:
        if len(request.args) != 2:
            raise UserError(
                f"The task '{request.task_name}' asks with pictures or sound, which cannot be "
                "conjugated.",
                hint="Leave it out, or ask it with via=identity.",
            )


def _warn_of_flags(
    kind: str, flags: Callable[[Iterable[str]], Iterable[str]], texts: Sequence[str]
) -> None:
    counts = Counter(flag for text in texts for flag in flags([text]))
    for flag, count in counts.items():
        _LOGGER.warning("%d of %d %s: %s.", count, len(texts), kind, flag)
