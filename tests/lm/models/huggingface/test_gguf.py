"""GGUF files: small real ones, written as llama.cpp's converter writes them, opened by name."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from palimpsest.errors import UserError
from palimpsest.lm.models import load_model
from palimpsest.lm.models.huggingface import HuggingFaceModel
from palimpsest.lm.models.huggingface.gguf import RECORD, converted

gguf: Any = pytest.importorskip("gguf")

WIDTH, INNER, N_HEADS, N_TOKENS = 32, 64, 2, 20


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of one layer in eight bits, with a vocabulary of letters."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write_llama(path, seed=0)
    return path


def write_llama(path: Path, *, seed: int, parts: int = 1) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("small")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(N_HEADS)
    writer.add_head_count_kv(N_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(N_TOKENS)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    if parts > 1:
        writer.add_uint16("split.count", parts)
    letters = [chr(ord("a") + index) for index in range(N_TOKENS - 3)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<unk>", "<s>", "</s>", *letters])
    writer.add_token_scores([0.0] * N_TOKENS)
    writer.add_token_types([2, 3, 3, *[1] * len(letters)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    numbers = np.random.default_rng(seed)
    shapes = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH),
              "attn_output": (WIDTH, WIDTH), "ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH),
              "ffn_down": (WIDTH, INNER)}  # fmt: skip
    matrices = {f"blk.0.{name}.weight": shape for name, shape in shapes.items()}
    matrices |= {"token_embd.weight": (N_TOKENS, WIDTH), "output.weight": (N_TOKENS, WIDTH)}
    for name, shape in matrices.items():
        values = numbers.normal(size=shape, scale=0.3).astype(np.float32)
        packed = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        writer.add_tensor(name, np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PALIMPSEST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def answers(spec: str) -> list[str]:
    found = load_model(spec).generate(["abc", "dea"], max_new_tokens=6)
    return [answer.text for _, answer in sorted(found)]


@pytest.mark.slow
def test_a_file_is_asked_like_the_folder_that_transformers_makes_of_it(
    file: Path, cache: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    peer: Any = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32
    )
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    peer.hf_quantizer = None
    vars(peer.config).pop("quantization_config", None)
    peer.save_pretrained(tmp_path / "peer")
    tokenizer.save_pretrained(tmp_path / "peer")
    assert answers(f"hf:{file}") == answers(f"hf:{tmp_path / 'peer'}")


@pytest.mark.slow
def test_it_is_converted_once_said_and_named_in_the_facts(
    file: Path,
    cache: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with caplog.at_level(logging.WARNING):
        model = load_model(str(file))
        again = load_model(str(file))
    assert capsys.readouterr().err == ""
    assert caplog.text.count("Converting small.gguf (Q8_0, dequantised to float32) once") == 1
    assert model.describe()["quantisation"] == "dequantised from Q8_0"
    assert model.fingerprint == again.fingerprint
    assert isinstance(model, HuggingFaceModel)
    folder = load_model(str(model.checkpoint.folder))
    assert folder.describe()["quantisation"] == "dequantised from Q8_0"
    assert folder.fingerprint == model.fingerprint


@pytest.mark.slow
def test_a_damaged_conversion_is_made_anew(file: Path, cache: Path) -> None:
    folder = converted(file).folder
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4] + b"\0\0\0\0")
    assert converted(file).folder == folder
    assert weights.read_bytes() == whole
    (folder / RECORD).write_text(json.dumps({"format": 0}))
    assert converted(file).quantisation == "Q8_0"


@pytest.mark.slow
def test_two_files_of_one_name_have_two_folders(tmp_path: Path, cache: Path) -> None:
    folders = set()
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        write_llama(tmp_path / str(seed) / "m.gguf", seed=seed)
        folders.add(converted(tmp_path / str(seed) / "m.gguf").folder)
    assert len(folders) == 2


@pytest.mark.slow
def test_a_killed_conversion_leaves_nothing_that_looks_whole(file: Path, cache: Path) -> None:
    code = (
        "import os, palimpsest.files as files, palimpsest.lm.models.huggingface.gguf as gguf\n"
        "gguf.write_whole = lambda *_: os._exit(9)\n"
        f"from pathlib import Path; gguf.converted(Path({str(file)!r}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert [path for path in (cache / "gguf").iterdir() if not path.name.startswith(".")] == []
    assert converted(file).quantisation == "Q8_0"


def test_what_is_no_whole_gguf_file_is_refused(
    file: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK\3\4 something else")
    with pytest.raises(UserError, match="is no GGUF file"):
        load_model(str(other))
    other.write_bytes(file.read_bytes()[:300])
    with pytest.raises(UserError, match="is damaged"):
        load_model(str(other))
    write_llama(other, seed=0, parts=2)
    with pytest.raises(UserError, match="one part of a model in several"):
        load_model(str(other))
    with pytest.raises(UserError, match="no such folder"):
        load_model(str(tmp_path / "missing.gguf"))
    monkeypatch.setenv("PALIMPSEST_CACHE", "off")
    with pytest.raises(UserError, match="PALIMPSEST_CACHE=off lets nothing be kept"):
        load_model(str(file))
