from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.suites.icl_vs_if import read_sentences, sentence_languages


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "en.txt").write_text("One.\nTwo.\nThree.\n")
    (tmp_path / "fr.txt").write_text("Un.\nDeux.\nTrois.\n")
    return tmp_path


def refusal(folder: Path, languages: tuple[str, ...] = ("en", "fr")) -> str:
    with pytest.raises(UserError) as caught:
        read_sentences(folder, languages)
    return str(caught.value)


def test_english_comes_first_and_other_files_are_left_alone(folder: Path) -> None:
    (folder / "de.txt").touch()
    (folder / "notes.md").touch()
    (folder / ".en.txt").touch()
    (folder / "old.txt").mkdir()

    assert sentence_languages(folder) == ("en", "de", "fr")


def test_only_the_files_of_the_languages_asked_for_are_read(folder: Path) -> None:
    (folder / "de.txt").write_bytes(b"\xff")

    sentences = read_sentences(folder, ["en", "fr"])

    assert sentences.lines == {"en": ("One.", "Two.", "Three."), "fr": ("Un.", "Deux.", "Trois.")}
    assert len(sentences) == 3


def test_how_an_editor_saves_the_file_does_not_matter(folder: Path) -> None:
    (folder / "en.txt").write_bytes(b"\xef\xbb\xbf One.\r\nTwo. \r\nThree.")
    (folder / "fr.txt").write_text("E\u0301te\u0301.\nDeux\x85.\nTrois\u2028.\n")

    sentences = read_sentences(folder, ["en", "fr"])

    assert sentences.lines["en"] == ("One.", "Two.", "Three.")
    assert sentences.lines["fr"] == ("Été.", "Deux\x85.", "Trois\u2028.")


def test_a_file_has_the_hash_that_sha256sum_prints(folder: Path) -> None:
    (folder / "en.txt").write_bytes(b"abc")

    # NIST's example for SHA-256, https://csrc.nist.gov/projects/cryptographic-standards
    assert read_sentences(folder, ["en"]).sha256 == {
        "en": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    }


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert f"No folder '{tmp_path / 'gone'}'" in refusal(tmp_path / "gone")


def test_english_must_be_there(folder: Path) -> None:
    (folder / "en.txt").unlink()
    assert "has no en.txt; it has: fr.txt." in refusal(folder)

    (folder / "fr.txt").unlink()
    assert "has no en.txt; it has: no .txt files." in refusal(folder)


def test_a_language_without_a_file_is_named(folder: Path) -> None:
    assert "has no nl.txt.\nIt has sentences in: en, fr." in refusal(folder, ("en", "nl"))


def test_files_must_have_as_many_lines_as_the_english_one(folder: Path) -> None:
    (folder / "fr.txt").write_text("Un.\n")

    expected = f"{folder}/fr.txt has 1 line, but {folder}/en.txt has 3 lines."
    assert expected in refusal(folder)


@pytest.mark.parametrize(
    ("content", "line"),
    [("\nDeux.\nTrois.\n", 1), ("Un.\n \t\nTrois.\n", 2), ("Un.\nDeux.\nTrois.\n\n", 4), ("", 1)],
)
def test_an_empty_line_is_named(folder: Path, content: str, line: int) -> None:
    (folder / "fr.txt").write_text(content)

    assert f"{folder / 'fr.txt'}, line {line}: empty." in refusal(folder)


def test_a_byte_that_is_not_utf8_is_named_with_its_line(folder: Path) -> None:
    (folder / "fr.txt").write_bytes("Un.\nDeux.\nTrois été.\n".encode("latin-1"))

    assert f"{folder / 'fr.txt'}, line 3: not UTF-8 (byte 0xe9)." in refusal(folder)


def test_an_unreadable_file_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Changed permissions would not stop root, who may run the tests.
    def refuse(path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("palimpsest.files.os.open", refuse)

    assert f"{folder / 'en.txt'} cannot be read: Permission denied." in refusal(folder)
