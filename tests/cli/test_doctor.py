from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Palimpsest, Scripted

from palimpsest.lm.models import ROSETTA_WEIGHTS


def test_a_copy_that_was_never_tuned_ends_with_3(palimpsest: Palimpsest, tmp_path: Path) -> None:
    copy = tmp_path / "tuned"
    shutil.copytree(ROSETTA_WEIGHTS / "base", copy)
    ended = palimpsest("doctor", "rosetta:base", copy, "--suite", "rosetta:n=1", "--json")
    assert ended.code == 3
    found = json.loads(ended.out)
    assert not found["can_be_judged"]
    (stop,) = [each for each in found["findings"] if each["severity"] == "no verdict"]
    assert stop["check"] == "models"


def test_scripted_models_cannot_be_looked_into(palimpsest: Palimpsest, scripted: Scripted) -> None:
    ended = palimpsest("doctor", scripted.base, scripted.lost, "--suite", scripted.suite)
    assert ended.code == 0
    assert "cannot be" in ended.out
    assert "Nothing was found that forbids a verdict" in ended.out


def test_a_form_that_a_model_does_not_know_is_refused(
    palimpsest: Palimpsest, scripted: Scripted
) -> None:
    ended = palimpsest("diagnose", scripted.base, scripted.lost, "--base-form", "chat")
    assert ended.code == 2
    assert "takes prompts as they are" in ended.err


@pytest.mark.slow
def test_what_is_known_beforehand_is_said_once(palimpsest: Palimpsest, tmp_path: Path) -> None:
    ended = palimpsest(
        "diagnose", "rosetta:base", "rosetta:base", "--suite", "rosetta:n=1", "--via", "fr",
        "--out", tmp_path / "run", "--quiet",
    )  # fmt: skip
    assert ended.err.count("are the same model: every difference will be zero") == 1
