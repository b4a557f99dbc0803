"""Protocol of language models: answers to prompts, likelihoods of continuations, tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from palimpsest.errors import UserError
from palimpsest.lm.likelihoods import Likelihood
from palimpsest.lm.prompts import Prompt

Decided = Callable[[int, str], bool]
"""Given a prompt's index in the batch and the text generated so far: is it settled how the answer
will be scored, whatever follows? ``True`` lets the back end stop early; it may also be ignored."""


Finish = Literal["stop", "decided", "length", "filtered", "refused", "failed"]
"""Why an answer ended: stop string or end token, early decision, the token limit, a content filter
of the server, or a refusal of the server or the model. A prompt that leaves no room for an answer
has an empty one of no tokens that ended with ``length``; ``failed`` is none at all, where whatever
computed it died of it again and again."""


class ScoringUnavailableError(UserError):
    """A back end that cannot say how likely a given continuation is."""


class Generation(NamedTuple):
    """One generated continuation."""

    text: str
    """The new text alone, cut before the first stop string."""

    finish: Finish
    """Why it ended."""

    n_tokens: int
    """New tokens, the end token included."""

    latency_seconds: float
    """From the start of the prompt's batch to the end of its own text."""

    n_prompt_tokens: int | None = None
    """Tokens of the prompt, as the back end counts them; ``None`` where it does not say."""

    cut: bool = False
    """Whether the beginning of the prompt was left out, being more than the model can look back."""


class LanguageModel(Protocol):
    """A language model that can be asked in batches."""

    @property
    def spec(self) -> str:
        """The text that the user wrote to name the model."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything that determines its answers: weights, tokenizer, dtype, options."""

    @property
    def chat(self) -> bool:
        """Whether the back end puts plain text into a chat template before the model reads it.

        Likelihoods are then not those of the text alone.
        """

    def describe(self) -> Mapping[str, str]:
        """Facts for the report: architecture, parameters, device, dtype, revision."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        decided: Decided | None = None,
    ) -> Iterator[tuple[int, Generation]]:
        """Continue every prompt greedily; yield ``(index, generation)`` in order of completion."""

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Return, for each prompt, the natural-log probability of each candidate continuation.

        For no prompts at all, the answer is an empty list, and nothing is loaded for it.

        Raises:
            ScoringUnavailableError: The back end cannot tell, such as an endpoint without logprobs.
        """

    def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        """Return how many tokens each text has by itself; ``None`` where there is no tokenizer."""

    def vocabulary(self) -> frozenset[str] | None:
        """Return the tokens that there are; ``None`` where there is no tokenizer to ask."""

    def close(self) -> None:
        """Free the memory; the model is not used afterwards."""


class Origin(NamedTuple):
    """How another process comes to the same model."""

    function: Callable[..., LanguageModel]
    """Of a module, so that the other process finds it."""

    arguments: tuple[str, ...]

    def open(self) -> LanguageModel:
        """Return the model."""
        return self.function(*self.arguments)


@runtime_checkable
class Movable(Protocol):
    """A model that is computed here and can be computed elsewhere."""

    @property
    def origin(self) -> Origin:
        """How to open it there."""


@runtime_checkable
class SpreadOverGpus(Protocol):
    """A model of which one copy takes several GPUs."""

    @property
    def n_gpus(self) -> int:
        """How many; 0 or 1 where it is not spread."""


@runtime_checkable
class SharesWeights(Protocol):
    """A model that has its weights in common with the same model in other processes."""

    def share_weights(self, paths: Sequence[str]) -> None:
        """Have what is copied of the weights in these files from now on; they may have gone.

        Args:
            paths: :data:`N_SHARED` files in memory, empty at first.
        """


N_SHARED = 2
"""Files that a model needs for its weights: as they are, and in a form that answers faster."""


@runtime_checkable
class WritesPrompts(Protocol):
    """A model whose back end here turns prompts into the text that it reads."""

    def written(self, prompt: Prompt) -> str:
        """Return that text.

        Raises:
            UserError: There is no chat template for messages, or it cannot write them.
        """


class NextToken(NamedTuple):
    """A token that may follow a prompt and the beginning of an answer."""

    tokens: tuple[int, ...]
    """The beginning and this token, by which one goes on from here."""

    text: str
    """What they are as text, with the space in front; without a character that is not whole."""

    log_probability: float
    """Natural, of this token after the beginning."""

    ends: bool
    """Whether it ends the answer."""


@runtime_checkable
class TellsNextTokens(Protocol):
    """A model that says which tokens may come next, and how likely each is."""

    def next_tokens(
        self, prompts: Sequence[Prompt], beginnings: Sequence[tuple[int, ...]], *, n: int
    ) -> list[list[NextToken]]:
        """Return the ``n`` likeliest tokens after each prompt and beginning, the likeliest first.

        None where they leave no room in the model's context.

        Args:
            prompts: As for :meth:`LanguageModel.generate`.
            beginnings: Of the answer to each, empty or what an earlier call returned.
            n: How many; fewer where there are no more, or where no more are told.
        """


@runtime_checkable
class TellsIfAsked(Protocol):
    """A model of which only asking shows whether it says which tokens may come next."""

    def check_tells(self, prompt: Prompt) -> None:
        """Ask once.

        Raises:
            UserError: It does not.
        """


@runtime_checkable
class TellsMargins(Protocol):
    """A model that says of a continuation whether it would have said it itself."""

    def likelihoods(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[Likelihood]]:
        """Return what :meth:`LanguageModel.score` does, with margins."""


@runtime_checkable
class AsksAsLmEval(Protocol):
    """A model that can be asked to the token as lm-evaluation-harness asks it."""

    def as_lm_eval(self) -> AbstractContextManager[None]:
        """Ask so for a while; the fingerprint does not follow.

        What a chat template wrote is read with the tokenizer's start token in front, unless it
        begins with it; a prompt that leaves no room for the whole answer loses its beginning; an
        answer is decoded without a look at the prompt.
        """


@runtime_checkable
class AsksInOtherBatches(Protocol):
    """A model whose answers depend, by rounding, on what else it is asked in the same batch."""

    def in_other_batches(self, number: int) -> AbstractContextManager[None]:
        """Ask in another order and in smaller batches for a while, as another machine might.

        The fingerprint does not follow.

        Args:
            number: From 1; another one, another order and size.
        """


class Joint(NamedTuple):
    """The tokens where a prompt ends and an answer begins."""

    prompt: tuple[str, ...]
    """The last ones of the prompt."""

    answer: tuple[str, ...]
    """The first ones of prompt and answer together that are not those of the prompt alone."""

    n_replaced: int
    """How many tokens of the prompt are others once the answer stands behind it."""


@runtime_checkable
class ShowsTokens(Protocol):
    """A model whose tokens can be looked at."""

    def joint(self, prompt: Prompt, answer: str) -> Joint:
        """Return the tokens on both sides of the place where an answer begins."""


def can_score(model: LanguageModel) -> bool:
    """Return whether a model can say how likely a given continuation is.

    An endpoint is asked once to find out.
    """
    try:
        model.score([], [])
    except ScoringUnavailableError:
        return False
    return True
