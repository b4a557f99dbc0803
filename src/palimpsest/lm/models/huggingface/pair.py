"""Differences between base and tuned model besides their weights, and what follows from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.lm.models.protocol import LanguageModel

if TYPE_CHECKING:
    from palimpsest.lm.models.huggingface.model import HuggingFaceModel

_PROBE = "Repeat: 12 + 7 = 19. Où est le garçon? ¿Qué? Größe. \n\tdef f(x): 😀 שלום 日本"
_SHOWN = 3


def check_pair(base: LanguageModel, tuned: LanguageModel) -> list[str]:
    """Return one sentence for everything that a reader of the comparison has to know.

    Different vocabularies do not forbid it: prompts and answers are text. An empty list means
    that nothing but the weights seems to differ.
    """
    if base.fingerprint == tuned.fingerprint:
        return [
            f"Base '{base.spec}' and tuned '{tuned.spec}' are the same model: "
            "every difference will be zero."
        ]
    from palimpsest.lm.models.huggingface.model import HuggingFaceModel  # loads torch

    if not (isinstance(base, HuggingFaceModel) and isinstance(tuned, HuggingFaceModel)):
        return []
    return [
        *_vocabularies(base.tokenizer.get_vocab(), tuned.tokenizer.get_vocab()),
        *_segmentation(base.tokenizer.encode(_PROBE), tuned.tokenizer.encode(_PROBE)),
        *_facts(base, tuned),
        *_templates(base, tuned),
    ]


def _vocabularies(base: dict[str, int], tuned: dict[str, int]) -> list[str]:
    if base == tuned:
        return []
    parts = []
    for where, one, other in (("base", base, tuned), ("tuned", tuned, base)):
        own = sorted((token for token in one if token not in other), key=one.__getitem__)
        if own:
            shown = ", ".join(map(repr, own[:_SHOWN])) + (", …" if len(own) > _SHOWN else "")
            parts.append(f"{len(own):,} only in {where}: {shown}")
    moved = sum(1 for token, index in base.items() if tuned.get(token, index) != index)
    if moved:
        parts.append(f"{moved:,} with another number")
    return [
        f"The vocabularies differ (base {len(base):,} tokens, tuned {len(tuned):,}; "
        f"{'; '.join(parts)}). Prompts and answers are text, so accuracies stay comparable; "
        "log-likelihoods are not comparable between the two models, and the limit on new tokens "
        "can cut their answers at different places."
    ]


def _segmentation(base: list[int], tuned: list[int]) -> list[str]:
    if len(base) == len(tuned):
        return []
    return [
        f"The tokenizers divide the same text differently ({len(base)} tokens for base, "
        f"{len(tuned)} for tuned, start token included): the same prompt takes a different share "
        "of the two contexts."
    ]


def _facts(base: HuggingFaceModel, tuned: HuggingFaceModel) -> list[str]:
    consequences = {
        "architecture": "check that this is the model that the tuned one was made from",
        "parameters": "check that this is the model that the tuned one was made from",
        "dtype": "rounding alone can change some answers; give both the same dtype= option",
        "device": "rounding alone can change some answers; give both the same device= option",
        "context": "a long prompt can fit into one and not into the other",
    }
    of_base, of_tuned = base.describe(), tuned.describe()
    return [
        f"The {fact} differs (base {of_base[fact]}, tuned {of_tuned[fact]}): {consequence}."
        for fact, consequence in consequences.items()
        if of_base[fact] != of_tuned[fact]
    ]


def _templates(base: HuggingFaceModel, tuned: HuggingFaceModel) -> list[str]:
    sentences = []
    if base.chat != tuned.chat:
        with_template = "base" if base.chat else "tuned"
        sentences.append(
            f"Only {with_template} has chat=true, so the two are sent different texts for the "
            "same plain prompt."
        )
    one, other = base.tokenizer.chat_template, tuned.tokenizer.chat_template
    if one != other:
        used = "" if base.chat or tuned.chat else " It matters only for prompts made of messages."
        if one and other:
            how = "The chat templates differ, so that the same messages become different texts."
        else:
            how = f"Only {'base' if one else 'tuned'} has a chat template."
        sentences.append(how + used)
    return sentences
