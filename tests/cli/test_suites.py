import json

from tests.cli.conftest import Palimpsest, Scripted


def test_a_preview_shows_prompt_answers_and_samples(
    palimpsest: Palimpsest, scripted: Scripted
) -> None:
    ended = palimpsest("suites", "preview", scripted.suite, scripted.base, "--n", "1")
    assert ended.code == 0
    assert f"prompt for {scripted.base}, which writes its own text of it" in ended.out
    assert "I do not know." in ended.out
    assert "1 of " in ended.out


def test_a_preview_as_json(palimpsest: Palimpsest, scripted: Scripted) -> None:
    ended = palimpsest("suites", "preview", scripted.suite, "--json", "--n", "2")
    said = json.loads(ended.out)
    assert len(said["examples"]) == 2
    assert len(said["examples"][0]["samples"]) == 3
