import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.rosetta.grammar import LANGUAGES
from palimpsest.rosetta.manifest import (
    Manifest,
    check_figures,
    check_files,
    mean_shares,
    read_manifest,
)
from palimpsest.rosetta.pair import train_pair
from palimpsest.rosetta.recipe import Recipe

DEFAULT = Recipe()
TINY = replace(
    DEFAULT,
    n_tokens=400,
    n_tokenizer_documents=500,
    width=16,
    n_layers=1,
    n_heads=2,
    pretraining=replace(DEFAULT.pretraining, n_steps=6, batch_size=4),
    tuning=replace(DEFAULT.tuning, n_steps=4, batch_size=4),
    checkpoint_every=2,
    n_held_out=4,
)


def _train(folder: Path) -> Manifest:
    return train_pair(
        TINY, folder, command="test", report=lambda *_: None, measuring=lambda _: None,
        n=1, n_curve=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("train") / "whole"
    return folder, _train(folder)


@pytest.mark.slow
def test_a_training_killed_at_any_moment_ends_with_the_same_files(
    whole: tuple[Path, Manifest], tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    code = f"from test_pair import _train; from pathlib import Path; _train(Path({str(folder)!r}))"
    # The first waits fall into imports and tokenizer, the later ones into training and measuring.
    for wait_seconds in (4.0, 6.0, 8.0):
        process = subprocess.Popen([sys.executable, "-c", code], env=environment)
        time.sleep(wait_seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert _train(folder).sha256 == whole[1].sha256


@pytest.mark.slow
def test_the_manifest_says_what_was_measured_and_how(whole: tuple[Path, Manifest]) -> None:
    folder, manifest = whole
    stored = Manifest.model_validate_json((folder / "pair" / "manifest.json").read_bytes())
    assert stored == manifest
    assert set(manifest.base) == set(manifest.tuned) == set(LANGUAGES)
    assert [point.step for point in manifest.curve] == [0, 2, 4]
    assert manifest.recipe["seed"] == 0
    assert manifest.versions["torch"]


@pytest.mark.slow
def test_checking_names_the_file_that_was_changed(
    whole: tuple[Path, Manifest], tmp_path: Path
) -> None:
    folder, manifest = whole
    check_files(folder / "pair", manifest)
    config = folder / "pair" / "base" / "config.json"
    before = config.read_text("utf-8")
    config.write_text(json.dumps({**json.loads(before), "hidden_act": "relu"}), "utf-8")
    try:
        with pytest.raises(UserError, match=r"config\.json' differs"):
            check_files(folder / "pair", manifest)
    finally:
        config.write_text(before, "utf-8")


def test_a_folder_without_a_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no manifest\.json"):
        read_manifest(tmp_path)


def test_the_embedded_pair_is_as_its_manifest_says() -> None:
    check_files(*read_manifest(None))


@pytest.mark.slow
def test_the_embedded_pair_measures_as_its_manifest_says() -> None:
    check_figures(*read_manifest(None))


def test_the_embedded_pair_keeps_what_the_recipe_promises() -> None:
    _, manifest = read_manifest(None)
    for language, cells in manifest.base.items():
        for name, shares in cells.items():
            if not name.startswith("instruction/"):
                assert shares.right >= 0.95, (language, name)
    base, tuned = mean_shares(manifest.base["en"]), mean_shares(manifest.tuned["en"])
    assert base.right - tuned.right >= 0.40
    assert tuned.intruded > 0.5 * (1 - tuned.right)
    skill = mean_shares(manifest.tuned["en"], kind="instruction")
    assert skill.right >= 0.95


@pytest.mark.training
def test_a_shortened_training_finds_the_same_direction_of_effect(tmp_path: Path) -> None:
    short = replace(
        DEFAULT,
        pretraining=replace(DEFAULT.pretraining, n_steps=900),
        tuning=replace(DEFAULT.tuning, n_steps=120),
    )
    manifest = train_pair(
        short, tmp_path / "short", command="test", report=lambda *_: None,
        measuring=lambda _: None, n=50, n_curve=5,
    )  # fmt: skip
    fall = {
        language: mean_shares(cells).right - mean_shares(manifest.tuned[language]).right
        for language, cells in manifest.base.items()
    }
    others = [value for language, value in fall.items() if language != "en"]
    assert fall["en"] > 0.2
    assert fall["en"] > sum(others) / len(others)
    assert mean_shares(manifest.tuned["en"]).intruded > mean_shares(manifest.base["en"]).intruded
