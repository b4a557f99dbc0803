"""Every way in which a checkpoint can be wrong ends in a message, not in a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file, save_file
from tests.lm.models.checkpoints import (
    byte_level_tokenizer,
    random_network,
    save_checkpoint,
    save_model,
)

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface import checkpoint as files
from palimpsest.lm.models.specs import load_model


@pytest.fixture
def copy(llama: Path, tmp_path: Path) -> Path:
    """A checkpoint that may be damaged."""
    return Path(shutil.copytree(llama, tmp_path / "model"))


def message(spec: object) -> str:
    with pytest.raises(UserError) as caught:
        answer(spec)
    assert caught.value.hint
    return str(caught.value)


def test_a_missing_path_names_the_nearest_folder(copy: Path) -> None:
    text = message(copy.parent / "modle")
    assert f"No model at '{copy.parent / 'modle'}'" in text
    assert f"Did you mean '{copy.name}'?" in text


def test_a_missing_path_with_a_parent_is_not_sought_on_the_hub(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.parent.parent)
    assert "Did you mean" in message(f"{copy.parent.name}/modell")


def test_a_file_is_not_a_folder(copy: Path) -> None:
    text = message(copy / "config.json")
    assert "is a file; expected a folder" in text
    assert str(copy) in text


def test_a_folder_without_a_configuration_names_the_model_inside_it(copy: Path) -> None:
    text = message(copy.parent)
    assert "has no config.json" in text
    assert f"Did you mean '{copy}'?" in text


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    assert "has no config.json, so it holds no model." in message(tmp_path)


def test_a_folder_without_weights_is_named(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    assert "has no weights: neither model.safetensors nor" in message(copy)


def test_pickle_weights_are_opened_only_when_asked_for(copy: Path) -> None:
    expected = answer(copy)
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    text = message(copy)
    assert "only pickle weights (pytorch_model.bin)" in text
    assert "add the option pickle=true" in text
    assert answer(f"{copy},pickle=true") == expected
    assert "pickle" in load_model(f"{copy},pickle=true").describe()["weights"]


def test_safetensors_win_over_pickle_weights(copy: Path) -> None:
    (copy / "pytorch_model.bin").write_bytes(b"no pickle at all")
    assert answer(f"{copy},pickle=true") == answer(copy)


def test_a_pickle_that_runs_code_is_refused_even_when_pickle_is_allowed(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    touched = copy / "touched"

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (touched,)

    torch.save({"model.embed_tokens.weight": Bomb()}, copy / "pytorch_model.bin")
    assert "could not be opened" in message(f"{copy},pickle=true")
    assert not touched.exists()


@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_broken_safetensors_are_found_before_anything_is_asked(copy: Path, keep: int) -> None:
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="is damaged"):
        load_model(str(copy))


def test_missing_tensors_are_not_filled_at_random(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    text = message(copy)
    assert "lack 1 tensors that the model needs, such as lm_head.weight" in text


def test_tensors_of_another_size_are_a_message(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "hidden_size": 64}))
    assert "could not be opened" in message(copy)


def test_shards_are_read_by_their_index(llama: Path, tmp_path: Path) -> None:
    byte_level_tokenizer().save_pretrained(tmp_path)
    random_network().save_pretrained(tmp_path, max_shard_size="60KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    assert answer(tmp_path) == answer(llama)
    next(tmp_path.glob("model-*.safetensors")).unlink()
    text = message(tmp_path)
    assert "lacks 1 of the" in text
    assert "such as model-0000" in text


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_configuration_is_a_message(copy: Path, content: str) -> None:
    (copy / "config.json").write_text(content)
    assert "config.json' " in message(copy)


def test_an_unknown_architecture_is_a_message(copy: Path) -> None:
    (copy / "config.json").write_text('{"model_type": "perpetuum"}')
    assert "perpetuum" in message(copy)


def test_code_in_the_checkpoint_does_not_run_unless_asked_for(copy: Path) -> None:
    touched = copy / "touched"
    (copy / "own.py").write_text(
        f"import pathlib; pathlib.Path({str(touched)!r}).touch()\n"
        "from transformers import LlamaConfig\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
    )
    config = json.loads((copy / "config.json").read_text())
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (copy / "config.json").write_text(json.dumps({**config, **own}))
    text = message(copy)
    assert "comes with Python code of its own" in text
    assert "trust_remote_code=true" in text
    assert not touched.exists()
    load_model(f"{copy},trust_remote_code=true")
    assert touched.exists()


def test_an_encoder_decoder_is_refused(copy: Path) -> None:
    (copy / "config.json").write_text('{"model_type": "t5", "is_encoder_decoder": true}')
    assert "is an encoder-decoder" in message(copy)


def test_a_model_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    text = message(save_model(tmp_path))
    assert "comes without a tokenizer" in text
    assert "tokenizer.save_pretrained" in text


def test_a_broken_tokenizer_is_a_message(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{")
    assert "The tokenizer of" in message(copy)


def test_a_tokenizer_of_another_model_is_found_at_the_first_unknown_token(tmp_path: Path) -> None:
    assert "they do not belong together" in message(save_checkpoint(tmp_path, vocab_size=20))


def test_an_adapter_given_as_a_model_says_how_to_name_it(tmp_path: Path) -> None:
    config = {"base_model_name_or_path": "org/base", "peft_type": "LORA"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    text = message(tmp_path)
    assert "is a PEFT adapter, not a whole model" in text
    assert f"hf:org/base,adapter={tmp_path}" in text


def test_a_folder_with_both_is_not_loaded_from_where_the_adapter_points(copy: Path) -> None:
    (copy / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere"}')
    text = message(copy)
    assert "hf:elsewhere,adapter=" in text
    assert "move the adapter's files elsewhere" in text


def test_a_model_given_as_an_adapter_says_so(llama: Path) -> None:
    assert "is no PEFT adapter" in message(f"{llama},adapter={llama}")


def test_a_revision_of_a_folder_is_refused(llama: Path) -> None:
    assert "is for the Hub" in message(f"{llama},revision=main")


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ("dtype=float8", "No dtype named 'float8'"),
        ("device=gpu", "No device named 'gpu'"),
        ("device=cuda:99", "The device 'cuda:99' is not available"),
        ("device=meta", "The device 'meta' is not available"),
        ("chat=perhaps", "expected true or false"),
        ("batch_tokens=0", "expected a whole number above zero"),
        ("batch_tokens=many", "expected a whole number above zero"),
    ],
)
def test_an_option_of_the_wrong_kind_is_refused(llama: Path, option: str, part: str) -> None:
    assert part in message(f"{llama},{option}")


def test_weights_that_change_after_they_were_hashed_are_not_used(copy: Path) -> None:
    model = load_model(str(copy))
    save_model(copy, seed=5)
    with pytest.raises(UserError, match="have changed since it was opened"):
        list(model.generate(["x"], max_new_tokens=1))


def test_weights_that_vanish_after_they_were_hashed_are_a_message(copy: Path) -> None:
    model = load_model(str(copy))
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match="have changed since it was opened"):
        list(model.generate(["x"], max_new_tokens=1))


def answer(spec: object) -> str:
    ((_, result),) = load_model(str(spec)).generate(["The cat"], max_new_tokens=8)
    return result.text


class TestTheHub:
    """Ids, with the hub's client replaced: tests are offline."""

    @pytest.fixture
    def hub(self, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """A hub with one model, whose snapshot is filled by what is asked for."""
        asked: list[Any] = []
        snapshot = tmp_path / "0123abcd"

        def download(name: str, *, revision: str | None, allow_patterns: list[str]) -> str:
            asked.append((name, revision, allow_patterns))
            snapshot.mkdir(exist_ok=True)
            for pattern in allow_patterns:
                for path in llama.glob(pattern):
                    shutil.copy(path, snapshot)
            return str(snapshot)

        monkeypatch.setattr("huggingface_hub.snapshot_download", download)
        return asked

    def test_only_the_files_that_are_needed_are_fetched_at_one_commit(self, hub: list[Any]) -> None:
        model = load_model("org/name,revision=v1")
        assert [(name, revision) for name, revision, _ in hub] == [
            ("org/name", "v1"),
            ("org/name", "0123abcd"),
        ]
        assert hub[1][2] == ["model.safetensors"]
        assert not any(".py" in pattern or ".bin" in pattern for _, _, p in hub for pattern in p)
        assert model.describe()["revision"] == "0123abcd"

    def test_a_downloaded_model_has_the_fingerprint_of_its_copy_on_disk(
        self, hub: list[Any], llama: Path
    ) -> None:
        assert load_model("org/name").fingerprint == load_model(str(llama)).fingerprint

    @pytest.mark.parametrize(
        ("error", "part"),
        [
            (RepositoryNotFoundError, "it is unknown"),
            (GatedRepoError, "is gated"),
            (RevisionNotFoundError, "has no revision 'v9'"),
            (LocalEntryNotFoundError, "not in the cache, and the Hub cannot be reached"),
        ],
    )
    def test_what_the_hub_refuses_is_a_short_message(
        self, monkeypatch: pytest.MonkeyPatch, error: type[Exception], part: str
    ) -> None:
        def refuse(*args: Any, **kwargs: Any) -> str:
            raise error.__new__(error, "404 Client Error. (Request ID: x)\n\nlong explanation")

        monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        text = message("org/name,revision=v9")
        assert part in text
        assert "Request ID" not in text

    @pytest.mark.slow
    def test_offline_mode_is_respected_and_named(self, tmp_path: Path) -> None:
        code = (
            "from palimpsest.lm.models.specs import load_model\n"
            "from palimpsest.errors import UserError\n"
            "try:\n    load_model('org/name')\n"
            "except UserError as error:\n    print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "it is not in the cache while HF_HUB_OFFLINE is set" in done.stdout
        assert done.stderr == ""


def test_files_are_hashed_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 3_000_000 + b"y")
    before = files.hash_files([path])["a"]
    state = path.stat()
    path.write_bytes(b"x" * 3_000_000 + b"z")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert files.hash_files([path])["a"] != before
