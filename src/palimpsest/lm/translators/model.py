"""The translator ``model``: a language model that is asked to translate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock

from palimpsest.lm.models import Generation, LanguageModel, load_model, parse_model_spec
from palimpsest.lm.translators.languages import english_name
from palimpsest.lm.translators.translator import TranslationError, Translator
from palimpsest.specs import Spec

PROMPT = """\
Translate the text from {source} into {target}. \
Write the translation alone, on one line. Keep every number, name and ⟦mark⟧ as it is.

{source}: {text}
{target}:"""
"""What the model is asked. Models that only continue texts understand it as well."""

_PROMPT_VERSION = 1
"""Part of the fingerprint. Raise it with every change of :data:`PROMPT`."""

_N_AT_ONCE = 64


class ModelTranslator:
    """A language model that is asked to translate.

    An answer that does not come to an end is no translation, and becomes the empty string.

    Args:
        model: The spec of a model back end.
    """

    def __init__(self, model: str) -> None:
        self.spec = f"model:{model}"
        self._name = model
        self._lock = Lock()
        self._model: LanguageModel | None = None

    def version(self, source: str, target: str) -> str:
        """Return the model's fingerprint, and the number of the prompt."""
        return f"{self._open().fingerprint} prompt {_PROMPT_VERSION}"

    def describe(self, source: str, target: str) -> Mapping[str, str]:
        """Return the model and its fingerprint."""
        return {
            "translator": self.spec,
            "version": self.version(source, target),
            "licence": "the model's own",
        }

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Return what the model says, up to the end of a line."""
        model = self._open()
        names = {"source": english_name(source), "target": english_name(target)}
        answers: list[str] = []
        for start in range(0, len(texts), _N_AT_ONCE):
            batch = texts[start : start + _N_AT_ONCE]
            prompts = [PROMPT.format(**names, text=text) for text in batch]
            with self._lock:  # a model answers one call at a time
                said = dict(model.generate(prompts, max_new_tokens=_enough(batch), stop=["\n"]))
            if len(said) != len(batch):
                raise TranslationError(
                    f"The model '{self._name}' gave {len(said)} answers to {len(batch)} texts.",
                    hint="Try it by itself: palimpsest prompt --model MODEL TEXT",
                )
            answers += [_translation(said[place]) for place in range(len(batch))]
        return answers

    def close(self) -> None:
        """Free the model's memory."""
        with self._lock:
            if self._model is not None:
                self._model.close()
                self._model = None

    def _open(self) -> LanguageModel:
        with self._lock:
            if self._model is None:
                self._model = load_model(self._name)
            return self._model


def _enough(texts: Sequence[str]) -> int:
    """Return how many tokens a translation may have: twice as many as the longest has letters."""
    return 32 + 2 * max(map(len, texts))


def _translation(said: Generation) -> str:
    return "" if said.finish == "length" else said.text.strip()


def load(spec: Spec) -> Translator:
    """A language model that is asked to translate, such as model:hf:./m,dtype=bfloat16."""
    if not spec.target:
        raise TranslationError(
            "The translator 'model' needs the model to ask.",
            hint="Name it as elsewhere, such as: translate:de@model:hf:./m",
        )
    options = "".join(f",{key}={value}" for key, value in spec.options.items())
    parse_model_spec(spec.target + options)
    return ModelTranslator(spec.target + options)
