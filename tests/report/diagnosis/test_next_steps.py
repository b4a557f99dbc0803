from __future__ import annotations

import re
import shlex
from typing import get_args

import pytest
from tests.report.diagnosis.factory import VIAS, fake_results, from_logs
from typer.main import get_command

from palimpsest.cli.main import app
from palimpsest.records.results import Results, Verdict
from palimpsest.report.diagnosis.next_steps import next_steps


def commands(results: Results) -> list[list[str]]:
    return [shlex.split(line) for step in next_steps(results) for line in step.command.split("\n")]


def with_tuned(results: Results, spec: str) -> Results:
    return results.model_copy(update={"tuned": results.tuned.model_copy(update={"spec": spec})})


@pytest.mark.slow
@pytest.mark.parametrize("logged", [False, True])
@pytest.mark.parametrize("verdict", get_args(Verdict))
def test_every_command_can_be_typed(verdict: Verdict, logged: bool) -> None:
    results = fake_results(verdict=verdict)
    for program, name, *rest in commands(from_logs(results, "binary") if logged else results):
        assert program == "palimpsest"
        command = get_command(app).commands[name]  # type: ignore[attr-defined]
        command = getattr(command, "commands", {}).get(rest[0], command)
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in rest if word.startswith("-")} <= known


def test_each_verdict_leads_somewhere_else() -> None:
    names = {
        verdict: [words[1] for words in commands(fake_results(verdict=verdict))]
        for verdict in get_args(Verdict)
    }
    assert names == {
        "suppressed": ["prompt", "serve", "recommend"],
        "lost": ["list", "diagnose", "diagnose", "lab"],
        "inconclusive": ["doctor", "diagnose", "list"],
        "kept": ["diagnose", "list"],
    }
    [check, _] = commands(fake_results(verdict="kept"))
    assert check[-2:] == ["--fail-on", "forgotten"]


def test_a_language_of_the_suite_becomes_a_translation_for_prompts_of_ones_own() -> None:
    ask, serve, _ = commands(fake_results())
    assert ask[ask.index("--via") + 1] == serve[serve.index("--via") + 1] == "translate:fr"
    ask, *_ = commands(fake_results(vias=VIAS[3:4]))
    assert ask[ask.index("--via") + 1] == "leet"


def test_an_endpoint_is_served_by_its_address() -> None:
    results = with_tuned(fake_results(), "openai:mine@http://127.0.0.1:8080/v1,chat=true")
    _, serve, _ = commands(results)
    assert serve[serve.index("--upstream") + 1] == "http://127.0.0.1:8080/v1"


def test_a_name_from_outside_stays_one_word() -> None:
    hostile = "./a b; rm -rf $HOME `x` '\""
    for words in commands(with_tuned(fake_results(), hostile))[:1]:
        assert hostile in words


def test_more_conjugations_keep_those_of_the_run() -> None:
    results = fake_results(verdict="lost")
    _, again, *_ = commands(results)
    assert again[:2] == ["palimpsest", "diagnose"]
    assert again[-4:] == ["--via", "leet|upper", "--via", "translate:fr"]
    provenance = results.provenance.model_copy(update={"command": "palimpsest demo"})
    _, again, *_ = commands(results.model_copy(update={"provenance": provenance}))
    assert [via.name for via in VIAS] == again[7:-4:2]


def test_logs_name_no_model_that_a_command_could_load() -> None:
    text = " ".join(step.command for step in next_steps(from_logs(fake_results(), "binary")))
    assert not re.search("rosetta", text)
    assert "--model TUNED" in text
