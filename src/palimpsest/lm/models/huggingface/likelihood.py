"""Log-likelihoods of candidate continuations, with the context that they share read once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from palimpsest.lm.likelihoods import Likelihood
from palimpsest.lm.models.huggingface.decoding import (
    CachedDecoder,
    NotFiniteError,
    accepted_arguments,
    can_branch,
    run,
)
from palimpsest.lm.models.huggingface.memory import BatchBudget
from palimpsest.lm.models.huggingface.prefixes import (
    ALONE,
    Cluster,
    clusters,
    n_common,
    together,
)
from palimpsest.lm.models.huggingface.quiet import without_log
from palimpsest.lm.models.huggingface.tokenization import PromptEncoder
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.stops import without_thought

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MOST_LOGITS = 2**26
"""How many logits are held at once: a quarter of a gigabyte in float32."""


@dataclass(frozen=True)
class TokenizedCandidate:
    """A context with one continuation, as token ids."""

    prompt: int
    """Which prompt."""

    candidate: int
    """Which of its candidates."""

    context: tuple[int, ...]
    """Never empty."""

    continuation: tuple[int, ...]
    """Empty where the candidate adds no token."""

    cut: bool = False
    """Whether the context has lost its beginning."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Both parts."""
        return self.context + self.continuation

    def cut_to(self, n_context: int) -> TokenizedCandidate:
        """Return the candidate with as much of its context as the model can look back.

        The last token of all is never read, so that one more than ``n_context`` fits.
        """
        n_kept = n_context + 1 - len(self.continuation)
        if len(self.context) <= n_kept or n_kept < 1:
            return self
        return replace(self, context=self.context[-n_kept:], cut=True)


@dataclass(frozen=True)
class Group:
    """Candidates that begin alike, each with its context."""

    pairs: tuple[TokenizedCandidate, ...]

    n_shared: int
    """Tokens that are read once for all of them; at least one of each context is left."""

    cluster: Cluster = ALONE
    """Other groups whose contexts begin alike."""

    @property
    def n_columns(self) -> int:
        """Columns that the group takes in a batch."""
        return max(len(pair.tokens) for pair in self.pairs)

    @property
    def n_own(self) -> int:
        """Positions that are computed for this group alone, if its cluster is in the batch."""
        n_rest = sum(len(pair.tokens) - self.n_shared for pair in self.pairs)
        return n_rest + max(0, self.n_shared - self.cluster.n_shared)

    @property
    def n_logits(self) -> int:
        """Positions whose logits are computed, over all pairs."""
        first = self.n_shared or len(self.pairs[0].context) - 1
        return len(self.pairs) * (self.n_columns - first)


def score_candidates(
    model: PreTrainedModel,
    encoder: PromptEncoder,
    prompts: Sequence[Prompt],
    candidates: Sequence[Sequence[str]],
    *,
    n_context: int | None,
    budget: BatchBudget,
    margins: bool = False,
    as_lm_eval: bool = False,
    share: bool = True,
) -> list[list[Likelihood]]:
    """Return the natural-log probability of every candidate after its prompt.

    A candidate without a token of its own scores 0, one that is too long for the model's context
    minus infinity.

    Args:
        model: The network.
        encoder: Of its prompts.
        prompts: What comes before.
        candidates: Of each prompt.
        n_context: How many tokens the model can look back, if there is a limit.
        budget: Of the batches.
        margins: Whether to say how far each candidate is from being the greedy one.
        as_lm_eval: Whether a context that is too long loses its beginning, and an open thought
            stays open, as in lm-evaluation-harness.
        share: Whether what several prompts of a batch begin with is read once.

    Raises:
        NotFiniteError: The model gives NaN or infinity.
    """
    scores = [[Likelihood(0.0)] * len(texts) for texts in candidates]
    fitting = []
    for whole in encode_candidates(encoder, prompts, candidates, close_thoughts=not as_lm_eval):
        pair = whole.cut_to(n_context) if as_lm_eval and n_context is not None else whole
        if n_context is not None and len(pair.tokens) > n_context + as_lm_eval:
            scores[pair.prompt][pair.candidate] = Likelihood(-torch.inf)
        elif pair.continuation:
            fitting.append(pair)
    groups = _grouped(fitting, share=can_branch(model))
    groups = _arranged(groups, share=share and can_branch(model))
    while groups:
        batch = _take(groups, budget, int(model.config.get_text_config(decoder=True).vocab_size))
        try:
            with without_log():
                values = _score_batch(model, batch, margins=margins, share=share)
        except (RuntimeError, MemoryError) as error:
            budget.halve(len(batch), error, model.device)
            continue
        for pair, value in values:
            scores[pair.prompt][pair.candidate] = value
        groups = groups[len(batch) :]
    return scores


