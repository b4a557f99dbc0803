import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.lm.translators.fakes import processes_of

from palimpsest.lm.translators.pipeline import Pipeline
from palimpsest.lm.translators.translator import TranslationError

# A stage that speaks the protocol, and does what the text tells it.
STAGE = """
import os, sys, time
source, sink = sys.stdin.buffer, sys.stdout.buffer
held = b""
while data := os.read(0, 65536):
    *texts, held = (held + data).split(b"\\0")
    for text in texts:
        if b"die" in text:
            sys.exit(3)
        if b"hang" in text:
            time.sleep(600)
        if b"once" in text and not os.path.exists(sys.argv[1]):
            open(sys.argv[1], "w").close()
            sys.exit(4)
        if b"twice" in text:
            text = text + b"\\0" + text
        if b"endless" in text:
            while True:
                sink.write(b"x" * 65536)
        sink.write(text.replace(b"Hello", b"Hola") + b"\\0")
    sink.flush()
"""


@pytest.fixture
def stages(tmp_path: Path) -> list[list[str]]:
    script = tmp_path / "stage.py"
    script.write_text(STAGE, "utf-8")
    return [[sys.executable, str(script), str(tmp_path / "died-once")]] * 2


@pytest.fixture
def pipeline(stages: list[list[str]]) -> Pipeline:
    return Pipeline(stages, name="fake", timeout_seconds=1.0)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pids: list[int], *, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(is_alive, pids))


def test_texts_come_back_in_order_with_their_reserved_characters(pipeline: Pipeline) -> None:
    texts = ["Hello", "", "a [b] {c} ^d$ /e\\ @f <g>", "..", "[]", "é猫🙂", "two\nlines", ".[]"]
    assert pipeline.translate(texts) == ["Hola", *texts[1:]]
    pipeline.close()


def test_what_is_no_text_is_left_out(pipeline: Pipeline) -> None:
    assert pipeline.translate(["a\0b", "\ud800c"]) == ["ab", "c"]
    pipeline.close()


def test_thousands_of_texts_do_not_block_the_pipe(pipeline: Pipeline) -> None:
    texts = [f"{number} {'x' * 200}" for number in range(3000)]
    assert pipeline.translate(texts) == texts
    pipeline.close()


def test_the_programs_stay_and_are_started_again_after_closing(pipeline: Pipeline) -> None:
    pipeline.translate(["one"])
    first = processes_of(pipeline)
    pipeline.translate(["two"])
    assert processes_of(pipeline) == first
    pipeline.close()
    assert wait_until_gone(first)
    assert pipeline.translate(["three"]) == ["three"]
    pipeline.close()


@pytest.mark.slow
@pytest.mark.parametrize("word", ["die", "hang", "endless"])
def test_a_text_that_breaks_the_programs_is_given_up_and_the_others_come(
    pipeline: Pipeline, word: str
) -> None:
    texts = ["one", word, "two", "three"]
    assert pipeline.translate(texts) == ["one", "", "two", "three"]
    pipeline.close()


def test_a_text_on_which_they_died_by_chance_is_tried_again(pipeline: Pipeline) -> None:
    assert pipeline.translate(["one", "once", "two"]) == ["one", "once", "two"]
    pipeline.close()


def test_an_answer_too_many_does_not_shift_the_others(pipeline: Pipeline) -> None:
    assert pipeline.translate(["one", "twice"])[0] == "one"
    assert pipeline.translate(["two", "three"]) == ["two", "three"]
    pipeline.close()


def test_programs_that_were_killed_are_started_again(pipeline: Pipeline) -> None:
    pipeline.translate(["one"])
    for pid in processes_of(pipeline):
        os.kill(pid, signal.SIGKILL)
    assert pipeline.translate(["two"]) == ["two"]
    pipeline.close()


@pytest.mark.slow
def test_programs_killed_while_they_work_lose_nothing(pipeline: Pipeline) -> None:
    pipeline.translate(["one"])
    texts = [f"{number} {'x' * 2000}" for number in range(5000)]
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(pipeline.translate, texts)
        time.sleep(0.05)
        os.kill(processes_of(pipeline)[1], signal.SIGKILL)
        assert work.result() == texts
    pipeline.close()


def test_after_an_interruption_answers_belong_to_their_texts(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.translate(["one"])

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("palimpsest.lm.translators.pipeline.os.read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline.translate(["two", "three"])
    assert pipeline.translate(["four", "five"]) == ["four", "five"]
    pipeline.close()


def test_many_threads_share_the_programs(pipeline: Pipeline) -> None:
    asked = [[f"{thread} {number}" for number in range(50)] for thread in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(pipeline.translate, asked)) == asked
    pipeline.close()


def test_programs_that_do_not_start_are_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(TranslationError, match="'/no/such' does not start"):
        Pipeline([["/no/such"]], name="x").translate(["one"])
    program = tmp_path / "fails"
    program.write_text("#!/bin/sh\necho no dictionary >&2\n", "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(TranslationError, match="died at the start: no dictionary"):
        Pipeline([[str(program)]], name="x").translate(["one"])


def test_the_programs_see_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPL_AUTH_KEY", "secret")
    script = tmp_path / "names.py"
    body = 'import os\nSTAGE_NAMES = ",".join(sorted(os.environ))\n'
    script.write_text(body + STAGE.replace('b"Hola"', "STAGE_NAMES.encode()"), "utf-8")
    pipeline = Pipeline([[sys.executable, str(script), "x"]], name="names")
    assert set(pipeline.translate(["Hello"])[0].split(",")) <= {"PATH", "LC_ALL", "LC_CTYPE"}
    pipeline.close()


TAGGER = """
import os, sys
source, sink = sys.stdin.buffer, sys.stdout.buffer
has_changed = False
held = b""
while data := os.read(0, 65536):
    *texts, held = (held + data).split(b"\\0")
    for text in texts:
        sink.write((b"CHANGED " if has_changed else b"") + text + b"\\0")
        if b"unknown" in text:
            has_changed = True
            print("A new ambiguity class was found.", file=sys.stderr, flush=True)
    sink.flush()
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [["-z", "-g"], ["-z", "-gx"]])
def test_a_tagger_that_changes_itself_is_replaced(
    stages: list[list[str]], tmp_path: Path, options: list[str]
) -> None:
    program = tmp_path / "apertium-tagger"
    program.write_text(f"#!{sys.executable}\n{TAGGER}", "utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    pipeline = Pipeline([stages[0], [str(program), *options], stages[0]], name="tagger")
    texts = ["one", "unknown", "two", "unknown", "unknown", "three"]
    answers = pipeline.translate(texts)
    assert (answers == texts) == ("-g" in options)
    running = processes_of(pipeline)
    pipeline.close()
    assert wait_until_gone(running)


USER = """
import sys, time
from palimpsest.lm.translators.pipeline import Pipeline
pipeline = Pipeline([[sys.executable, sys.argv[1], "x"]] * 2, name="fake")
pipeline.translate(["one"])
print(*(p.pid for g in pipeline._groups for p in g._running.processes), flush=True)
{end}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "kill"),
    [("", None), ("raise SystemExit(3)", None), ("time.sleep(600)", signal.SIGKILL)],
)
def test_no_program_outlives_its_user(
    stages: list[list[str]], end: str, kill: signal.Signals | None
) -> None:
    code = textwrap.dedent(USER).format(end=end)
    command = [sys.executable, "-c", code, stages[0][1]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        pids = list(map(int, user.stdout.readline().split()))
        assert len(pids) == 2
        if kill is not None:
            user.send_signal(kill)
    assert wait_until_gone(pids)
