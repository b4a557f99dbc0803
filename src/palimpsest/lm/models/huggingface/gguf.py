"""GGUF files, converted once into a folder in Hugging Face format.

transformers reads the quantised weights back into float32 each time it opens such a file, which
takes a minute for a small model. The folder that comes of it is kept, and used again as long as its
files have the digests that were noted when it was written.
"""

from __future__ import annotations

import io
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, NamedTuple

from palimpsest.errors import UserError, from_extra
from palimpsest.files import check_file, opened, parse_json, read_bytes, sha256_of, write_whole
from palimpsest.lm.text_cache import CACHE_VARIABLE, cache_folder

RECORD = "conversion.json"
"""The file that says what a folder was converted from."""

_LOG = logging.getLogger("palimpsest.models")

_MAGIC = b"GGUF"
_FORMAT = 1
"""Of the conversion; another one is not used again."""


class Conversion(NamedTuple):
    """A folder that was made from a GGUF file."""

    folder: Path
    quantisation: str
    """As the file names it, such as ``Q4_K_M``."""


def converted(path: Path) -> Conversion:
    """Return the folder for a GGUF file, made now unless an earlier one is whole.

    Args:
        path: A file of one part.

    Raises:
        MissingExtraError: ``gguf`` is not installed.
        UserError: It is no GGUF file, is one part of several, or transformers cannot read it.
    """
    check_file(path)
    with opened(path) as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise UserError(
                f"The file '{path}' is no GGUF file: it does not begin with {_MAGIC.decode()}.",
                hint="Copy or download it again; an interrupted copy is the usual reason.",
            )
    cache = cache_folder()
    if cache is None:
        raise UserError(
            f"'{path}' has to be converted, but {CACHE_VARIABLE}=off lets nothing be kept.",
            hint="Unset it, or let it name a folder with room for the weights in float32.",
        )
    source = sha256_of(path)
    folder = cache / "gguf" / source
    if (quantisation := _kept(folder)) is None:
        quantisation = _convert(path, folder, source)
    return Conversion(folder, quantisation)


def quantisation_of(folder: Path) -> str:
    """Return what the weights of a folder were quantised to before; nothing if that is not said."""
    record = _record(folder)
    return str(record.get("quantisation", "")) if record else ""


def _record(folder: Path) -> Mapping[str, Any] | None:
    path = folder / RECORD
    if not path.is_file():
        return None
    value = parse_json(read_bytes(path), f"The file '{path}'", hint="Delete its folder.")
    return value if isinstance(value, dict) else None


def _kept(folder: Path) -> str | None:
    """Return the quantisation if a folder is whole and as it was written."""
    record = _record(folder)
    if record is None or record.get("format") != _FORMAT:
        return None
    digests = record.get("files")
    if not isinstance(digests, dict) or not digests:
        return None
    for name, digest in digests.items():
        path = folder / Path(name).name
        if not path.is_file() or sha256_of(path) != digest:
            return None
    return str(record["quantisation"])


def _convert(path: Path, folder: Path, source: str) -> str:
    """Write the folder under a temporary name beside its own, and rename it when it is whole."""
    quantisation = _read_quantisation(path)
    _LOG.warning(
        "Converting %s (%s, dequantised to float32) once, into %s", path.name, quantisation, folder
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
    try:
        _write(path, temporary)
        record = {
            "format": _FORMAT,
            "source": path.name,
            "source_sha256": source,
            "quantisation": quantisation,
            "files": {each.name: sha256_of(each) for each in sorted(temporary.iterdir())},
        }
        write_whole(temporary / RECORD, json.dumps(record, indent=1).encode())
        if folder.exists():  # of another format, or damaged
            shutil.rmtree(folder)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return quantisation


def _read_quantisation(path: Path) -> str:
    with from_extra("GGUF files", package="gguf", extra="gguf"):
        from gguf import GGUFReader, LlamaFileType

    try:
        fields = GGUFReader(path).fields
    except (ValueError, OSError, KeyError, IndexError) as error:
        raise UserError(
            f"The file '{path}' is damaged: {error}.",
            hint="Copy or download it again; an interrupted copy is the usual reason.",
        ) from error
    if "split.count" in fields and int(fields["split.count"].contents()) > 1:
        raise UserError(
            f"The file '{path}' is one part of a model in several GGUF files.",
            hint="Join them first: llama-gguf-split --merge FIRST_PART WHOLE.gguf",
        )
    if "general.file_type" not in fields:
        return "GGUF"
    number = int(fields["general.file_type"].contents())
    names = {int(each): each.name for each in LlamaFileType}
    return names.get(number, f"file type {number}").removeprefix("MOSTLY_").removeprefix("ALL_")


def _write(path: Path, folder: Path) -> None:
    """Let transformers open the file, and save model and tokenizer as it reads them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from palimpsest.lm.models.huggingface.loading import explained

    hint = "Expected a causal language model of a kind that transformers reads from GGUF."
    # Its bar of progress goes to standard error, whatever transformers is told.
    with explained(f"The model '{path}'", hint), redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        network: Any = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32
        )
        # What is saved is not quantised any more, and must not be opened as if it were.
        network.hf_quantizer = None
        if hasattr(network.config, "quantization_config"):
            del network.config.quantization_config
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
