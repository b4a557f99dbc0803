"""Laws of generation: the answer depends on the prompt alone, and is what transformers gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.lm.models.checkpoints import (
    ARCHITECTURES,
    byte_level_tokenizer,
    save_checkpoint,
    save_model,
    sentencepiece_tokenizer,
)
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface import causal
from palimpsest.lm.models.huggingface.decoding import new_decoder
from palimpsest.lm.models.huggingface.model import HuggingFaceModel
from palimpsest.lm.models.protocol import Generation
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.prompts import Prompt

PROMPTS: list[Prompt] = [
    "Repeat the input.\n\nInput: The cat sleeps.\nOutput: The cat sleeps.\n\nInput: What is 5?",
    "The cat",
    "",
    "où est le garçon 😀",
    "שלום العربية",
    "a\x00b",
    " ",
    "Wat is vijf plus zeven?",
    "Wat is vijf plus negen?",
    "日本語" * 15,
    "The cat",
]


SLOW = {name: pytest.param(name, marks=pytest.mark.slow) for name in ARCHITECTURES}


def opened(folder: Path, **options: object) -> HuggingFaceModel:
    text = "".join(f",{name}={value}" for name, value in {"device": "cpu", **options}.items())
    model = load_model(f"{folder}{text}")
    assert isinstance(model, HuggingFaceModel)
    return model


def answers(model: HuggingFaceModel, prompts: list[Prompt], **options: Any) -> list[Generation]:
    found = dict(model.generate(prompts, **{"max_new_tokens": 24, **options}))
    return [found[index] for index in range(len(prompts))]


def texts(model: HuggingFaceModel, prompts: list[Prompt], **options: Any) -> list[str]:
    return [answer.text for answer in answers(model, prompts, **options)]


@cache
def theirs(folder: Path) -> tuple[Any, Any]:
    """The network and tokenizer of a folder as transformers opens them."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, PreTrainedTokenizerFast.from_pretrained(folder)


def reference(folder: Path, prompt: Prompt, n_new: int) -> list[int]:
    """The new tokens of transformers' own greedy decoding."""
    model, tokenizer = theirs(folder)
    ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
    output = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=n_new, do_sample=False
    )
    return [int(token) for token in output[0, ids.shape[1] :]]


# For the others, the test after this one shows as much: theirs are made one at a time.
@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", [name if name == "llama" else SLOW[name] for name in ARCHITECTURES]
)
def test_batched_answers_equal_answers_one_at_a_time(
    checkpoint: Callable[[str], Path], architecture: str
) -> None:
    model = opened(checkpoint(architecture))
    together = texts(model, PROMPTS)
    assert together == [texts(model, [prompt])[0] for prompt in PROMPTS]
    assert len(set(together)) >= len(PROMPTS) - 2  # "The cat" comes twice


@pytest.mark.parametrize(
    "architecture",
    ["llama", "gpt2", *(SLOW[name] for name in ARCHITECTURES if name not in {"llama", "gpt2"})],
)
def test_answers_equal_those_of_transformers(
    checkpoint: Callable[[str], Path], architecture: str
) -> None:
    folder = checkpoint(architecture)
    model = opened(folder)
    tokenizer = model.tokenizer
    n_new = 24 if architecture == "llama" else 12
    for prompt, answer in zip(PROMPTS, texts(model, PROMPTS, max_new_tokens=n_new), strict=True):
        new = reference(folder, prompt, n_new)
        context = tokenizer(prompt)["input_ids"][-8:]
        whole = tokenizer.decode(context + new, skip_special_tokens=True)
        assert answer == whole[len(tokenizer.decode(context, skip_special_tokens=True)) :]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", SLOW["mistral"], SLOW["mamba"]])
@pytest.mark.parametrize(
    "batch_tokens",
    [1, pytest.param(90, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.slow)],
)
def test_the_size_of_batches_changes_nothing(
    checkpoint: Callable[[str], Path], architecture: str, batch_tokens: int
) -> None:
    small = opened(checkpoint(architecture), batch_tokens=batch_tokens)
    assert texts(small, PROMPTS) == texts(opened(checkpoint(architecture)), PROMPTS)


def test_a_text_is_cut_before_the_first_stop_string(llama: Path) -> None:
    model = opened(llama)
    for prompt, whole in zip(PROMPTS, texts(model, PROMPTS), strict=True):
        mark = whole[4:6]
        (answer,) = answers(model, [prompt], stop=["\x01 never", mark])
        assert answer.text == whole[: whole.index(mark)]
        assert answer.finish == "stop"