def encode_candidates(
    encoder: PromptEncoder,
    prompts: Sequence[Prompt],
    candidates: Sequence[Sequence[str]],
    *,
    close_thoughts: bool = True,
) -> list[TokenizedCandidate]:
    """Encode every prompt with each of its candidates, divided where the prompt's tokens end.

    Spaces at the end of a prompt go to the continuation, since tokenizers join them to the next
    word (the convention of lm-evaluation-harness). After an empty prompt the whole candidate is
    scored, its first token too: the start token comes before it even where the tokenizer writes
    none. A thought that a chat template opens is closed, since a candidate is no thought, unless
    ``close_thoughts`` says otherwise.
    """
    keys, contexts, wholes = [], [], []
    for row, (prompt, texts) in enumerate(zip(prompts, candidates, strict=True)):
        text, templated = encoder.text(prompt)
        text = without_thought(text) if templated and close_thoughts else text
        contexts.append((text.rstrip(), templated))
        for column, candidate in enumerate(texts):
            keys.append((row, column))
            wholes.append((text + candidate, templated))
    before = encoder.encode_texts(contexts)
    pairs = []
    for (row, column), tokens in zip(keys, encoder.encode_texts(wholes), strict=True):
        length = len(before[row])
        unstarted = not contexts[row][0] and tokens[:length] != before[row]
        whole = [*before[row], *tokens] if unstarted else tokens
        pairs.append(TokenizedCandidate(row, column, tuple(whole[:length]), tuple(whole[length:])))
    return pairs


def _grouped(pairs: Sequence[TokenizedCandidate], *, share: bool) -> list[Group]:
    """Put the candidates of a prompt together if that saves reading, else each by itself."""
    groups = []
    for _, members in itertools.groupby(pairs, key=lambda pair: pair.prompt):
        alike = tuple(members)
        n_shared = min(
            min(n_common(alike[0].tokens, pair.tokens), len(pair.context) - 1) for pair in alike
        )
        if share and len(alike) > 1 and n_shared > 0:
            groups.append(Group(alike, n_shared))
        else:
            groups += [Group((pair,), 0) for pair in alike]
    return groups


def _arranged(groups: Sequence[Group], *, share: bool) -> list[Group]:
    """Put the longest first, but clusters together, if there are to be any."""
    if share:
        found = clusters([group.pairs[0].context for group in groups])
        groups = [
            replace(
                group,
                cluster=cluster,
                # What one candidate has in common with nothing else of its prompt, it may have in
                # common with other prompts.
                n_shared=group.n_shared or len(group.pairs[0].context) - 1,
            )
            if cluster.n_shared
            else group
            for group, cluster in zip(groups, found, strict=True)
        ]
    kinds = sorted(groups, key=lambda group: group.n_shared > 0, reverse=True)
    order = together(
        [group.n_shared or group.n_columns for group in kinds], [group.cluster for group in kinds]
    )
    return sorted((kinds[at] for at in order), key=lambda group: group.n_shared > 0, reverse=True)


