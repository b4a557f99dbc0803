"""Tensors of a base and a tuned model that belong together, and what keeps two from being mixed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from palimpsest.errors import UserError
from palimpsest.families.parts import is_head, is_input_embedding

if TYPE_CHECKING:
    import torch

    from palimpsest.lm.models.huggingface import HuggingFaceModel, StoredTensor, TensorReader

_SHOWN = 3
_MOST_RENAMED = 0.01
"""Share of the tokens that may have another text in the tuned model: reserved tokens get names."""

_BUFFERS = re.compile(
    r"rotary_emb\.inv_freq$|(?:attn|attention)\.(?:masked_)?bias$|\.position_ids$|\.rotary\."
)
"""Tensors that some releases store, and that every network computes for itself."""

_SAME_OTHERWISE = "Both must be the same architecture, with one tuned from the other."


class Numbers(Protocol):
    """A tensor that can be read by rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""

    def read(
        self, reader: TensorReader, first: int, end: int, *, slot: str, dtype: torch.dtype
    ) -> torch.Tensor:
        """Return some rows; they are gone when the next are read into the same slot."""


@dataclass(frozen=True)
class InFile:
    """A tensor as it lies in a file."""

    tensor: StoredTensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return self.tensor.shape

    def read(
        self, reader: TensorReader, first: int, end: int, *, slot: str, dtype: torch.dtype
    ) -> torch.Tensor:
        """Return some rows."""
        return reader.numbers(self.tensor, first, end, slot=slot, dtype=dtype)


@dataclass(frozen=True)
class MatchedTensor:
    """A tensor of a member, and what it is made of."""

    name: str
    """As the member's files have it."""

    place: StoredTensor
    """Its shape and dtype, and where it lies in the files that the member's are modelled on."""

    base: Numbers | None
    """The base's; ``None`` where the member's is the tuned model's, whatever the member."""

    tuned: Numbers

    n_mixed: int
    """How many rows the base has too; the rest are the tuned model's."""


@dataclass(frozen=True)
class Match:
    """All tensors of a family's members."""

    tensors: tuple[MatchedTensor, ...]
    """In the order in which they lie in the tuned model's files."""

    notes: tuple[str, ...]
    """What a user should know, in sentences."""


def match_models(base: HuggingFaceModel, tuned: HuggingFaceModel) -> Match:
    """Return which tensors of two whole models belong together; only headers are read.

    Raises:
        UserError: They have no common architecture, vocabulary or shapes, or are quantised.
    """
    from palimpsest.lm.models.huggingface import stored_weights

    _check_architectures(base, tuned)
    one, other = (stored_weights(each.checkpoint).tensors for each in (base, tuned))
    for model, tensors in ((base, one), (tuned, other)):
        check_not_quantised(model, tensors)
    notes = [*_vocabulary_notes(base, tuned), *_configuration_notes(base, tuned)]
    names = BaseNames(one, is_tied=is_tied(base))
    matched: list[MatchedTensor] = []
    problems: list[str] = []
    for name, tensor in other.items():
        own = names.of(name)
        if own is None and _BUFFERS.search(name):
            matched.append(MatchedTensor(name, tensor, None, InFile(tensor), 0))
        elif own is None:
            problems.append(f"'{name}' {shown(tensor.shape)} is in the tuned model alone")
        elif not _fits(name, own, tensor):
            problems.append(
                f"'{name}' is {shown(own.shape)} in the base and {shown(tensor.shape)} in the tuned"
                " model"
            )
        else:
            n_mixed = min(own.n_rows, tensor.n_rows)
            base_numbers = InFile(own) if tensor.dtype.is_floating_point else None
            matched.append(MatchedTensor(name, tensor, base_numbers, InFile(tensor), n_mixed))
    problems += _left_over(names, tuned)
    if problems:
        raise _do_not_fit(base, tuned, problems)
    notes += names.notes
    notes += _row_notes(matched)
    return Match(tuple(matched), tuple(notes))


