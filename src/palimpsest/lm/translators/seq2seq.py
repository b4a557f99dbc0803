"""The translator ``seq2seq``: Marian, NLLB, M2M100 and mBART checkpoints, by transformers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import RLock
from typing import TYPE_CHECKING, Any

from palimpsest.errors import MissingExtraError, UserError
from palimpsest.files import digest
from palimpsest.lm.translators.languages import Codes, base_language, codes_of
from palimpsest.lm.translators.sentences import split_long
from palimpsest.lm.translators.translator import TranslationError, Translator
from palimpsest.specs import Spec

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from palimpsest.lm.models.huggingface import Checkpoint

_DEFAULT_LIMIT = 512
_DEFAULT_BATCH = 16
_MOST_NEW_TOKENS = 1024

_HINT = "Check that it loads with transformers' AutoModelForSeq2SeqLM.from_pretrained."


@dataclass(frozen=True)
class Seq2SeqSettings:
    """How a model is run."""

    device: str = "auto"
    dtype: str = "float32"
    batch: int = _DEFAULT_BATCH
    """Texts of one call."""

    beams: int | None = None
    """Beam width; by default what the checkpoint says."""


class Seq2Seq:
    """An encoder-decoder checkpoint, and perhaps another one for the way back.

    Only safetensors are opened, and no code of a checkpoint runs. Long text is cut at sentences. A
    translation that does not come to an end within the model's limits becomes the empty string.

    Args:
        name: A folder, or an id on the Hub.
        back: The checkpoint for the opposite direction, where one has only one (Marian).
        settings: How both are run.
        spec: What the user typed.
    """

    def __init__(
        self,
        name: str,
        *,
        back: str | None = None,
        settings: Seq2SeqSettings | None = None,
        spec: str | None = None,
    ) -> None:
        self.spec = spec or f"seq2seq:{name}"
        settings = settings or Seq2SeqSettings()
        self._models = [_Model(each, settings) for each in (name, back) if each is not None]

    def version(self, source: str, target: str) -> str:
        """Return a hash of weights, configuration, tokenizer and the way of decoding."""
        return self._model(source, target).version

    def describe(self, source: str, target: str) -> Mapping[str, str]:
        """Return the checkpoint, its hash and architecture."""
        model = self._model(source, target)
        return {
            "translator": self.spec,
            "version": model.version,
            "architecture": model.architecture,
            "licence": f"see the model card of {model.name}",
        }

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Return the translation of every text."""
        return self._model(source, target).translate(texts, source, target)

    def close(self) -> None:
        """Free the memory."""
        for model in self._models:
            model.close()

    def _model(self, source: str, target: str) -> _Model:
        """Return the model that translates in this direction.

        Raises:
            TranslationError: None does.
        """
        refusals = []
        for model in self._models:
            try:
                model.codes.pair(source, target)
            except TranslationError as error:
                refusals.append(error)
            else:
                return model
        raise refusals[-1]