def _take(groups: Sequence[Group], budget: BatchBudget, n_vocabulary: int) -> Sequence[Group]:
    """Return the first groups of one kind that fit together, at least one."""
    shared, cluster = groups[0].n_shared > 0, groups[0].cluster
    n_columns = groups[0].n_columns
    n_rows = n_logits = n_taken = 0
    n_computed = cluster.n_shared
    for group in groups[: budget.rows(1)]:
        n_rows += len(group.pairs)
        n_logits += group.n_logits
        n_computed += group.n_own
        n_columns = max(n_columns, group.n_columns)
        full = (
            n_computed > budget.n_tokens
            or n_rows * n_columns > budget.n_held
            or n_rows > (budget.n_rows or n_rows)
            or n_logits * n_vocabulary > _MOST_LOGITS
        )
        kind = group.n_shared > 0, group.cluster.batch
        if n_taken and (full or kind != (shared, cluster.batch)):
            break
        n_taken += 1
    return groups[:n_taken]


@torch.inference_mode()
def _score_batch(
    model: PreTrainedModel, batch: Sequence[Group], *, margins: bool, share: bool = True
) -> list[tuple[TokenizedCandidate, Likelihood]]:
    pairs = [pair for group in batch for pair in group.pairs]
    if batch[0].n_shared:
        starts = [group.n_shared for group in batch for _ in group.pairs]
        logits = _logits_branched(model, batch, share=share)
    else:
        starts = [0] * len(pairs)
        logits = _logits_alone(model, pairs)
    n_read = max(len(pair.tokens) - 1 - start for pair, start in zip(pairs, starts, strict=True))
    offset = n_read - logits.shape[1]  # positions at the front without logits
    scores = []
    for row, (pair, start) in enumerate(zip(pairs, starts, strict=True)):
        first = len(pair.context) - 1 - start - offset
        rows = _at_least_single(logits[row, first : first + len(pair.continuation)])
        targets = torch.tensor(pair.continuation, device=rows.device)[:, None]
        score = float(rows.log_softmax(-1).gather(-1, targets).sum())
        if not math.isfinite(score) and not bool(rows.logsumexp(-1).isfinite().all()):
            raise NotFiniteError(pair.tokens)
        margin = _margin(rows, targets) if margins else None
        scores.append((pair, Likelihood(score, margin, pair.cut)))
    return scores


def _at_least_single(logits: torch.Tensor) -> torch.Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _margin(logits: torch.Tensor, targets: torch.Tensor) -> float:
    """Return by how much the targets lead at least; negative where they do not.

    Args:
        logits: [tokens, vocabulary].
        targets: [tokens, 1].
    """
    mine = logits.gather(-1, targets)[:, 0]
    others = logits.scatter(-1, targets, -torch.inf).amax(-1)
    return float((mine - others).min())


def _logits_branched(
    model: PreTrainedModel, batch: Sequence[Group], *, share: bool
) -> torch.Tensor:
    """Read what each group shares once, then the rest of each pair after it."""
    shared = [group.pairs[0].tokens[: group.n_shared] for group in batch]
    rows = [row for row, group in enumerate(batch) for _ in group.pairs]
    rests = [pair.tokens[group.n_shared : -1] for group in batch for pair in group.pairs]
    decoder = CachedDecoder(model, shared, n_new=max(map(len, rests)), share=share)
    decoder.start()
    return decoder.branch(rows, rests)


def _logits_alone(model: PreTrainedModel, pairs: Sequence[TokenizedCandidate]) -> torch.Tensor:
    """Read each pair at once, padded on the right, where a causal model cannot see it."""
    width = max(len(pair.tokens) for pair in pairs) - 1
    first = min(len(pair.context) for pair in pairs) - 1
    ids = torch.zeros(len(pairs), width, dtype=torch.long)
    for row, pair in enumerate(pairs):
        ids[row, : len(pair.tokens) - 1] = torch.tensor(pair.tokens[:-1])
    arguments = {"use_cache": False, "logits_to_keep": width - first}
    return run(model, ids.to(model.device), arguments, accepted_arguments(model))
