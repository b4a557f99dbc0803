"""Tasks on our own sentences, and the embedded pair with a chat template."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from palimpsest.lm.models import ROSETTA_WEIGHTS
from palimpsest.lm.suites import load_suite

SHOTS = ["Cows eat green grass in the village.", "Tailors measure wide sleeves at the market."]
TEMPLATE = (
    # As templates of real models do; where one does not, the harness puts it before, and we do not.
    "{{ bos_token }}{% for message in messages %}"
    "<|{{ message.role }}|>\n{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
N_EACH = 2
"""Prompts of each of the four cells of the suite ``rosetta``."""


@pytest.fixture(scope="session")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    examples = load_suite(f"rosetta:n={N_EACH}").in_language("en")
    prompts = [
        {
            "prompt": each.prompt,
            "choices": [each.intruding[0], each.right[0]],
            "targets": [each.right[0], each.intruding[0]],
            "label": 1,
            "text": str(each.prompt).rpartition("Input: ")[2].partition("\n")[0],
        }
        for each in examples
    ]
    rows = {"prompts": prompts, "shots": [{**prompts[0], "text": text} for text in SHOTS]}
    for name, data in rows.items():
        (folder / f"{name}.json").write_text(json.dumps(data), "utf-8")
    for path in (Path(__file__).parent / "tasks").iterdir():
        if path.is_file():
            text = path.read_text("utf-8").replace("DATA", str(folder))
            (folder / path.name).write_text(text, "utf-8")
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tuned model of the pair with a chat template."""
    folder = tmp_path_factory.mktemp("weights") / "tuned"
    shutil.copytree(ROSETTA_WEIGHTS / "tuned", folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    return folder