def test_rows_that_end_early_leave_the_others_alone(llama: Path) -> None:
    model = opened(llama)
    whole = texts(model, PROMPTS)
    cut = texts(model, PROMPTS, decided=lambda index, text: len(text) > index)
    assert all(long.startswith(short) for long, short in zip(whole, cut, strict=True))
    assert len({len(text) for text in cut}) > 4


def test_an_answer_ends_as_soon_as_it_is_decided(llama: Path) -> None:
    seen: dict[int, list[str]] = {}

    def decided(index: int, text: str) -> bool:
        seen.setdefault(index, []).append(text)
        return len(text) >= 3

    for index, answer in enumerate(answers(opened(llama), PROMPTS, decided=decided)):
        assert answer.finish == "decided"
        assert answer.text == seen[index][-1]
        assert all(len(text) < 3 for text in seen[index][:-1])


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", [byte_level_tokenizer, sentencepiece_tokenizer])
def test_what_is_decided_on_is_whole_characters_that_only_grow(
    tmp_path: Path, tokenizer: Callable[[], PreTrainedTokenizerFast]
) -> None:
    tokenizer().save_pretrained(tmp_path)
    save_model(tmp_path, seed=3)
    last = dict.fromkeys(range(len(PROMPTS)), "")
    stop = ["</never>"]

    def decided(index: int, text: str) -> bool:
        assert text.startswith(last[index])
        assert not text.endswith(("<", "</"))
        last[index] = text
        return False

    model = opened(tmp_path)
    whole = texts(model, PROMPTS, max_new_tokens=150, stop=stop, decided=decided)
    assert all(text.startswith(last[index]) for index, text in enumerate(whole))


def test_generation_stops_at_the_limit(llama: Path) -> None:
    for answer in answers(opened(llama), PROMPTS, max_new_tokens=3):
        assert (answer.finish, answer.n_tokens) == ("length", 3)


def test_no_new_tokens_means_an_empty_answer(llama: Path) -> None:
    model = opened(llama)
    assert answers(model, ["x"], max_new_tokens=0) == [Generation("", "length", 0, 0.0)]
    assert model.n_too_long == 0


def test_no_prompts_give_no_answers(llama: Path) -> None:
    assert list(opened(llama).generate([], max_new_tokens=5)) == []


def test_every_end_token_of_the_generation_configuration_ends_an_answer(
    llama: Path, tmp_path: Path
) -> None:
    first, second = (reference(llama, prompt, 6) for prompt in ("The cat", "Wat is"))
    folder = save_checkpoint(tmp_path, eos_token_id=[1, first[3], second[4]])
    results = answers(opened(folder), ["The cat", "Wat is"])
    assert [result.finish for result in results] == ["stop", "stop"]
    assert [result.n_tokens for result in results] == [
        1 + min(tokens.index(end) for end in (first[3], second[4]) if end in tokens)
        for tokens in (first, second)
    ]


@pytest.mark.slow
def test_sampling_in_the_generation_configuration_is_ignored(llama: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path)
    (tmp_path / "generation_config.json").write_text(
        '{"do_sample": true, "temperature": 9.0, "min_new_tokens": 50, "eos_token_id": 1}'
    )
    assert texts(opened(tmp_path), PROMPTS) == texts(opened(llama), PROMPTS)


@pytest.mark.slow
def test_a_prompt_beyond_the_context_is_an_empty_answer_that_is_counted(llama: Path) -> None:
    model = opened(llama)
    prompts: list[Prompt] = ["The cat", "word " * 20_000]  # 100 kB
    short, long = answers(model, prompts)
    assert short.text == texts(opened(llama), ["The cat"])[0]
    assert (long.text, long.finish) == ("", "length")
    assert model.n_too_long == 1
    assert model.describe()["prompts too long"] == "1"


@pytest.mark.slow
def test_an_answer_ends_where_the_context_is_full(llama: Path) -> None:
    model = opened(llama)
    assert model.n_context == 256
    n_prompt = len(model.tokenizer("a" * 250)["input_ids"])
    (answer,) = answers(model, ["a" * 250], max_new_tokens=500)
    assert (answer.finish, answer.n_tokens) == ("length", 256 - n_prompt)


