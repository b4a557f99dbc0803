"""Files of a checkpoint, on disk or on the Hub: what is wrong with them, and their fingerprint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from palimpsest.errors import UserError, did_you_mean
from palimpsest.files import digest_json, parse_json, read_bytes, sha256_of
from palimpsest.lm.models.huggingface.gguf import converted, quantisation_of

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "chat_template.jinja",
    "chat_template.json",
)
_VOCABULARIES = tuple(name for name in TOKENIZER_FILES if not name.startswith(("chat", "spec")))
_SMALL_FILES = ("*.json", "*.txt", "*.model", "*.spm", "*.jinja")


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a model or an adapter, and the files of it that count."""

    name: str
    """The path or id, as the user wrote it."""

    folder: Path
    """Where the files are."""

    revision: str
    """The hub's commit, or ``local``."""

    weights: tuple[Path, ...]
    """The weight files, all present."""

    pickled: bool
    """Whether the weights are pickle files."""

    code: bool
    """Whether Python code in the folder may run."""

    quantisation: str = ""
    """What the weights were quantised to before they were written in full, such as ``Q4_K_M``."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The weights, the configuration and tokenizer files, and the code if it may run."""
        names = ["config.json", "generation_config.json", "adapter_config.json"]
        paths = [path for path in (self.folder / name for name in names) if path.is_file()]
        code = sorted(self.folder.glob("*.py")) if self.code else []
        return (*self.weights, *paths, *self.tokenizer_files, *code)

    @property
    def tokenizer_files(self) -> tuple[Path, ...]:
        """The files of the tokenizer and its templates."""
        paths = (self.folder / name for name in TOKENIZER_FILES)
        return tuple(path for path in paths if path.is_file())

    @property
    def has_tokenizer(self) -> bool:
        """Whether a tokenizer's files lie beside the weights."""
        return any((self.folder / name).is_file() for name in _VOCABULARIES)


def find_model(name: str, *, revision: str | None, pickle: bool, code: bool) -> Checkpoint:
    """Return the model called ``name``, a folder, a GGUF file or a hub id, with its files checked.

    Raises:
        UserError: It is missing, is no model, or has only weights that may not be opened.
    """
    if (file := Path(name).expanduser()).suffix == ".gguf" and file.is_file():
        folder, commit = converted(file).folder, "local"
    else:
        folder, commit = _folder_of(name, revision=revision, code=code)
    # Beside an adapter's configuration, transformers would load the model that this one names.
    if (folder / "adapter_config.json").is_file() or not (folder / "config.json").is_file():
        raise _no_model(name, folder)
    found = _with_weights(name, folder, commit, _WEIGHTS, pickle=pickle, code=code)
    return replace(found, quantisation=quantisation_of(folder))


def find_adapter(name: str, *, pickle: bool, code: bool) -> Checkpoint:
    """Return the PEFT adapter called ``name``, a folder or a hub id, with its files checked.

    Raises:
        UserError: It is missing, is no adapter, or has only weights that may not be opened.
    """
    folder, commit = _folder_of(name, revision=None, code=False)
    if not (folder / "adapter_config.json").is_file():
        raise UserError(
            f"The adapter '{name}' has no adapter_config.json, so it is no PEFT adapter.",
            hint="A whole fine-tuned model needs no adapter= option: give its path as the model.",
        )
    return _with_weights(name, folder, commit, _ADAPTER_WEIGHTS, pickle=pickle, code=code)


def read_json(path: Path) -> dict[str, object]:
    """Return the object in a JSON file of a checkpoint.

    Raises:
        UserError: The file is not JSON, or holds something else.
    """
    value = parse_json(read_bytes(path), f"The file '{path}'", hint="Copy the checkpoint anew.")
    if not isinstance(value, dict):
        raise UserError(f"The file '{path}' holds no JSON object.", hint="Copy it anew.")
    return value


def hash_files(paths: Sequence[Path]) -> Mapping[str, str]:
    """Return the SHA-256 of every file by its name; the whole of each file is read."""
    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        return dict(zip((path.name for path in paths), pool.map(sha256_of, paths), strict=True))


class Fingerprint:
    """A hash of files by their content, whatever their place, and of settings.

    Args:
        checkpoints: By the part they play.
        settings: Whatever else changes answers, JSON-serialisable.
    """

    def __init__(
        self, checkpoints: Mapping[str, Checkpoint], settings: Mapping[str, object]
    ) -> None:
        files = {part: checkpoint.files for part, checkpoint in checkpoints.items()}
        self._paths = [path for paths in files.values() for path in paths]
        self._states = self._look()
        hashes = {part: hash_files(paths) for part, paths in files.items()}
        self.text = digest_json([hashes, settings])

    def holds(self) -> bool:
        """Tell by size and time whether the files are still those that were hashed."""
        return self._look() == self._states

    def _look(self) -> list[tuple[int, int] | None]:
        return [_state(path) for path in self._paths]


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:  # it is gone
        return None
    return status.st_size, status.st_mtime_ns


