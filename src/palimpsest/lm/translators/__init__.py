"""Translation between human languages, by whatever program or service is at hand."""

from palimpsest.lm.translators.translator import (
    TRANSLATORS,
    TranslationError,
    Translator,
    load_translator,
)

__all__ = ["TRANSLATORS", "TranslationError", "Translator", "load_translator"]
