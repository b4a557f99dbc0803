from __future__ import annotations

from pathlib import Path

import pytest
from tests.lm.models.checkpoints import save_checkpoint

from palimpsest.errors import UserError
from palimpsest.lm.models import ROSETTA_WEIGHTS
from palimpsest.lm.models.specs import load_model
from palimpsest.rosetta import models as rosetta


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of the package's, with a base model alone."""
    save_checkpoint(tmp_path / "base")
    monkeypatch.setattr("palimpsest.rosetta.models.ROSETTA_WEIGHTS", tmp_path)
    return tmp_path


def test_rosetta_is_a_checkpoint_inside_the_package(weights: Path) -> None:
    model = load_model("rosetta:base,batch_tokens=512")
    assert model.spec == "rosetta:base,batch_tokens=512"
    assert model.fingerprint == load_model(str(weights / "base")).fingerprint


def test_weights_that_are_not_installed_are_a_message(weights: Path) -> None:
    with pytest.raises(UserError, match="are not in this installation") as caught:
        load_model("rosetta:tuned")
    assert "palimpsest rosetta train" in str(caught.value)


def test_another_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"Did you mean 'tuned'\?"):
        load_model("rosetta:tund")


def test_the_embedded_pair_loads_and_answers() -> None:
    for name in rosetta.NAMES:
        if not (ROSETTA_WEIGHTS / name).is_dir():
            pytest.skip(f"the weights of rosetta:{name} are not in this checkout")
        model = load_model(f"rosetta:{name}")
        ((_, answer),) = model.generate(["Answer.\n\nInput: x\nOutput:"], max_new_tokens=3)
        assert answer.n_tokens >= 1
        assert model.describe()["architecture"] == "LlamaForCausalLM"
