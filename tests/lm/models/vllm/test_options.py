from __future__ import annotations

from importlib.util import find_spec

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.models import load_model, parse_model_spec
from palimpsest.lm.models.vllm import VllmOptions


def parsed(options: str) -> VllmOptions:
    return VllmOptions.parse(parse_model_spec(f"vllm:org/model{options}"))[0]


def test_options_are_read_and_those_of_hf_are_told_apart() -> None:
    spec = parse_model_spec(
        "vllm:org/model,tensor_parallel_size=4,gpu_memory_utilization=0.8,max_model_len=2048,"
        "quantization=fp8,enforce_eager=true,dtype=bfloat16,chat=false,adapter=./lora,"
        "template.enable_thinking=false"
    )
    own, shared = VllmOptions.parse(spec)
    assert own == VllmOptions(
        tensor_parallel_size=4,
        gpu_memory_utilization=0.8,
        max_model_len=2048,
        quantization="fp8",
        enforce_eager=True,
    )
    assert (shared.dtype, shared.chat, shared.adapter) == ("bfloat16", False, "./lora")
    assert dict(shared.template) == {"enable_thinking": False}


def test_only_what_changes_answers_is_in_the_fingerprint() -> None:
    assert dict(parsed("").changing) == {}
    assert dict(parsed(",tensor_parallel_size=2,gpu_memory_utilization=0.5").changing) == {}
    assert dict(parsed(",quantization=fp8,max_model_len=99").changing) == {
        "quantization": "fp8",
        "max_model_len": 99,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (",gpu_memory_utilization=2", r"gpu_memory_utilization of .* is '2'; expected a share"),
        (",gpu_memory_utilization=all", r"expected a share from 0 to 1"),
        (",tensor_parallel_size=0", r"tensor_parallel_size"),
        (",tensor_paralel_size=2", r"tensor_paralel_size[\s\S]*tensor_parallel_size"),
        (",batch_tokens=100", r"batch_tokens"),
    ],
)
def test_wrong_options_are_mistakes(options: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parsed(options)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_without_vllm_the_message_says_what_to_install() -> None:
    with pytest.raises(
        UserError, match=r"Models by vLLM need the package 'vllm'[\s\S]*pip install"
    ):
        load_model("vllm:org/model")
