"""Members written to a folder, as checkpoints that are whole or not there at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palimpsest.errors import UserError
from palimpsest.families.mixing import mix_all
from palimpsest.files import TEMPORARY

if TYPE_CHECKING:
    import torch

    from palimpsest.families.matching import MatchedTensor
    from palimpsest.families.member import Member
    from palimpsest.lm.models.huggingface import Checkpoint, SafetensorsFile

_BESIDE = ("LICENSE*", "NOTICE*", "USE_POLICY*", "*processor_config.json")
"""What else is copied: terms of use must go with weights."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def write_checkpoint(
    directory: Path,
    *,
    member: Member,
    tensors: tuple[MatchedTensor, ...],
    config: Mapping[str, Any],
    files: tuple[SafetensorsFile, ...],
    weights_of: Checkpoint,
    tokenizer_of: Checkpoint,
    card: str,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write a member in the shards of the model that it is modelled on, with all that it needs.

    Everything goes into a folder of another name beside ``directory``, weights first and the
    configuration last, without which nothing opens a checkpoint. The folder is renamed when all of
    it has reached the disk.

    Args:
        directory: Must not exist.
        member: To be made.
        tensors: What it has.
        config: Of the tuned model.
        files: Whose headers, and so whose shards, it has.
        weights_of: Whose configuration it has.
        tokenizer_of: Whose tokenizer it has.
        card: Text of its ``README.md``.
        progress: Told the share that is done.

    Raises:
        UserError: The folder exists, the disk is full, or a number is not finite.
    """
    n_bytes = sum(file.n_bytes for file in files)
    with new_folder(directory, n_bytes=n_bytes) as folder:
        with ExitStack() as stack:
            descriptors = {
                file.path: stack.enter_context(_allotted(folder / file.path.name, file))
                for file in files
            }
            n_done = 0

            def put(matched: MatchedTensor, first: int, rows: torch.Tensor) -> None:
                nonlocal n_done
                place = matched.place
                start = place.start + first * place.row_numbers * place.dtype.itemsize
                data = _bytes_of(rows)
                _write_all(descriptors[place.path], data, start)
                n_done += len(data)
                if progress is not None:
                    progress(n_done / n_bytes)

            mix_all(member, tensors, config, put)
            for descriptor in descriptors.values():
                os.fsync(descriptor)
        for path in _files_beside(tokenizer_of, weights_of):
            _copy(path, folder / path.name)
        (folder / "README.md").write_text(card, "utf-8")
        # Last: a folder without it is no checkpoint to anybody.
        name = "adapter_config.json" if _is_adapter(weights_of) else "config.json"
        _copy(weights_of.folder / name, folder / name)


@contextmanager
def new_folder(directory: Path, *, n_bytes: int) -> Iterator[Path]:
    """Give an empty folder that takes the place of ``directory`` at the end of the block.

    Args:
        directory: Must not exist; its parents are made.
        n_bytes: How many will be written, about.

    Raises:
        UserError: There is something already, it cannot be written, or there is no room.
    """
    directory = directory.expanduser()
    if directory.exists() or directory.is_symlink():
        raise UserError(
            f"'{directory}' exists already; a model is never written over another.",
            hint="Name a folder that does not exist.",
        )
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}{TEMPORARY}")
    with _explained(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        _clear_rests(directory)
        free = shutil.disk_usage(directory.parent).free
        if free < n_bytes:
            raise UserError(
                f"The model takes {_gigabytes(n_bytes)}, and where '{directory}' would be, "
                f"{_gigabytes(free)} are free.",
                hint="Make room, or name a folder on another disk.",
            )
        temporary.mkdir()
        try:
            yield temporary
            _sync_folder(temporary)
            if directory.exists():
                raise UserError(
                    f"'{directory}' was made by somebody else meanwhile.",
                    hint="Name another folder.",
                )
            temporary.rename(directory)
            _sync_folder(directory.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Turn an error of the system about writing into a :class:`UserError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise UserError(
                f"The disk was full before '{directory}' was whole; nothing is left of it.",
                hint="Make room, or name a folder on another disk.",
            ) from error
        raise UserError(
            f"'{directory}' could not be written: {error.strerror or error}.",
            hint="Check the path and its permissions.",
        ) from error


def _clear_rests(directory: Path) -> None:
    """Remove what a process that was killed has left of the same folder."""
    for rest in directory.parent.glob(f".{directory.name}.*{TEMPORARY}"):
        process = rest.name.removesuffix(TEMPORARY).rpartition(".")[2]
        if process.isdecimal() and not _is_running(int(process)):
            shutil.rmtree(rest, ignore_errors=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@contextmanager
def _allotted(path: Path, like: SafetensorsFile) -> Iterator[int]:
    """Give a new file with a header and room for the numbers."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0))
    try:
        _write_all(descriptor, memoryview(like.header), 0)
        os.ftruncate(descriptor, like.n_bytes)
        yield descriptor
    finally:
        os.close(descriptor)


def _bytes_of(rows: torch.Tensor) -> memoryview:
    import torch

    flat = rows.contiguous().view(-1)
    return memoryview(flat.view(torch.uint8).numpy()).cast("B")  # type: ignore[arg-type]


def _write_all(descriptor: int, data: memoryview, start: int) -> None:
    while data:
        n_written = os.pwrite(descriptor, data, start)
        data, start = data[n_written:], start + n_written


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with target.open("rb+") as file:
        os.fsync(file.fileno())


def _files_beside(tokenizer_of: Checkpoint, weights_of: Checkpoint) -> Iterator[Path]:
    """Yield the files that make a checkpoint of weights, but for the configuration itself."""
    taken = {"README.md", "config.json", "adapter_config.json"}
    weights = {path.name for path in (*weights_of.weights, *tokenizer_of.weights)}
    for checkpoint in (weights_of, tokenizer_of):
        is_adapter = _is_adapter(checkpoint)
        beside = [path for name in _BESIDE for path in sorted(checkpoint.folder.glob(name))]
        if checkpoint is weights_of:
            beside += sorted(checkpoint.folder.glob("*.safetensors.index.json"))
        for path in (*checkpoint.files, *beside):
            is_tokenizers = path in checkpoint.tokenizer_files
            if path.name in taken | weights or (is_tokenizers and checkpoint is not tokenizer_of):
                continue
            if is_adapter is not _is_adapter(weights_of) and not is_tokenizers:
                continue
            taken.add(path.name)
            yield path


def _is_adapter(checkpoint: Checkpoint) -> bool:
    return (checkpoint.folder / "adapter_config.json").is_file()


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:,.1f} MB"