def whole_model(model: HuggingFaceModel) -> tuple[MatchedTensor, ...]:
    """Return the tensors of a model as they are."""
    from palimpsest.lm.models.huggingface import stored_weights

    tensors = stored_weights(model.checkpoint).tensors
    return tuple(MatchedTensor(name, each, None, InFile(each), 0) for name, each in tensors.items())


def shown(shape: Sequence[int]) -> str:
    """Return a shape as messages have it.

    Example:
        >>> shown((3, 4)), shown(())
        ('3 × 4', 'a single number')
    """
    return " × ".join(f"{size:,}" for size in shape) or "a single number"


class BaseNames:
    """The base's tensors, found by the names that the tuned model's files use."""

    def __init__(self, tensors: Mapping[str, StoredTensor], *, is_tied: bool) -> None:
        self._tensors = tensors
        self._inner: dict[str, str] = {}
        for name in tensors:
            self._inner.setdefault(name.partition(".")[2], name)
        self.is_tied = is_tied
        self._used: set[str] = set()
        self.notes: list[str] = []

    def of(self, name: str) -> StoredTensor | None:
        """Return a tensor also where one of the two leaves the prefix (``model.``) out."""
        for found in (name, name.partition(".")[2], self._inner.get(name)):
            if found and found in self._tensors:
                self._used.add(found)
                return self._tensors[found]
        if self.is_tied and is_head(name):
            found = next(filter(is_input_embedding, self._tensors), None)
            if found is not None:
                self.notes.append(
                    f"The base has no '{name}' of its own: its logits come from '{found}', which "
                    "is taken for both."
                )
                return self._tensors[found]
        return None

    def unused(self) -> Iterator[tuple[str, StoredTensor]]:
        """Yield the tensors that nothing asked for."""
        yield from (item for item in self._tensors.items() if item[0] not in self._used)


def _left_over(names: BaseNames, tuned: HuggingFaceModel) -> Iterator[str]:
    for name, tensor in names.unused():
        # Where both are tied, a head in a file is a copy of the embeddings.
        is_copy = is_head(name) and names.is_tied and is_tied(tuned)
        if not _BUFFERS.search(name) and not is_copy:
            yield f"'{name}' {shown(tensor.shape)} is in the base alone"


def _fits(name: str, base: StoredTensor, tuned: StoredTensor) -> bool:
    if base.shape == tuned.shape:
        return True
    has_row_for_token = is_head(name) or is_input_embedding(name)
    return has_row_for_token and len(tuned.shape) > 0 and base.shape[1:] == tuned.shape[1:]


def _do_not_fit(
    base: HuggingFaceModel, tuned: HuggingFaceModel, problems: Sequence[str]
) -> UserError:
    more = len(problems) - _SHOWN
    listed = "; ".join(problems[:_SHOWN]) + (f"; and {more:,} more" if more > 0 else "")
    return UserError(
        f"The tensors of base '{base.spec}' and tuned '{tuned.spec}' do not belong together: "
        f"{listed}.",
        hint=_SAME_OTHERWISE,
    )


def is_tied(model: HuggingFaceModel) -> bool:
    """Return whether the embeddings that are read also give the logits."""
    config: Any = model.config
    inner = config.get_text_config(decoder=True)
    return bool(
        getattr(config, "tie_word_embeddings", False)
        or getattr(inner, "tie_word_embeddings", False)
    )


def _check_architectures(base: HuggingFaceModel, tuned: HuggingFaceModel) -> None:
    facts = [
        ", ".join(each.config.architectures or [each.config.model_type]) for each in (base, tuned)
    ]
    if facts[0] != facts[1]:
        raise UserError(
            f"Base '{base.spec}' is a {facts[0]} and tuned '{tuned.spec}' a {facts[1]}: weights of "
            "different architectures cannot be mixed.",
            hint=_SAME_OTHERWISE,
        )


