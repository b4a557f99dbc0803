"""Translations that were made before are not asked for again."""

from __future__ import annotations

from collections.abc import Sequence

from palimpsest.lm.text_cache import TextCache, cache_key
from palimpsest.lm.translators.translator import TranslationError, Translator

_N_AT_ONCE = 256
"""Texts of one request: as many are lost at most if the process is killed."""


def translate_cached(
    translator: Translator,
    texts: Sequence[str],
    source: str,
    target: str,
    *,
    cache: TextCache,
) -> list[str]:
    """Return the translation of every text, asking only for what the cache does not have.

    Only translations that say something else than the text are kept, at once after each request.

    Raises:
        TranslationError: The translator failed, or gave something else than one text for each.
    """
    version = translator.version(source, target)
    keys = {text: cache_key(translator.spec, version, source, target, text) for text in texts}
    known = cache.get(keys.values())
    missing = [text for text, key in keys.items() if key not in known]
    for start in range(0, len(missing), _N_AT_ONCE):
        batch = missing[start : start + _N_AT_ONCE]
        answers = _asked(translator, batch, source, target)
        known.update(zip((keys[text] for text in batch), answers, strict=True))
        good = {
            keys[text]: answer
            for text, answer in zip(batch, answers, strict=True)
            if answer.strip() and not is_unchanged(text, answer)
        }
        cache.put(good)
    return [known[keys[text]] for text in texts]


def is_unchanged(text: str, translation: str) -> bool:
    """Return whether a translation is but the text, white space and case aside."""
    return text.split() == translation.split() or text.casefold() == translation.casefold()


def _asked(translator: Translator, texts: list[str], source: str, target: str) -> list[str]:
    answers = translator.translate(texts, source, target)
    if (
        not isinstance(answers, list)
        or len(answers) != len(texts)
        or not all(isinstance(answer, str) for answer in answers)
    ):
        raise TranslationError(
            f"The translator '{translator.spec}' did not give one text for each of {len(texts)}.",
            hint="Leave it out, or tell the authors of the plugin that provides it.",
        )
    return answers
