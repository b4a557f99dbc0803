"""Any model of lm-evaluation-harness, asked under a conjugation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from lm_eval.api.model import LM, CacheHook
from lm_eval.api.registry import get_model, model_registry, register_model

from palimpsest.errors import UserError, did_you_mean
from palimpsest.integrations.lm_eval.caching import OriginalRows, keep_apart
from palimpsest.integrations.lm_eval.chat import ChatContext, template_mark
from palimpsest.integrations.lm_eval.requests import Rewriter
from palimpsest.lm.conjugations import TextConjugation, parse_conjugation

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

NAME = "conjugate"
"""What the harness calls the model."""

_COMMA = re.compile(r",(?![^()]*\))")
"""Between arguments; those within parentheses belong to the conjugation."""

_EXAMPLE = "Write: --model conjugate --model_args inner=hf,pretrained=./tuned,via=leet"


class ConjugateLM(LM):  # type: ignore[misc]  # the harness is untyped
    r"""A model of the harness under a conjugation: :math:`s^{-1} \circ T \circ s`.

    Contexts and continuations go out conjugated, texts come back inverted; the harness builds,
    logs, scores and caches as if it asked the inner model. With ``identity`` it does so to the bit.
    Whatever else the harness wants to know, it learns from the inner model.

    Args:
        inner: A model's name in the harness, or a model.
        via: A conjugation, such as ``leet`` or ``translate:es``.
        **inner_args: Arguments of the inner model, if it is named.

    Raises:
        UserError: No such model or conjugation, or arguments for a model that is there already.

    Example:
        >>> from lm_eval.api.instance import Instance
        >>> request = Instance("generate_until", {}, ("Say it.", {"until": ["\n"]}), 0)
        >>> ConjugateLM("dummy", via="leet").generate_until([request])  # which always says: lol
        ['lol']
    """

    def __init__(
        self,
        inner: str | LM | None = None,
        *,
        via: str | TextConjugation | None = None,
        **inner_args: Any,
    ) -> None:
        # What LM.__init__ would set is the inner model's to say.
        self.conjugation = _conjugation(via)
        self.inner = _inner(inner, inner_args)
        self.is_identity = self.conjugation.changes_nothing
        self._rewriter = Rewriter(self.conjugation, self.inner.apply_chat_template)
        self._rows = OriginalRows(CacheHook(None))
        self._template_marks: set[str] = set()

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> Self:
        """Return the model for ``inner=hf,pretrained=…,via=protect(leet,urls)``."""
        from lm_eval.utils import handle_arg_string

        given = [part.partition("=") for part in _COMMA.split(arg_string) if part.strip()]
        arguments = {name.strip(): handle_arg_string(value) for name, _, value in given}
        model: Self = cls.create_from_arg_obj(arguments, dict(additional_config or {}))
        return model

    def loglikelihood(
        self, requests: Sequence[Instance], **options: Any
    ) -> list[tuple[float, bool]]:
        """Return how likely each continuation is in conjugated form, and whether it is greedy."""
        sent = requests
        if not self.is_identity:
            self._check_templates(requests)
            sent = self._rewriter.scored(requests)
            self._rows.expect("loglikelihood", requests, sent, lambda _, answer: answer)
        answers: list[tuple[float, bool]] = self.inner.loglikelihood(sent, **options)
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Instance], **options: Any) -> list[float]:
        """Return how likely whole texts are; only under the identity."""
        if not self.is_identity:
            tasks = ", ".join(sorted({str(request.task_name) for request in requests}))
            raise UserError(
                f"How likely whole texts are (loglikelihood_rolling, asked by: {tasks}) has no "
                "meaning under a conjugation: there is no prompt, and no answer to invert. "
                f"Under '{self.conjugation.name}', it would say how odd conjugated text looks.",
                hint="Leave these tasks out, or ask them with via=identity.",
            )
        answers: list[float] = self.inner.loglikelihood_rolling(requests, **options)
        return answers

    def generate_until(self, requests: Sequence[Instance], **options: Any) -> list[str]:
        """Return the inverted answers, each up to the first of its stop strings."""
        sent = requests
        if not self.is_identity:
            self._check_templates(requests)
            sent = self._rewriter.generated(requests)
            self._rows.expect("generate_until", requests, sent, self._rewriter.read)
        raws: list[str] = self.inner.generate_until(sent, **options)
        return raws if self.is_identity else self._rewriter.read_all(requests, raws)

    def apply_chat_template(
        self, chat_history: list[dict[str, Any]], add_generation_prompt: bool = True
    ) -> Any:
        """Return the prompt as the inner model's template writes it plainly.

        The messages go with it: they are conjugated, and the template applied anew, when the
        request comes.
        """
        templated = self.inner.apply_chat_template(
            chat_history, add_generation_prompt=add_generation_prompt
        )
        if self.is_identity or not isinstance(templated, str):
            return templated
        self._template_marks.add(template_mark(templated, chat_history))
        return ChatContext(templated, chat_history, add_generation_prompt=add_generation_prompt)

    @property
    def tokenizer_name(self) -> str:
        """The inner model's, with the conjugation: prompts that are cached hold its messages."""
        name = str(self.inner.tokenizer_name)
        return name if self.is_identity else f"{name}-{NAME}-{self.conjugation.fingerprint}"

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Give the inner model's answers to the harness's cache, apart from other conjugations'."""
        if not self.is_identity:
            keep_apart(cache_hook, f"{NAME}-{self.conjugation.fingerprint}")
            self._rows = cache_hook = OriginalRows(cache_hook)
        self.inner.set_cache_hook(cache_hook)

    def get_model_info(self) -> dict[str, Any]:
        """Return what the results say of the inner model, and the conjugation."""
        describe = getattr(self.inner, "get_model_info", dict)
        if self.is_identity:
            return dict(describe())
        return {
            **describe(),
            "conjugation": self.conjugation.name,
            "conjugation_fingerprint": self.conjugation.fingerprint,
            "conjugation_facts": dict(self.conjugation.facts()),
        }

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the inner model's template."""
        template: str | None = self.inner.chat_template(chat_template)
        return template

    @property
    def device(self) -> Any:
        """Where the inner model is."""
        return self.inner.device

    @property
    def rank(self) -> int:
        """Of the inner model's process."""
        return int(self.inner.rank)

    @property
    def world_size(self) -> int:
        """How many processes ask the inner model."""
        return int(self.inner.world_size)

    def all_gather(self, tensor: Any) -> Any:
        """Gather a tensor as the inner model does."""
        return self.inner.all_gather(tensor)

    def gather_object(self, obj: Any, dst: int = 0) -> Any:
        """Gather an object as the inner model does."""
        return self.inner.gather_object(obj, dst)

    def barrier(self) -> None:
        """Wait for the other processes as the inner model does."""
        self.inner.barrier()

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # not there yet, or no more
            raise AttributeError(name)
        return getattr(self.inner, name)

    def _check_templates(self, requests: Sequence[Instance]) -> None:
        """Refuse prompts that a chat template made and a task has changed since."""
        marks = tuple(filter(None, self._template_marks))
        for request in requests:
            context = request.args[0]
            if type(context) is str and context.startswith(marks):
                raise UserError(
                    f"The task '{request.task_name}' changes its prompts after the chat template "
                    "was applied: its messages can no longer be told from the template's marks, "
                    "which must not be conjugated.",
                    hint="Ask it without a chat template, or with via=identity.",
                )


