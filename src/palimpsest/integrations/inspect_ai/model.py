"""``--model conjugate/PROVIDER/MODEL -M via=leet``: any model of Inspect, asked conjugated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    ModelAPI,
    ModelCall,
    ModelOutput,
    ModelUsage,
    RetryDecision,
    get_model,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from palimpsest.errors import UserError
from palimpsest.integrations.inspect_ai.conversation import (
    Sent,
    ask_conjugated,
    conjugated_messages,
)
from palimpsest.integrations.inspect_ai.host import told_to_the_user, typed
from palimpsest.lm import Exchange
from palimpsest.lm.conjugations import TextEnsemble, parse_ensemble

_SEPARATOR = "@"


class ConjugateAPI(ModelAPI):
    """Conjugates what is said to another model of Inspect, and inverts what it answers.

    Whatever else Inspect asks of a provider, such as how many connections it takes or whether to
    try again, the other model's provider answers. Under ``identity`` it answers everything. What a
    provider streams while it answers is the model's own text.

    Args:
        model_name: The other model, ``PROVIDER/MODEL``. Logs show it with ``@VIA`` behind, which
            keeps the cached answers of several conjugations apart; so it may come with that, too.
        base_url: For the other model.
        api_key: For the other model.
        config: For the other model.
        via: A conjugation or a vote; the members of a vote are asked one after the other, as
            Inspect counts one connection.
        **model_args: For the other model.

    Raises:
        PrerequisiteError: No conjugation, or one that cannot be used.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        via: object = None,
        **model_args: Any,
    ) -> None:
        with told_to_the_user():
            name, self.ensemble = _parsed(model_name, via)
        self._model = get_model(
            name, config=config, base_url=base_url, api_key=api_key, **model_args
        )
        self.inner = self._model.api
        """The provider of the other model."""
        super().__init__(
            name if self._is_identity else f"{name}{_SEPARATOR}{self.ensemble.name}",
            base_url=self.inner.base_url,
            config=self._model.config,
        )
        for hook in _hooks():
            if hook not in vars(ConjugateAPI):
                setattr(self, hook, getattr(self.inner, hook))

    def __getattr__(self, name: str) -> Any:
        """Return what only the other provider has."""
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def _is_identity(self) -> bool:
        return self.ensemble.is_identity

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput | tuple[ModelOutput | Exception, ModelCall]:
        """Ask under every member of the ensemble.

        Raises:
            PrerequisiteError: Something is asked for that a conjugation cannot honour, or a
                translator failed.
        """
        if self._is_identity:
            return await self.inner.generate(input, tools, tool_choice, config)
        calls: list[ModelCall] = []

        async def ask(exchange: Exchange, sent: Sent) -> ModelOutput | Exception:
            asked = config.model_copy(update={"stop_seqs": list(sent.stops) or None})
            result = await self.inner.generate(sent.messages, tools, tool_choice, asked)
            output, call = result if isinstance(result, tuple) else (result, None)
            calls.append(_logged(exchange.conjugation.name, sent, output, call))
            return output

        output = await ask_conjugated(self.ensemble, input, config, ask, tools=bool(tools))
        return output, _together(self.ensemble, calls)

    async def count_tokens(
        self, input: str | list[ChatMessage], config: GenerateConfig | None = None
    ) -> int:
        """Count the tokens of the conjugated text; under a vote, of the longest."""
        counts = []
        for member in self.ensemble.members:
            exchange = Exchange(member)
            sent = (
                exchange.apply(input)
                if isinstance(input, str)
                else conjugated_messages(input, exchange).messages
            )
            counts.append(await self.inner.count_tokens(sent, config))
        return max(counts)

    async def count_text_tokens(self, text: str) -> int:
        """Count the tokens of the conjugated text; under a vote, of the longest."""
        return await self.count_tokens(text)

    async def tokenize(self, text: str) -> list[int]:
        """Return tokens only where nothing is conjugated: of other text they would say nothing."""
        if self._is_identity:
            return await self.inner.tokenize(text)
        return await super().tokenize(text)

    async def compact(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        config: GenerateConfig,
        instructions: str | None = None,
    ) -> tuple[list[ChatMessage], ModelUsage | None]:
        """Leave compaction to Inspect: a provider's own is text that cannot be conjugated."""
        if self._is_identity:
            return await self.inner.compact(input, tools, config, instructions)
        return await super().compact(input, tools, config, instructions)

    def connection_key(self) -> str:
        """Share connections with what asks the same provider by the same key."""
        return f"{type(self.inner).__name__}:{self.inner.connection_key()}"

    def should_retry(self, ex: Exception) -> bool | RetryDecision:
        """Never try again what failed here; ask the provider about its own errors."""
        return not isinstance(ex.__cause__, UserError) and self.inner.should_retry(ex)

    async def aclose(self) -> None:
        """Close the other model, so that it is not found in Inspect's cache again."""
        async with self._model:
            pass

    def close(self) -> None:
        """Close the other model, so that it is not found in Inspect's cache again."""
        with self._model:
            pass


def _hooks() -> list[str]:
    """Return the names of all that Inspect may ask of a provider, in whatever release."""
    return [
        name for name, hook in vars(ModelAPI).items() if callable(hook) and not name.startswith("_")
    ]


def _parsed(model_name: str, via: object) -> tuple[str, TextEnsemble]:
    """Return the other model's name and the conjugations, from ``via`` or behind the name."""
    if via is not None:
        ensemble = parse_ensemble(typed(via))
        return model_name.removesuffix(f"{_SEPARATOR}{ensemble.name}"), ensemble
    name, _, suffix = model_name.partition(_SEPARATOR)
    if not suffix:
        raise UserError(
            f"The model 'conjugate/{name}' does not say under which conjugation.",
            hint="Add -M via=leet, or another one of: palimpsest list conjugations",
        )
    return name, parse_ensemble(suffix)


def _logged(
    via: str, sent: Sent, output: ModelOutput | Exception, call: ModelCall | None
) -> ModelCall:
    """Return the call as the provider logs it, or one of our own: both have the raw texts."""
    if call is not None:
        return call.model_copy(update={"request": {"via": via, **call.request}})
    request = {
        "via": via,
        "messages": [each.model_dump(exclude_none=True) for each in sent.messages],
        "stop": list(sent.stops),
    }
    if isinstance(output, Exception):
        return ModelCall.create(request, None)
    choices = [choice.model_dump(exclude_none=True) for choice in output.choices]
    return ModelCall.create(request, {"model": output.model, "choices": choices})


def _together(ensemble: TextEnsemble, calls: Sequence[ModelCall]) -> ModelCall:
    if len(calls) == 1:
        return calls[0]
    times = [call.time for call in calls if call.time is not None]
    call = ModelCall.create(
        {"via": ensemble.name, "members": [each.request for each in calls]},
        {"members": [each.response for each in calls]},
        time=sum(times) if len(times) == len(calls) else None,
    )
    call.error = any(each.error for each in calls) or None
    return call