def check_not_quantised(model: HuggingFaceModel, tensors: Mapping[str, StoredTensor]) -> None:
    """Refuse weights whose stored numbers are codes.

    Raises:
        UserError: The configuration says so, or a tensor is stored in eight bits.
    """
    import torch

    codes = {torch.int8, torch.uint8, torch.float8_e4m3fn, torch.float8_e5m2}
    first = next((name for name, each in tensors.items() if each.dtype in codes), None)
    said = getattr(model.config, "quantization_config", None)
    if said is None and first is None:
        return
    how = "" if first is None else f", such as '{first}' in {str(tensors[first].dtype)[6:]}"
    method = said.get("quant_method") if isinstance(said, dict) else None
    raise UserError(
        f"The weights of '{model.spec}' are quantised{f' ({method})' if method else ''}{how}: "
        "numbers between two codes mean nothing.",
        hint="Name the model before it was quantised, in bfloat16, float16 or float32.",
    )


def _vocabulary_notes(base: HuggingFaceModel, tuned: HuggingFaceModel) -> Iterator[str]:
    """Say which tokens the two do not share.

    Raises:
        UserError: Most rows of the embeddings stand for other tokens.
    """
    one, other = (
        {index: token for token, index in each.tokenizer.get_vocab().items()}
        for each in (base, tuned)
    )
    if one == other:
        return
    both = one.keys() & other.keys()
    renamed = sorted(index for index in both if one[index] != other[index])
    if len(renamed) > _MOST_RENAMED * len(both):
        index = renamed[0]
        raise UserError(
            f"The vocabularies differ: {len(renamed):,} of {len(both):,} tokens have another text "
            f"in the tuned model, such as number {index:,}, {one[index]!r} and {other[index]!r}.",
            hint="Rows of the embeddings must stand for the same tokens; name the base that it was "
            "tuned from.",
        )
    if renamed:
        yield (
            f"{len(renamed):,} tokens have another text in the tuned model, such as "
            f"{one[renamed[0]]!r}, which it calls {other[renamed[0]]!r}; their rows are mixed."
        )
    if added := sorted(other.keys() - one.keys()):
        yield f"The tuned model has {len(added):,} more tokens, such as {other[added[0]]!r}."
    if gone := sorted(one.keys() - other.keys()):
        yield f"The tuned model lacks {len(gone):,} tokens of the base, such as {one[gone[0]]!r}."


_IRRELEVANT = {
    "_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype", "use_cache",
    "bos_token_id", "eos_token_id", "pad_token_id", "vocab_size", "attention_dropout",
    "hidden_dropout", "resid_pdrop", "embd_pdrop", "attn_pdrop", "initializer_range",
    "tie_word_embeddings", "id2label", "label2id", "_attn_implementation_autoset",
}  # fmt: skip
"""What a configuration may say differently without another function of the same weights."""


def different_settings(base: HuggingFaceModel, tuned: HuggingFaceModel) -> list[str]:
    """Return the settings by which the same weights would be another function."""
    one, other = (each.config.to_dict() for each in (base, tuned))
    names = (one.keys() | other.keys()) - _IRRELEVANT
    return sorted(name for name in names if one.get(name) != other.get(name))


def _configuration_notes(base: HuggingFaceModel, tuned: HuggingFaceModel) -> Iterator[str]:
    one, other = (each.config.to_dict() for each in (base, tuned))
    for name in different_settings(base, tuned):
        yield (
            f"The configurations differ in {name} ({one.get(name)!r} and {other.get(name)!r}); "
            "mixtures have the tuned model's."
        )


def _row_notes(tensors: Sequence[MatchedTensor]) -> Iterator[str]:
    for each in tensors:
        if each.base is None or each.base.shape == each.tuned.shape:
            continue
        n_base, n_tuned = each.base.shape[0], each.tuned.shape[0]
        yield (
            f"'{each.name}' has {n_base:,} rows in the base and {n_tuned:,} in the tuned model: "
            + (
                f"the last {n_tuned - n_base:,} are the tuned model's in every mixture."
                if n_tuned > n_base
                else f"mixtures leave out the last {n_base - n_tuned:,}, as the tuned model does."
            )
        )
