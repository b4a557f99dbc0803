from typing import Literal

import pytest

from palimpsest.lm.models.openai.requests import Dialect, generation_request
from palimpsest.lm.models.specs import load_model

SPEC = "openai:m@http://127.0.0.1:9/v1"


@pytest.mark.parametrize(("api", "sent"), [("chat", True), ("completions", False)])
def test_variables_of_the_template_go_with_messages_alone(
    api: Literal["chat", "completions"], sent: bool
) -> None:
    request = generation_request(
        "Hi",
        model="m",
        api=api,
        max_new_tokens=3,
        template={"enable_thinking": False},
        dialect=Dialect(),
    )
    assert (request.body.get("chat_template_kwargs") == {"enable_thinking": False}) is sent
    plain = generation_request("Hi", model="m", api=api, max_new_tokens=3, dialect=Dialect())
    assert "chat_template_kwargs" not in plain.body


def test_a_model_with_variables_has_answers_of_its_own() -> None:
    specs = [SPEC, f"{SPEC},template.enable_thinking=false", f"{SPEC},template.mode=short"]
    assert len({load_model(spec).fingerprint for spec in specs}) == len(specs)
