import json
from pathlib import Path

import pytest
from tests.cli.conftest import Palimpsest, Scripted

pytestmark = pytest.mark.usefixtures("empty_figures")


@pytest.mark.slow
def test_sentences_of_ones_own_take_the_place_of_the_suites(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    folder = tmp_path / "sentences"
    folder.mkdir()
    lines = [f"Number {word} stands here alone." for word in ("one", "two", "three", "four")]
    (folder / "en.txt").write_text("\n".join(lines), "utf-8")
    ended = palimpsest(
        "diagnose", scripted.base, scripted.lost, "--suite", "icl-vs-if", "--sentences", folder,
        "--via", "rot13", "--limit", 1, "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["suite"]["name"] == f"icl-vs-if,sentences={folder}"
