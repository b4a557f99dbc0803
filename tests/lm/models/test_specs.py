from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.models.specs import MODELS, load_model, parse_model_spec


@pytest.mark.parametrize("text", ["runs/tuned", "gpt2", "org/name", "hf:org/name"])
def test_a_bare_path_or_id_means_hugging_face(text: str) -> None:
    spec = parse_model_spec(text)
    assert (spec.name, spec.target) == ("hf", text.removeprefix("hf:"))


def test_options_follow_the_target_after_commas() -> None:
    spec = parse_model_spec("hf:a/b,dtype=bfloat16,adapter=runs/x=1")
    assert spec.target == "a/b"
    assert spec.options == {"dtype": "bfloat16", "adapter": "runs/x=1"}


def test_commas_before_the_first_option_belong_to_the_path() -> None:
    assert parse_model_spec("runs/a,b,chat=true").target == "runs/a,b"


def test_an_existing_path_wins_over_a_back_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scripted:x").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_model_spec("scripted:x").name == "hf"


def test_an_unknown_back_end_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"No model named 'rosseta'\. Did you mean 'rosetta'"):
        parse_model_spec("rosseta:base")


@pytest.mark.parametrize("text", ["", "hf:", "scripted:"])
def test_a_spec_without_a_target_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="names nothing to open"):
        parse_model_spec(text)


def test_an_option_may_not_come_twice() -> None:
    with pytest.raises(UserError, match="gives 'chat' twice"):
        parse_model_spec("hf:x,chat=true,chat=false")


def test_text_after_the_options_is_refused() -> None:
    with pytest.raises(UserError, match="has 'y' after its options"):
        parse_model_spec("hf:x,chat=true,y")


def test_an_unknown_option_names_the_nearest_and_lists_all(llama: Path) -> None:
    with pytest.raises(UserError, match=r"has no option 'dtyp'\. Did you mean 'dtype'") as caught:
        load_model(f"{llama},dtyp=float32")
    assert "batch_tokens" in str(caught.value)


@pytest.mark.parametrize("name", ["hf", "rosetta", "scripted"])
def test_every_back_end_has_a_factory_with_a_sentence_for_the_listing(name: str) -> None:
    assert (MODELS.get(name).__doc__ or "").strip()


@pytest.mark.slow
def test_listing_the_back_ends_loads_nothing_heavy() -> None:
    code = (
        "import sys; from palimpsest.lm.models.specs import MODELS;"
        "[MODELS.get(name) for name in MODELS];"
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
