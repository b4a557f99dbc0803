from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.judging.diagnosis import diagnose
from palimpsest.judging.via import parse_via
from palimpsest.judging.written_forms import written_form
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.prompts import Message, Prompt

TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"


@pytest.fixture
def template(tmp_path: Path) -> str:
    path = tmp_path / "mine.jinja"
    path.write_text(TEMPLATE, "utf-8")
    return f"chat:{path}"


def form_of(link: str, prompt: Prompt) -> Prompt:
    form = written_form(link)
    assert form is not None
    return form.of(prompt)


def test_a_prompt_goes_as_a_message_as_text_or_as_a_template_writes_it(template: str) -> None:
    messages = (Message("system", "Be brief."), Message("user", "2 + 2 ="))
    assert form_of("chat", "2 + 2 =") == (Message("user", "2 + 2 ="),)
    assert form_of("chat", messages) == messages
    assert form_of("plain", messages) == "Be brief.\n\n2 + 2 ="
    assert form_of("plain", "2 + 2 =") == "2 + 2 ="
    assert form_of(template, messages) == "<system>Be brief.<user>2 + 2 =<assistant>"


def test_a_form_may_be_conjugated_and_has_a_name_of_its_own(template: str) -> None:
    vias = [
        parse_via(spec) for spec in ("identity", "chat", "plain", "chat|leet", "leet", template)
    ]
    assert [via.name for via in vias[:5]] == ["identity", "chat", "plain", "chat|leet", "leet"]
    assert len({via.fingerprint for via in vias}) == len(vias)
    assert vias[1].exact


def test_another_template_under_the_same_name_is_another_way_of_asking(
    template: str, tmp_path: Path
) -> None:
    before = parse_via(template).fingerprint
    (tmp_path / "mine.jinja").write_text("{{ messages[0].content }}", "utf-8")
    assert parse_via(template).fingerprint != before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("chat|plain", "names two forms, 'chat' and 'plain'"),
        ("chat:no/such.jinja", "no/such.jinja"),
        ("chatt", "Did you mean 'chat'"),
    ],
)
def test_a_form_that_there_is_not_is_a_mistake(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_via(spec)


@pytest.mark.usefixtures("empty_figures")
def test_a_model_that_answers_in_its_template_alone_is_told_from_one_that_forgot(
    tmp_path: Path, template: str
) -> None:
    suite = tmp_path / "suite.jsonl"
    suite.write_text(
        "\n".join(
            f'{{"id": "{n}", "prompt": "Say {n}.", "answers": {{"say": ["{n}"]}}}}'
            for n in range(60)
        ),
        "utf-8",
    )

    def number(prompt: Prompt) -> str:
        text = prompt if isinstance(prompt, str) else prompt[-1].content
        return text.split("Say ")[1].split(".")[0]

    def only_in_template(prompt: Prompt) -> str:
        said = number(prompt)
        return said if "<assistant>" in str(prompt) else f"{int(said) + 100}"

    results = diagnose(
        ScriptedModel(number, name="base"),
        ScriptedModel(only_in_template, name="tuned"),
        suite=f"jsonl:{suite}",
        via=[template],
        n_resamples=200,
    )
    assert results.plain.tuned.accuracy == 0
    assert results.conjugations[0].tuned.accuracy == 1
    assert results.verdict == "suppressed"
    assert results.conjugations[0].round_trip == 1