def _conjugation(via: str | TextConjugation | None) -> TextConjugation:
    if via is None:
        raise UserError("No conjugation is named for the model.", hint=_EXAMPLE)
    conjugation = parse_conjugation(via) if isinstance(via, str) else via
    _ = conjugation.fingerprint  # a translator that is missing says so before a model is loaded
    return conjugation


def _inner(inner: str | LM | None, arguments: dict[str, Any]) -> LM:
    if isinstance(inner, LM):
        if arguments:
            raise UserError(
                f"The inner model is open already; it takes no arguments: {', '.join(arguments)}.",
                hint="Open it with them, or name it: ConjugateLM('hf', via='leet', pretrained=…)",
            )
        return inner
    if inner is None:
        raise UserError(
            "No inner model is named, which the conjugation would be put around.", hint=_EXAMPLE
        )
    if not isinstance(inner, str):
        raise UserError(
            f"The inner model is a {type(inner).__name__}, which is no model of the harness.",
            hint="Wrap it first, such as: lm_eval.models.huggingface.HFLM(pretrained=model)",
        )
    names = [name for name in model_registry if name != NAME]
    if inner not in names:
        raise UserError(
            f"No model of lm-evaluation-harness is named '{inner}'.{did_you_mean(inner, names)}",
            hint=f"There are: {', '.join(names)}.",
        )
    return get_model(inner).create_from_arg_obj(arguments)


import lm_eval.models  # noqa: E402, F401  # the harness registers its own only if it finds none

register_model(NAME)(ConjugateLM)
