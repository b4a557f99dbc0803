"""The solver ``conjugated``: what another solver has generated is asked for conjugated."""

from __future__ import annotations

from typing import Literal

from inspect_ai.model import ChatMessage, GenerateConfig, GenerateConfigArgs, ModelOutput
from inspect_ai.solver import Generate, Solver, TaskState
from typing_extensions import Unpack

from palimpsest.errors import UserError
from palimpsest.integrations.inspect_ai.conversation import (
    KEY,
    Sent,
    ask_conjugated,
    inverted_message,
)
from palimpsest.integrations.inspect_ai.host import task_config, told_to_the_user, typed
from palimpsest.lm import Exchange
from palimpsest.lm.conjugations import TextEnsemble, parse_ensemble


def build_solver(via: object, inner: Solver | None) -> Solver:
    """Return the solver that runs another one, or ``generate`` alone, under an ensemble.

    Raises:
        PrerequisiteError: A conjugation that cannot be used.
    """
    with told_to_the_user():
        ensemble = parse_ensemble(typed(via))

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        asked = generate if ensemble.is_identity else _conjugated(ensemble, generate)
        return await (asked(state) if inner is None else inner(state, asked))

    return solve


def _conjugated(ensemble: TextEnsemble, generate: Generate) -> Generate:
    """Return a ``generate`` that leaves the conversation plain and answers inverted."""

    async def generate_conjugated(
        state: TaskState,
        tool_calls: Literal["loop", "single", "none"] = "loop",
        **kwargs: Unpack[GenerateConfigArgs],
    ) -> TaskState:
        config = task_config().merge(kwargs)
        plain = list(state.messages)

        async def ask(exchange: Exchange, sent: Sent) -> ModelOutput:
            nonlocal state
            state.messages = sent.messages
            if config.stop_seqs:
                kwargs["stop_seqs"] = _stops(exchange, config, sent)
            state = await generate(state, tool_calls, **kwargs)
            return state.output

        output = await ask_conjugated(ensemble, plain, config, ask, tools=bool(state.tools))
        assert isinstance(output, ModelOutput)  # generate raises what goes wrong
        said = state.messages[len(plain) :]
        state.output = output
        state.messages = [*plain, *_inverted(said, output, ensemble)]
        state.store.set(KEY, [*state.store.get(KEY, []), (output.metadata or {})[KEY]])
        return state

    return generate_conjugated


def _stops(exchange: Exchange, config: GenerateConfig, sent: Sent) -> list[str]:
    if not sent.stops:
        raise UserError(
            f"The stop sequences {config.stop_seqs} may mean something else under "
            f"'{exchange.conjugation.name}', and a solver cannot take them back from the task.",
            hint="Leave them out, or wrap the model: --model conjugate/PROVIDER/MODEL -M "
            f"via={exchange.conjugation.name}",
        )
    return list(sent.stops)


def _inverted(
    said: list[ChatMessage], output: ModelOutput, ensemble: TextEnsemble
) -> list[ChatMessage]:
    """Return what was said since the prompt as the conversation keeps it."""
    if len(ensemble.members) > 1:  # no tools, so one answer
        return [output.message]
    final = {choice.message.id: choice.message for choice in output.choices}
    return [
        final.get(each.id) or inverted_message(each, Exchange(ensemble.members[0])) for each in said
    ]
