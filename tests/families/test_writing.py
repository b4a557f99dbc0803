"""Writing that is interrupted: by kill -9, by a full disk, by what lies there already."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from tests.families.pairs import save_pair

from palimpsest.errors import UserError
from palimpsest.families import Family
from palimpsest.files import TEMPORARY
from palimpsest.lm.models import load_model


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_pair(tmp_path_factory.mktemp("pair"), shard="40KB")


def written(pair: tuple[Path, Path], folder: Path, spec: str = "interpolate:0.5") -> None:
    family = Family(*map(str, pair))
    family.write(family.members([spec])[0], folder)


@pytest.mark.parametrize("kind", ["a folder", "an empty folder", "a file", "a broken link"])
def test_nothing_is_ever_written_over(kind: str, pair: tuple[Path, Path], tmp_path: Path) -> None:
    there = tmp_path / "there"
    if kind == "a file":
        there.write_text("mine", "utf-8")
    elif kind == "a broken link":
        there.symlink_to(tmp_path / "nowhere")
    else:
        there.mkdir()
        if kind == "a folder":
            (there / "config.json").write_text("mine", "utf-8")
    with pytest.raises(UserError, match="exists already"):
        written(pair, there)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    if kind == "a folder":
        assert (there / "config.json").read_text("utf-8") == "mine"


@pytest.mark.slow
def test_parents_are_made_and_a_second_member_gets_a_folder_of_its_own(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    written(pair, tmp_path / "a" / "b" / "half")
    written(pair, tmp_path / "a" / "b" / "other", "ties:0.5")
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == ["half", "other"]


@pytest.mark.parametrize("spec", ["base", "tuned"])
def test_what_lies_in_a_folder_already_is_not_written(
    spec: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="lies in") as caught:
        written(pair, tmp_path / "out", spec)
    assert str(pair[spec == "tuned"]) in str(caught.value)


STOPS = {
    "the first weights": "kill_at(0.001)",
    "half of the weights": "kill_at(0.5)",
    "the tokenizer": "kill_before('tokenizer.json')",
    "the configuration": "kill_before('config.json')",
}

KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from palimpsest.families import Family
from palimpsest.families import writing

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def kill_at(share):
    return lambda done: done >= share and die()

def kill_before(name):
    copy = shutil.copyfile
    shutil.copyfile = lambda a, b: die() if Path(b).name == name else copy(a, b)

base, tuned, folder = sys.argv[1:]
family = Family(base, tuned)
family.write(family.members(["interpolate:0.5"])[0], Path(folder), progress=%s)
"""


@pytest.mark.slow
@pytest.mark.parametrize("stop", STOPS)
def test_after_a_kill_nothing_looks_whole_and_the_next_writing_clears_it(
    stop: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED % STOPS[stop], *map(str, (*pair, out))]
    done = subprocess.run(command, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    [rest] = tmp_path.iterdir()
    assert rest.name.endswith(TEMPORARY)
    assert list(rest.iterdir()), "something had been written"
    with pytest.raises(UserError, match=r"has no config\.json"):
        load_model(str(rest))
    written(pair, out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    load_model(str(out)).score(["a"], [["b"]])


def test_the_rest_of_a_process_that_still_runs_is_left_alone(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    running = tmp_path / f".out.{os.getppid()}{TEMPORARY}"
    running.mkdir()
    written(pair, tmp_path / "out")
    assert running.is_dir()


def test_without_room_nothing_is_begun(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match=r"The model takes .* are free"):
        written(pair, tmp_path / "out")
    assert not list(tmp_path.iterdir())


FULL = """
import os, sys
from pathlib import Path
from palimpsest.errors import UserError
from palimpsest.families import Family

base, tuned, folder = sys.argv[1:]
family = Family(base, tuned)
try:
    family.write(family.members(["interpolate:0.5"])[0], Path(folder) / "out")
except UserError as error:
    print(error)
print(os.listdir(folder))
"""


@pytest.mark.slow
def test_a_disk_that_fills_up_leaves_nothing(pair: tuple[Path, Path], tmp_path: Path) -> None:
    # A disk of its own: room for the weights, and not for the tokenizer.
    n_bytes = sum(path.stat().st_size for path in pair[1].glob("*.safetensors"))
    script = tmp_path / "script.py"
    script.write_text(FULL, "utf-8")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size={n_bytes + 16384} tmpfs {disk}"
    words = " ".join(map(str, (sys.executable, script, *pair, disk)))
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", f"{mount} && {words}"],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "The disk was full before" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_limit_on_the_size_of_files_leaves_nothing(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    done = subprocess.run(
        [sys.executable, "-B", "-c", dedent(FULL), *map(str, (*pair, tmp_path))],
        check=True, capture_output=True, text=True, timeout=120, preexec_fn=limit,
    )  # fmt: skip
    assert "The disk was full before" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_folder_that_may_not_be_written_is_a_message(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(UserError, match="could not be written: File exists"):
        written(pair, tmp_path / "file" / "out")
