"""The back end in the documentation works as it is printed there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface.options import HuggingFaceOptions
from palimpsest.lm.models.specs import MODELS, load_model

DOCS = Path(__file__).parents[3] / "docs"
PAGE = DOCS / "adding/back-end.md"


@pytest.fixture
def parrot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the example."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    module = types.ModuleType("parrot")
    monkeypatch.setitem(sys.modules, "parrot", module)
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    monkeypatch.setitem(MODELS._builtin, "parrot", "parrot:load")


@pytest.mark.usefixtures("parrot")
def test_the_example_answers() -> None:
    ((_, answer),) = load_model("parrot:2").generate(["Say hello"], max_new_tokens=5)
    assert answer.text == "hello hello"


@pytest.mark.usefixtures("parrot")
def test_the_example_refuses_options() -> None:
    with pytest.raises(UserError, match="has no option 'loud'"):
        load_model("parrot:2,loud=true")


def test_every_option_is_in_the_table() -> None:
    text = (DOCS / "how-to/your-models.md").read_text()
    named = re.findall(r"^\| `(\w+)(?:\.NAME)?` \| .* \| .* \|$", text, re.MULTILINE)
    assert set(named) == set(HuggingFaceOptions.__dataclass_fields__)
