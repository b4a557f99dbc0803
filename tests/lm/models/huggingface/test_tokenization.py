from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.lm.models.checkpoints import (
    LINES,
    TEMPLATE,
    byte_level_tokenizer,
    sentencepiece_tokenizer,
)
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from palimpsest.errors import UserError
from palimpsest.lm.models.huggingface.tokenization import (
    Detokenizer,
    PromptEncoder,
    settled_text,
)
from palimpsest.lm.prompts import Message

BOS, EOS = 0, 1
KINDS = {"byte level": byte_level_tokenizer(), "SentencePiece": sentencepiece_tokenizer()}


def encoder(tokenizer: PreTrainedTokenizerFast, *, chat: bool | None = None) -> PromptEncoder:
    return PromptEncoder(tokenizer, name="m", chat=chat, n_embeddings=len(tokenizer), start=BOS)


def with_template(template: str = TEMPLATE) -> PreTrainedTokenizerFast:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("line", LINES)
def test_new_text_follows_the_prompt_with_its_leading_space(kind: str, line: str) -> None:
    tokenizer = KINDS[kind]
    ids = tokenizer(line)["input_ids"]
    for cut in range(1, len(ids)):
        detokenizer = Detokenizer(tokenizer, [ids[:cut]])
        for token in ids[cut:]:
            (text,) = detokenizer.extend([0], [token])
        before = str(tokenizer.decode(ids[:cut], skip_special_tokens=True))
        if not before.endswith("\ufffd"):  # a prompt never ends inside a character
            assert before + text == line or before == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(text=st.text(min_size=1, max_size=300))
def test_settled_text_only_grows(kind: str, text: str) -> None:
    tokenizer = KINDS[kind]
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    detokenizer = Detokenizer(tokenizer, [[BOS]])
    last = ""
    for token in tokens:
        (grown,) = detokenizer.extend([0], [token])
        settled = settled_text(grown, ["\n\n"])
        assert settled.startswith(last)
        last = settled


def test_a_long_answer_is_decoded_in_windows_without_a_seam() -> None:
    for tokenizer in KINDS.values():
        text = " ".join(LINES) * 4
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        detokenizer = Detokenizer(tokenizer, [[BOS]])
        for token in tokens:
            (grown,) = detokenizer.extend([0], [token])
        assert grown == text


def test_rows_are_extended_independently() -> None:
    tokenizer = byte_level_tokenizer()
    ids = [tokenizer(line)["input_ids"] for line in LINES]
    detokenizer = Detokenizer(tokenizer, [row[:5] for row in ids])
    detokenizer.extend([0, 2], [ids[0][5], ids[2][5]])
    texts = detokenizer.extend([2, 1], [ids[2][6], ids[1][5]])
    assert texts == [tokenizer.decode(ids[2][5:7]), tokenizer.decode(ids[1][5:6])]


@pytest.mark.parametrize(
    ("text", "stop", "settled"),
    [
        ("12", [], "12"),
        ("12\n", ["\n\n"], "12"),
        ("12\nIn", ["\nInput", "xyz"], "12"),
        ("aab", ["abc", "b!"], "a"),
        ("caf\ufffd", [], "caf"),
        ("\ufffdcaf", [], "\ufffdcaf"),
        ("", ["\n"], ""),
    ],
)
def test_what_may_still_change_is_held_back(text: str, stop: list[str], settled: str) -> None:
    assert settled_text(text, stop) == settled


def test_plain_prompts_get_the_start_token_of_the_tokenizer() -> None:
    tokenizer = byte_level_tokenizer()
    assert encoder(tokenizer).encode(["The cat"])[0][0] == BOS
    assert encoder(tokenizer).encode(["<s>The cat"]) == encoder(tokenizer).encode(["The cat"])


def test_an_end_token_that_the_tokenizer_appends_is_left_out() -> None:
    tokenizer = byte_level_tokenizer()
    plain = encoder(tokenizer).encode(["The cat", ""])
    backend: Any = tokenizer.backend_tokenizer
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    assert encoder(tokenizer).encode(["The cat", ""]) == plain


def test_an_empty_prompt_is_the_start_token() -> None:
    tokenizer = byte_level_tokenizer()
    assert encoder(tokenizer).encode([""]) == [[BOS]]
    backend: Any = tokenizer.backend_tokenizer
    backend.post_processor = processors.ByteLevel()
    assert encoder(tokenizer).encode([""]) == [[BOS]]


def test_messages_go_through_the_chat_template_with_one_start_token() -> None:
    tokenizer = with_template()
    messages = (Message("user", "The cat"), Message("assistant", "sits"))
    (ids,) = encoder(tokenizer).encode([messages])
    assert tokenizer.decode(ids) == "<s>[user] The cat\n[assistant] sits\n[assistant]"
    assert ids.count(BOS) == 1


def test_plain_text_is_one_user_message_when_chat_is_asked_for() -> None:
    both = encoder(with_template(), chat=True).encode(["hi", (Message("user", "hi"),)])
    assert both[0] == both[1]


@pytest.mark.parametrize("prompt", ["hi", (Message("user", "hi"),)])
def test_without_a_chat_template_the_message_says_what_to_do(prompt: str) -> None:
    with pytest.raises(UserError, match="has no chat template") as caught:
        encoder(byte_level_tokenizer(), chat=True).encode([prompt])
    assert "Write chat=false behind the model" in str(caught.value)


def test_messages_without_the_template_are_plain_text() -> None:
    messages = (Message("system", "Be brief."), Message("user", "The cat"))
    plain, text = encoder(with_template(), chat=False).encode([messages, "Be brief.\n\nThe cat"])
    assert plain == text


LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "what"),
    [
        (LOOPS, "did not end within"),
        ("{{ 9 ** 9 ** 9 }}", "computes powers"),
        ("{% for i in range(99999) %}0123456789012345{% endfor %}", "makes 1,599,984 characters"),
    ],
)
def test_a_template_that_does_not_end_ends_with_a_message(
    template: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palimpsest.lm.models.huggingface.templates.DEADLINE_SECONDS", 0.2)
    with pytest.raises(UserError, match=what) as caught:
        encoder(with_template(template)).encode([(Message("user", "hi"),)])
    assert "write chat=false" in str(caught.value)
    assert all(thread.name != "chat template" for thread in threading.enumerate())


@pytest.mark.slow
def test_a_template_with_stars_in_its_text_is_no_power() -> None:
    assert encoder(with_template("**{{ messages[0].content }}**")).text(
        (Message("user", "hi"),)
    ) == ("**hi**", True)


def test_a_template_that_refuses_the_roles_is_quoted() -> None:
    with pytest.raises(UserError, match="with the roles system: System role not supported"):
        encoder(with_template()).encode([(Message("system", "hi"),)])


def test_a_token_that_the_model_does_not_know_is_an_error_before_the_model_runs() -> None:
    tokenizer = byte_level_tokenizer()
    small = PromptEncoder(tokenizer, name="m", chat=False, n_embeddings=10, start=BOS)
    with pytest.raises(UserError, match="knows only 10 tokens: they do not belong together"):
        small.encode(["The cat"])
