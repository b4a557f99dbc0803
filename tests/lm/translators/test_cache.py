import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.lm.translators.fakes import FakeTranslator, backwards, well_behaved

from palimpsest.lm.conjugations.translate import Translate
from palimpsest.lm.text_cache import TextCache, cache_path
from palimpsest.lm.translators.cache import translate_cached
from palimpsest.lm.translators.translator import TranslationError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "translations.sqlite"


def ask(
    translator: FakeTranslator, path: Path | None, *texts: str, target: str = "es"
) -> list[str]:
    cache = TextCache(path)
    answers = translate_cached(translator, texts, "en", target, cache=cache)
    cache.close()
    return answers


def test_what_was_translated_is_not_asked_again(path: Path) -> None:
    translator = well_behaved()
    assert ask(translator, path, "say it", "say this") == ["yas ti", "yas siht"]
    assert ask(translator, path, "say this", "or that", "say this") == [
        "yas siht",
        "ro taht",
        "yas siht",
    ]
    assert translator.requests == [["say it", "say this"], ["or that"]]


def test_another_version_or_language_is_another_translation(path: Path) -> None:
    ask(well_behaved(), path, "say it")
    newer = FakeTranslator(lambda text, _: "dilo", version="2")
    assert ask(newer, path, "say it") == ["dilo"]
    assert ask(FakeTranslator(lambda *_: "dis-le"), path, "say it", target="fr") == ["dis-le"]
    assert ask(well_behaved(), path, "say it") == ["yas ti"]


@pytest.mark.parametrize("answer", ["", "  ", "say it", "Say It", " say  it\n"])
def test_empty_and_unchanged_answers_are_not_kept(path: Path, answer: str) -> None:
    translator = FakeTranslator(lambda *_: answer)
    ask(translator, path, "say it")
    ask(translator, path, "say it")
    assert len(translator.requests) == 2


def test_nothing_of_a_failed_request_is_kept_but_all_before_it(path: Path) -> None:
    def rule(text: str, _: str) -> str:
        if text == "word 300":
            raise TranslationError("The fake failed.")
        return backwards(text, "")

    translator = FakeTranslator(rule)
    texts = [f"word {number}" for number in range(400)]
    with pytest.raises(TranslationError):
        ask(translator, path, *texts)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM translations").fetchone() == (256,)
    connection.close()


@pytest.mark.parametrize("answers", [[], ["a", "b", "c"], ["a", None], ("a", "b"), "ab"])
def test_a_translator_that_breaks_the_contract_is_an_error(answers: object) -> None:
    translator = well_behaved()
    translator.translate = lambda *_: answers  # type: ignore[method-assign,assignment]
    with pytest.raises(TranslationError, match="did not give one text for each of 2"):
        ask(translator, None, "one", "two")


def test_a_cache_may_be_absent() -> None:
    translator = well_behaved()
    assert ask(translator, None, "say it") == ask(translator, None, "say it")
    assert len(translator.requests) == 2
    assert TextCache(None).notes() == ()


def broken(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"this is no database" * 100)


def unwritable(path: Path) -> None:
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    path.parent.write_text("a file where the folder should be", "utf-8")


def other_table(path: Path) -> None:
    path.parent.mkdir(parents=True)
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE translations (something TEXT)")
    connection.close()


@pytest.mark.parametrize("spoil", [broken, unwritable, other_table])
def test_a_cache_that_cannot_be_used_costs_a_note_and_no_run(path: Path, spoil: object) -> None:
    spoil(path)  # type: ignore[operator]
    translator = well_behaved()
    cache = TextCache(path)
    conjugation = Translate(translator, target="es", cache=cache)
    assert conjugation.apply("say it") == "yas ti"
    [note] = conjugation.notes()
    assert str(path) in note
    assert "nothing is kept" in note
    assert conjugation.apply("say this") == "yas siht"


def test_only_the_user_can_read_it(path: Path) -> None:
    ask(well_behaved(), path, "say it")
    assert path.stat().st_mode & 0o077 == 0


def test_half_a_surrogate_pair_does_no_harm(path: Path) -> None:
    translator = FakeTranslator(lambda text, _: f"\udc00{text}")
    assert ask(translator, path, "\ud800 say") == ["\udc00\ud800 say"]
    assert TextCache(path).notes() == ()


def test_threads_share_a_cache(path: Path) -> None:
    cache = TextCache(path)
    translator = well_behaved()

    def work(number: int) -> list[str]:
        texts = [f"word {(number + step) % 30} here" for step in range(40)]
        answers = translate_cached(translator, texts, "en", "es", cache=cache)
        assert answers == [backwards(text, "") for text in texts]
        return answers

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert cache.notes() == ()
    cache.close()


WRITER = """
import sys
from pathlib import Path
from palimpsest.lm.text_cache import TextCache
cache = TextCache(Path(sys.argv[1]))
for number in range(100):
    cache.put({f"{sys.argv[2]} {number}".encode(): f"text {number}"})
assert cache.notes() == (), cache.notes()
"""


@pytest.mark.slow
def test_processes_share_a_cache(path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(number)])
        for number in range(4)
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    cache = TextCache(path)
    keys = [f"{writer} {number}".encode() for writer in range(4) for number in range(100)]
    assert len(cache.get(keys)) == 400
    cache.close()


def test_a_forked_process_opens_the_file_anew(path: Path) -> None:
    cache = TextCache(path)
    cache.put({b"key": "text"})
    child = os.fork()
    if child == 0:
        os._exit(0 if cache.get([b"key"]) == {b"key": "text"} and not cache.notes() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert cache.get([b"key"]) == {b"key": "text"}
    cache.close()


def test_where_it_lies_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALIMPSEST_CACHE", "/a")
    assert cache_path("translations") == Path("/a/translations.sqlite")
    monkeypatch.setenv("PALIMPSEST_CACHE", "off")
    assert cache_path("translations") is None
    monkeypatch.delenv("PALIMPSEST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_path("translations") == Path("/x/palimpsest/translations.sqlite")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/h")
    assert cache_path("translations") == Path("/h/.cache/palimpsest/translations.sqlite")
