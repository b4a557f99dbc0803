import hashlib
import io
import os
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.files import (
    digest,
    digest_json,
    json_lines,
    read_bytes,
    read_stream,
    read_text,
    read_toml,
    sha256_of,
    write_whole,
)


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\n")
    assert read_text(path, most_bytes=100) == "a\nb\n"


def test_a_long_file_is_not_read_to_its_end() -> None:
    stream = io.BytesIO(b"x" * 1000)
    with pytest.raises(UserError, match="Standard input has more than 10 bytes"):
        read_stream(stream, "standard input", most_bytes=10)
    assert stream.tell() == 11


def test_a_file_of_just_the_allowed_length_is_read() -> None:
    assert read_stream(io.BytesIO(b"x" * 10), "it", most_bytes=10) == "x" * 10


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 2**20)
    assert len(read_bytes(path, most_bytes=2**20)) == 2**20
    with pytest.raises(UserError, match="has 1 MiB; at most 0 MiB are read"):
        read_bytes(path, most_bytes=2**18)


def test_lines_of_json_come_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n{"a": 2}\n[')
    lines = json_lines(path)
    assert [next(lines), next(lines)] == [
        (f"{path}, line 1", {"a": 1}),
        (f"{path}, line 3", {"a": 2}),
    ]
    with pytest.raises(UserError, match=r"line 4: not JSON: .* the file may be cut off"):
        next(lines)


def test_a_toml_file_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    with pytest.raises(UserError, match="There is no file"):
        read_toml(path)
    path.write_text("a = 1")
    assert read_toml(path) == {"a": 1}
    for content in (b"a =", b"\xff"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is no TOML file"):
            read_toml(path)


def test_the_hash_of_files_is_that_of_their_content(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(path.name.encode() * 2**20)
    whole = b"".join(path.read_bytes() for path in paths)
    assert sha256_of(*paths) == hashlib.sha256(whole).hexdigest()
    assert digest(whole) == sha256_of(*paths)[:16]


def test_fingerprints_stay_what_they_were() -> None:
    # By sha256sum of the JSON text; answers that are kept are found by such values.
    assert digest_json(["a", {"b": 1, "a": "é"}]) == digest('["a", {"a": "\\u00e9", "b": 1}]')
    assert digest("palimpsest") == hashlib.sha256(b"palimpsest").hexdigest()[:16]


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    write_whole(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"old"
