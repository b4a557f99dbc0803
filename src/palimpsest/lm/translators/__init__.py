"""Translation between human languages, by whatever program or service is at hand."""

from typing import TYPE_CHECKING

from palimpsest.faces import lazy_face

if TYPE_CHECKING:
    from palimpsest.lm.translators.apertium import Apertium
    from palimpsest.lm.translators.cache import is_unchanged, translate_cached
    from palimpsest.lm.translators.languages import (
        base_language,
        canonical,
        checked,
        english_name,
        is_language,
    )
    from palimpsest.lm.translators.sentences import split_long
    from palimpsest.lm.translators.translator import (
        TRANSLATORS,
        TranslationError,
        Translator,
        load_translator,
    )

__all__ = [
    "TRANSLATORS", "Apertium", "TranslationError", "Translator", "base_language", "canonical",
    "checked", "english_name", "is_language", "is_unchanged", "load_translator", "split_long",
    "translate_cached",
]  # fmt: skip

lazy_face(globals())