class _Model:
    """One checkpoint, opened when it is needed."""

    def __init__(self, name: str, settings: Seq2SeqSettings) -> None:
        self.name = name
        self._settings = settings
        self._lock = RLock()
        self._network: PreTrainedModel | None = None

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        from palimpsest.lm.models.huggingface import find_model

        checkpoint = find_model(self.name, revision=None, pickle=True, code=False)
        if checkpoint.pickled:
            raise TranslationError(
                f"The model '{self.name}' has only pickle weights, which can run code when they "
                "are opened.",
                hint="Convert them where you trust them: model.save_pretrained(folder)",
            )
        return checkpoint

    @cached_property
    def version(self) -> str:
        """A hash of every file that matters, and of the settings that change the text."""
        from palimpsest.lm.models.huggingface import hash_files

        checkpoint = self._checkpoint
        files = list(checkpoint.files)
        files += sorted(checkpoint.folder.glob("*.spm"))
        parts = [f"{name} {digest}" for name, digest in sorted(hash_files(files).items())]
        parts += [f"beams {self._settings.beams}", f"dtype {self._settings.dtype}"]
        return digest("\n".join(parts))

    @cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        from palimpsest.lm.models.huggingface import explained

        with explained(f"The configuration of '{self.name}'", _HINT, TranslationError):
            config = AutoConfig.from_pretrained(
                self._checkpoint.folder, local_files_only=True, trust_remote_code=False
            )
        if not config.is_encoder_decoder:
            raise TranslationError(
                f"The model '{self.name}' ({config.model_type}) is no encoder-decoder.",
                hint=f"A model that continues texts is asked by: model:hf:{self.name}",
            )
        return config

    @property
    def architecture(self) -> str:
        """What transformers calls it."""
        return str(self._config.model_type)

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        from transformers import AutoTokenizer

        from palimpsest.lm.models.huggingface import explained

        with explained(f"The tokenizer of '{self.name}'", _HINT, TranslationError):
            try:
                tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
                    self._checkpoint.folder, local_files_only=True, trust_remote_code=False
                )
            except ImportError as error:
                package = error.name or "sentencepiece"
                raise MissingExtraError(
                    "Tokenizers of Marian models", package=package, extra="seq2seq"
                ) from error
        return tokenizer

    @cached_property
    def codes(self) -> Codes:
        """The languages, and what the model calls them."""
        with self._lock:
            return codes_of(self.name, self._config.model_type, self._tokenizer)

    @cached_property
    def _limit(self) -> int:
        """The most tokens of a text or of its translation."""
        positions = getattr(self._config, "max_position_embeddings", None) or _DEFAULT_LIMIT
        return int(min(positions, self._tokenizer.model_max_length, _MOST_NEW_TOKENS)) - 2

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Return the translation of every text, part by part where it is long."""
        with self._lock:
            pair = self.codes.pair(source, target)
            parts = [self._parts(text, pair.prefix) for text in texts]
            flat = sorted({part for each in parts for part in each}, key=lambda text: -len(text))
            done: dict[str, str] = {}
            for start in range(0, len(flat), self._settings.batch):
                batch = flat[start : start + self._settings.batch]
                done.update(zip(batch, self._generate(batch, pair), strict=True))
        separator = "" if base_language(target) in {"zh", "ja", "th", "lo", "km", "my"} else " "
        return [
            separator.join(done[part] for part in each) if all(done[part] for part in each) else ""
            for each in parts
        ]

    def _parts(self, text: str, prefix: str) -> list[str]:
        """Return the text in parts that the model can read."""

        def size(part: str) -> int:
            return len(self._tokenizer(prefix + part, add_special_tokens=True)["input_ids"])

        return [part.strip() for part in split_long(text, most=self._limit, size=size)]

    def _generate(self, texts: Sequence[str], pair: Any) -> list[str]:
        import torch

        network, tokenizer = self._open(), self._tokenizer
        if pair.source is not None:
            tokenizer.src_lang = pair.source
        encoded: Any = tokenizer(
            [pair.prefix + text for text in texts],
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=self._limit + 2,
        ).to(network.device)
        n_new = min(self._limit, 2 * encoded["input_ids"].shape[1] + 32)
        options: dict[str, Any] = {"max_new_tokens": n_new, "do_sample": False}
        if self._settings.beams is not None:
            options["num_beams"] = self._settings.beams
        if pair.target_id is not None:
            options["forced_bos_token_id"] = pair.target_id
        with torch.inference_mode():
            rows = network.generate(**encoded, **options)  # type: ignore[operator]
        # The first token is the decoder's start, and the next the language where one is forced.
        rows = rows[:, 1 if pair.target_id is None else 2 :]
        ends = torch.tensor(_end_tokens(network, tokenizer), device=rows.device)
        # At the limit some configurations force an end token: such a text is cut off all the same.
        whole = torch.isin(rows[:, : n_new - 1], ends).any(dim=1).tolist()
        decoded = tokenizer.batch_decode(rows, skip_special_tokens=True)
        return [text.strip() if ended else "" for text, ended in zip(decoded, whole, strict=True)]

    def _open(self) -> PreTrainedModel:
        from transformers import AutoModelForSeq2SeqLM

        from palimpsest.lm.models.huggingface import (
            DTYPES,
            broken_weight,
            check_complete,
            choose_device,
            explained,
        )

        if self._network is None:
            with explained(f"The model '{self.name}'", _HINT, TranslationError):
                network, report = AutoModelForSeq2SeqLM.from_pretrained(
                    self._checkpoint.folder,
                    config=self._config,
                    dtype=DTYPES[self._settings.dtype],
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    output_loading_info=True,
                )
            check_complete(self.name, report, TranslationError)
            if (weight := broken_weight(network)) is not None:
                raise TranslationError(
                    f"The model '{self.name}' cannot translate: NaN or infinity in {weight}.",
                    hint="Copy the checkpoint anew.",
                )
            self._network = network.to(choose_device(self._settings.device)).eval()
            # Whatever length the checkpoint suggests, ours is the one that counts.
            self._network.generation_config.max_length = None
        return self._network

    def close(self) -> None:
        """Free the memory."""
        with self._lock:
            self._network = None


def _end_tokens(network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    ends = network.generation_config.eos_token_id
    found = ends if isinstance(ends, list) else [ends]
    return [end for end in (*found, tokenizer.eos_token_id) if end is not None]


def load(spec: Spec) -> Translator:
    """A Marian, NLLB, M2M100 or mBART checkpoint: seq2seq:PATH_OR_ID,back=PATH_OR_ID."""
    spec.allow(["back", "device", "dtype", "batch", "beams"])
    if not spec.target:
        raise UserError(
            "The translator 'seq2seq' needs a checkpoint.",
            hint="Name a folder or an id on the Hub, such as: translate:fr@seq2seq:./nllb",
        )
    dtype = spec.options.get("dtype", "float32")
    if dtype not in {"float32", "float16", "bfloat16"}:
        raise UserError(f"No dtype named '{dtype}'.", hint="Use float32, float16 or bfloat16.")
    settings = Seq2SeqSettings(
        device=spec.options.get("device", "auto"),
        dtype=dtype,
        batch=spec.count("batch", _DEFAULT_BATCH, most=1024),
        beams=spec.count("beams", 1, most=64) if "beams" in spec.options else None,
    )
    return Seq2Seq(spec.target, back=spec.options.get("back"), settings=settings, spec=spec.text)