def _folder_of(name: str, *, revision: str | None, code: bool) -> tuple[Path, str]:
    path = Path(name).expanduser()
    if path.is_dir():
        if revision is not None:
            raise UserError(
                f"The option revision={revision} is for the Hub, but '{name}' is a folder.",
                hint="Leave it out.",
            )
        return path, "local"
    if path.is_file():
        raise UserError(
            f"The model '{name}' is a file; expected a folder with config.json and weights, or a "
            "GGUF file (NAME.gguf).",
            hint=f"Give the folder: {path.parent}",
        )
    if _is_path_like(name):
        raise UserError(
            f"No model at '{name}': there is no such folder.{_near(path)}",
            hint="Expected a folder with config.json, *.safetensors and a tokenizer, or a hub id.",
        )
    folder = _fetch(name, revision, [*_SMALL_FILES, *(["*.py"] if code else [])])
    return folder, folder.name  # the hub's cache names a snapshot by its commit


def _is_path_like(name: str) -> bool:
    """Tell paths from hub ids (``name`` or ``owner/name``); an existing parent means a path."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name, re.ASCII) or name.startswith("."):
        return True
    return "/" in name and Path(name).parent.is_dir()


def _near(path: Path) -> str:
    try:
        siblings = [entry.name for entry in path.parent.iterdir() if entry.is_dir()]
    except OSError:
        return ""
    return did_you_mean(path.name, siblings)


def _no_model(name: str, folder: Path) -> UserError:
    if (folder / "adapter_config.json").is_file():
        base = read_json(folder / "adapter_config.json").get("base_model_name_or_path") or "BASE"
        return UserError(
            f"'{name}' is a PEFT adapter, not a whole model.",
            hint=f"Name the model that it adapts: hf:{base},adapter={name} "
            "(if a whole model lies there as well, move the adapter's files elsewhere).",
        )
    inner = sorted(path.parent for path in folder.glob("*/config.json"))
    found = f" Did you mean '{inner[-1]}'?" if inner else ""
    return UserError(
        f"The folder '{name}' has no config.json, so it holds no model.{found}",
        hint="Expected what model.save_pretrained(folder) writes.",
    )


def _with_weights(
    name: str, folder: Path, commit: str, names: tuple[str, str], *, pickle: bool, code: bool
) -> Checkpoint:
    safe, pickled = names
    for plain in names:
        files = _weight_files(name, folder, commit, plain)
        if files and plain == pickled and not pickle:
            raise UserError(
                f"The model '{name}' has only pickle weights ({files[0].name}), "
                "which can run code when they are opened.",
                hint="If you trust them, add the option pickle=true; "
                "or convert them to safetensors: model.save_pretrained(folder)",
            )
        if files:
            if plain == safe:
                _check_safetensors(files)
            return Checkpoint(name, folder, commit, files, plain == pickled, code)
    raise UserError(
        f"The model '{name}' has no weights: neither {safe} nor {safe}.index.json.",
        hint="Expected what model.save_pretrained(folder) writes.",
    )


def _weight_files(name: str, folder: Path, commit: str, plain: str) -> tuple[Path, ...]:
    """Return the single weight file, or the shards that the index names, fetched if need be."""
    index = folder / f"{plain}.index.json"
    wanted = [plain]
    if index.is_file():
        table = read_json(index).get("weight_map")
        wanted = sorted(set(table.values())) if isinstance(table, dict) else []
    if commit != "local":
        _fetch(name, commit, wanted)
    missing = [file for file in wanted if not (folder / file).is_file()]
    if index.is_file() and (missing or not wanted):
        raise UserError(
            f"The model '{name}' lacks {len(missing)} of the {len(wanted)} weight files "
            f"that {index.name} lists{f', such as {missing[0]}' if missing else ''}.",
            hint="Copy or download the checkpoint again.",
        )
    return () if missing else tuple(folder / file for file in wanted)


def _check_safetensors(paths: Iterable[Path]) -> None:
    from safetensors import SafetensorError, safe_open

    for path in paths:
        try:
            # Opening reads the header and compares it with the file's length.
            with safe_open(path, framework="numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"The weight file '{path}' is damaged: {error}.",
                hint="Copy or download it again; an interrupted copy is the usual reason.",
            ) from error


def _fetch(name: str, revision: str | None, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RevisionNotFoundError

    from palimpsest.lm.models.huggingface.quiet import quietly

    try:
        with quietly():
            return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except GatedRepoError as error:
        raise UserError(
            f"The model '{name}' is gated on the Hugging Face Hub.",
            hint=f"Ask for access at https://huggingface.co/{name}, then run: hf auth login",
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"The model '{name}' has no revision '{revision}'.",
            hint="Give a branch, a tag or a commit of its repository.",
        ) from error
    except (HFValidationError, OSError, RuntimeError, ValueError) as error:
        reason, hint = _why(error)
        raise UserError(
            f"No model '{name}': there is no such folder, and as an id of the Hugging Face Hub "
            f"{reason}.{_near(Path(name))}",
            hint=hint,
        ) from error


def _why(error: Exception) -> tuple[str, str]:
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    if isinstance(error, RepositoryNotFoundError):
        return "it is unknown", "Check the spelling; a private model needs: hf auth login"
    if constants.HF_HUB_OFFLINE:
        return (
            "it is not in the cache while HF_HUB_OFFLINE is set",
            "Unset HF_HUB_OFFLINE to download it, or give a folder.",
        )
    if isinstance(error, LocalEntryNotFoundError):
        return (
            "it is not in the cache, and the Hub cannot be reached",
            "Check the connection, or give a folder.",
        )
    return f"it failed ({type(error).__name__})", "Check the spelling, or give a folder."
