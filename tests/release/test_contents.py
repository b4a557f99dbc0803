"""What is in the wheel and in the sdist: the package, its weights, and nothing else."""

from __future__ import annotations

import hashlib
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.release.conftest import ROOT, Built, build

from palimpsest import __version__

pytestmark = pytest.mark.slow

INFO = f"palimpsest_lm-{__version__}.dist-info"
WEIGHTS = "palimpsest/rosetta/weights"


def _hashes(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in names}


def _sources() -> set[str]:
    files = (path for path in (ROOT / "src").rglob("*") if path.is_file())
    return {
        path.relative_to(ROOT / "src").as_posix()
        for path in files
        if path.suffix != ".pyc" and ".egg-info" not in str(path)
    }


def test_the_wheel_holds_the_package_and_nothing_else(built: Built) -> None:
    names = set(_hashes(built.wheel))
    about = {name for name in names if name.startswith(f"{INFO}/")}
    assert names - about == _sources()
    assert {name.removeprefix(f"{INFO}/") for name in about} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }


def test_the_wheel_holds_the_weights_of_both_models_and_the_mark_of_types(built: Built) -> None:
    hashes = _hashes(built.wheel)
    for role in ("base", "tuned"):
        source = ROOT / "src" / WEIGHTS / role / "model.safetensors"
        expected = hashlib.sha256(source.read_bytes()).hexdigest()
        assert hashes[f"{WEIGHTS}/{role}/model.safetensors"] == expected
    assert "palimpsest/py.typed" in hashes


def test_the_wheel_holds_no_tests_and_no_data_of_theirs(built: Built) -> None:
    foreign = ("tests/", "experiments/", "benchmarks/", "examples/", "docs/", "shared/")
    for name in _hashes(built.wheel):
        assert not any(part in f"/{name}" for part in (f"/{each}" for each in foreign)), name
        assert not Path(name).name.startswith(("test_", "conftest")), name


def test_the_wheel_from_the_sdist_is_the_wheel_from_the_tree(built: Built, tmp_path: Path) -> None:
    build(ROOT, tmp_path, "--wheel")
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.name == built.wheel.name
    assert _hashes(wheel) == _hashes(built.wheel)


def test_the_sdist_holds_what_the_wheel_is_built_from_and_what_is_to_be_read(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        members = archive.getmembers()
    assert all(member.isfile() for member in members)
    names = {member.name.partition("/")[2] for member in members}
    assert {name for name in names if not name.startswith("src/")} == {
        ".gitignore",
        "CHANGELOG.md",
        "CITATION.cff",
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "SECURITY.md",
        "constraints.txt",
        "pyproject.toml",
    }
    assert {name.removeprefix("src/") for name in names if name.startswith("src/")} == _sources()
