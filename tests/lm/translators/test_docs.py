import json
import re
from pathlib import Path
from typing import Any

from palimpsest.lm.conjugations.translate import Translate
from palimpsest.specs import Spec

PAGE = Path(__file__).parents[3] / "docs" / "adding" / "translator.md"


def test_the_translator_of_the_page_works(tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    space: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), space)
    words = tmp_path / "words.json"
    words.write_text(json.dumps({"en-es": {"dog": "perro"}, "es-en": {"perro": "dog"}}), "utf-8")
    translator = space["load"](Spec("", "glossary", str(words)))
    conjugation = Translate(translator, target="es")
    prompt = "Input: dog 5 {x}\nOutput:"
    assert conjugation.apply(prompt) == "Input: perro 5 {x}\nOutput:"
    assert conjugation.invert(conjugation.apply(prompt)) == prompt
    assert conjugation.facts()["licence"] == "yours"
    assert len(conjugation.fingerprint) == 16