def test_lone_surrogates_do_not_stop_a_run(llama: Path) -> None:
    model = opened(llama)
    assert texts(model, ["a\ud800b"]) == texts(model, ["a\ufffdb"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("x"), RuntimeError("can't allocate memory")]
)
def test_batches_are_halved_until_they_fit_into_memory(
    llama: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    expected = texts(opened(llama), PROMPTS)
    sizes = []
    real = new_decoder

    def short_of_memory(model: Any, prompts: Any, **options: Any) -> Any:
        sizes.append(len(prompts))
        if len(prompts) > 3:
            raise error
        return real(model, prompts, **options)

    monkeypatch.setattr(causal, "new_decoder", short_of_memory)
    assert texts(opened(llama), PROMPTS) == expected
    assert sizes == [11, 5, 2, 2, 2, 2, 2, 1]


@pytest.mark.slow
def test_rows_that_were_answered_before_memory_ran_out_are_not_asked_again(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = texts(opened(llama), PROMPTS)
    real = new_decoder

    def fails_later(model: Any, prompts: Any, **options: Any) -> Any:
        decoder: Any = real(model, prompts, **options)
        if len(prompts) == len(PROMPTS):
            feeds = iter([decoder.feed, decoder.feed])

            def feed(tokens: list[int]) -> list[int]:
                step = next(feeds, None)
                if step is None:
                    raise MemoryError
                result: list[int] = step(tokens)
                return result

            decoder.feed = feed
        return decoder

    monkeypatch.setattr(causal, "new_decoder", fails_later)
    found = list(
        opened(llama).generate(PROMPTS, max_new_tokens=24, decided=lambda index, _: index in (0, 3))
    )
    assert sorted(index for index, _ in found) == list(range(len(PROMPTS)))
    assert all(expected[index].startswith(answer.text) for index, answer in found)


def test_a_single_prompt_that_does_not_fit_into_memory_is_a_message(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(model: Any, prompts: Any, **options: Any) -> Any:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(causal, "new_decoder", full)
    with pytest.raises(UserError, match="not enough memory for a single prompt"):
        answers(opened(llama), PROMPTS)


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: Any, prompts: Any, **options: Any) -> Any:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(causal, "new_decoder", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        answers(opened(llama), PROMPTS)


@pytest.mark.parametrize("architecture", ["llama", SLOW["mamba"]])
def test_nothing_is_printed(
    checkpoint: Callable[[str], Path], architecture: str, capfd: pytest.CaptureFixture[str]
) -> None:
    level = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    model = opened(checkpoint(architecture))
    texts(model, PROMPTS)
    if model.n_context is not None:  # or the whole of it would be read
        texts(model, ["word " * 5000])
    model.score(["The cat"], [[" sleeps"]])
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (level, bars)


def test_a_closed_model_can_be_asked_again(llama: Path) -> None:
    model = opened(llama)
    before = texts(model, PROMPTS)
    model.close()
    assert texts(model, PROMPTS) == before


@pytest.mark.slow
def test_runs_that_take_turns_on_one_model_do_not_disturb_each_other(llama: Path) -> None:
    model = opened(llama)
    expected = texts(model, PROMPTS)
    backwards = PROMPTS[::-1]
    one = model.generate(PROMPTS, max_new_tokens=24)
    other = model.generate(backwards, max_new_tokens=24)
    found: list[dict[int, str]] = [{}, {}]
    for pair in zip(one, other, strict=True):
        for results, (index, answer) in zip(found, pair, strict=True):
            results[index] = answer.text
    assert [found[0][index] for index in range(len(PROMPTS))] == expected
    assert [found[1][index] for index in range(len(PROMPTS))] == expected[::-1]


@pytest.mark.slow
def test_a_run_that_is_left_early_harms_no_later_one(llama: Path) -> None:
    model = opened(llama, batch_tokens=100)
    run = model.generate(PROMPTS, max_new_tokens=24)
    next(run)
    run.close()  # type: ignore[attr-defined]
    assert texts(model, PROMPTS) == texts(opened(llama), PROMPTS)


def test_numbers_left_in_memory_by_an_earlier_batch_do_not_count(llama: Path) -> None:
    model = opened(llama)
    expected = texts(model, PROMPTS)
    for memory in model._pool._idle:
        for block in memory._blocks.values():
            with torch.inference_mode():
                block.fill_(float("nan"))
    assert texts(model, PROMPTS) == expected
