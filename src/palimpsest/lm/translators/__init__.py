"""Translation between human languages, by whatever program or service is at hand."""

from palimpsest.lm.translators.protocol import TranslationError, Translator
from palimpsest.lm.translators.specs import TRANSLATORS, load_translator

__all__ = ["TRANSLATORS", "TranslationError", "Translator", "load_translator"]
