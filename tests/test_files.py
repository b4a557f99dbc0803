import io
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.files import read_stream, read_text


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
