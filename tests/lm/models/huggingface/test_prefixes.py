"""Prefixes in common: found as they should be, and no answer or score is another for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.lm.models.checkpoints import (
    ARCHITECTURES,
    LINES,
    TEMPLATE,
    byte_level_tokenizer,
    save_checkpoint,
    save_model,
)

from palimpsest.lm.models.huggingface import decoding, likelihood
from palimpsest.lm.models.huggingface.model import HuggingFaceModel
from palimpsest.lm.models.huggingface.prefixes import (
    NONE,
    clusters,
    n_common,
    shared_prefixes,
    together,
)
from palimpsest.lm.models.huggingface.small_networks import dealt
from palimpsest.lm.models.sampling import Sampling
from palimpsest.lm.models.specs import load_model
from palimpsest.lm.prompts import Prompt

FEW_SHOT = f"{LINES[0]}\n{LINES[2]}\n\n"
"""88 tokens."""

QUESTIONS = [
    "What is 5?", "The cat", "où est le garçon 😀", "a", "Wat is vijf plus zeven?",
    "שלום", "Twaalf. Das Mädchen läuft", "0 1 2 3 4", "The cat", "The",
]  # fmt: skip
PROMPTS: list[Prompt] = [
    *(FEW_SHOT + question for question in QUESTIONS),
    FEW_SHOT,  # all of it is the prefix of the others
    FEW_SHOT[:150] + "something else",
    "The cat",
    "",
    *(f"{LINES[1]}\n{question}" for question in QUESTIONS),
]
SLOW = {
    name: name if name in {"llama", "gemma3"} else pytest.param(name, marks=pytest.mark.slow)
    for name in ARCHITECTURES
}

rows = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=40), min_size=1, max_size=24)
alike = st.builds(
    lambda starts, ends: [[*starts[at % len(starts)], *end] for at, end in enumerate(ends)],
    st.lists(st.lists(st.integers(0, 1), max_size=60), min_size=1, max_size=3),
    rows,
)


@given(alike)
def test_a_prompt_begins_with_its_prefix_and_has_a_token_of_its_own(
    prompts: list[list[int]],
) -> None:
    found = shared_prefixes(prompts, least=1)
    if found is None:
        return
    for prompt, prefix, n_shared in zip(prompts, found.of, found.n_shared, strict=True):
        tokens = found.tokens[prefix] if prefix != NONE else ()
        assert list(tokens) == prompt[: len(tokens)]
        assert n_shared == min(len(tokens), len(prompt) - 1)
    assert set(found.of) - {NONE} == set(range(len(found.tokens)))
    assert len(set(found.tokens)) == len(found.tokens)
    assert all(len(one) >= len(other) for one, other in pairwise(found.tokens))
    assert found.n_saved >= 1


@given(alike)
def test_members_of_a_cluster_have_half_of_their_tokens_in_common(prompts: list[list[int]]) -> None:
    found = clusters(prompts)
    numbers = {cluster.number for cluster in found} - {NONE}
    for number in numbers:
        members = [
            row for row, cluster in zip(prompts, found, strict=True) if cluster.number == number
        ]
        [n_shared] = {cluster.n_shared for cluster in found if cluster.number == number}
        n_alike = min(n_common(members[0], row) for row in members)
        assert len(members) >= 2
        assert n_shared == (n_alike if len(members) >= 8 else 0)
        assert 2 * n_alike >= max(map(len, members))


@given(alike)
def test_clusters_come_in_one_piece_and_the_longest_first(prompts: list[list[int]]) -> None:
    found = clusters(prompts)
    lengths = list(map(len, prompts))
    order = together(lengths, found)
    assert sorted(order) == list(range(len(prompts)))
    pieces = [[*piece] for _, piece in groupby(order, key=lambda row: found[row].number)]
    numbers = [found[piece[0]].number for piece in pieces if found[piece[0]].number != NONE]
    assert len(set(numbers)) == len(numbers)
    assert lengths[order[0]] == max(lengths)
    for piece in pieces:
        assert [lengths[row] for row in piece] == sorted(
            (lengths[row] for row in piece), reverse=True
        )


@given(alike)
def test_parts_have_every_row_once_and_about_as_many_tokens(prompts: list[list[int]]) -> None:
    for n_parts in range(1, min(4, len(prompts)) + 1):
        parts = dealt(prompts, n_parts)
        assert sorted(row for part in parts for row in part) == list(range(len(prompts)))
        assert all(parts)
        n_tokens = [sum(len(prompts[row]) for row in part) for part in parts]
        # The part with the most got its last run when it had the fewest.
        most = max(1, len(prompts) // (4 * n_parts)) * max(map(len, prompts))
        assert max(n_tokens) - min(n_tokens) <= most


@given(st.lists(st.integers(0, 1), max_size=30), st.lists(st.integers(0, 1), max_size=30))
def test_what_is_common_ends_at_the_first_difference(one: list[int], other: list[int]) -> None:
    n = n_common(one, other)
    assert one[:n] == other[:n]
    assert n in {len(one), len(other)} or one[n] != other[n]


def test_the_longest_prefix_that_saves_something_is_taken() -> None:
    short, long = list(range(20)), list(range(60))
    prompts = [[*short, 90 + at] for at in range(3)] + [[*long, 90 + at] for at in range(3)]
    found = shared_prefixes(prompts, least=0)
    assert found is not None
    assert found.tokens == [tuple(long), tuple(short)]
    assert found.n_saved == 2 * 20 + 2 * 60


def test_prompts_that_are_the_same_are_read_once() -> None:
    found = shared_prefixes([[1, 2, 3] * 10] * 4, least=0)
    assert found is not None
    assert found.n_shared == [29] * 4


@pytest.mark.parametrize("prompts", [[[1, 2]], [[1, 2, 3], [1, 2, 4]], [list(range(99)), [5]]])
def test_what_saves_too_little_is_not_looked_at(prompts: list[list[int]]) -> None:
    assert shared_prefixes(prompts, least=0) is None


@pytest.fixture(autouse=True)
def _in_spite_of_the_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share although these networks are so narrow that it does not pay."""
    monkeypatch.setattr(decoding, "_LEAST_BY_WIDTH", 0)


def opened(folder: Path | str, options: str = "") -> HuggingFaceModel:
    model = load_model(f"{folder},device=cpu{options}")
    assert isinstance(model, HuggingFaceModel)
    return model


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Have how many tokens are computed by each pass of a network."""
    found: list[int] = []
    real = decoding.run

    def counting(model: Any, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        found.append(ids.numel())
        return real(model, ids, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(decoding, "run", counting)
        patched.setattr(likelihood, "run", counting)
        yield found


def asked(
    model: HuggingFaceModel, prompts: Sequence[Prompt], *, share: bool, **options: Any
) -> list[str]:
    model.shares_prefixes = share
    options = {"max_new_tokens": 8, **options}
    found = dict(model.generate(prompts, **options))
    return [found[at].text for at in range(len(prompts))]


@pytest.mark.parametrize("architecture", SLOW.values())
def test_answers_are_those_of_prompts_that_are_read_whole(
    checkpoint: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    model = opened(checkpoint(architecture))
    with counted(monkeypatch) as whole:
        expected = asked(model, PROMPTS, share=False)
    with counted(monkeypatch) as shared:
        assert asked(model, PROMPTS, share=True) == expected
    if architecture == "mamba":  # its state is not that of single tokens
        assert shared == whole
    else:
        assert sum(shared) < 0.6 * sum(whole)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "mistral", "gemma3"])
@pytest.mark.parametrize("batch_tokens", [1, 200, 500, 1500])
def test_answers_are_the_same_in_batches_of_any_size(
    checkpoint: Callable[[str], Path], architecture: str, batch_tokens: int
) -> None:
    whole = asked(opened(checkpoint(architecture)), PROMPTS, share=False)
    model = opened(checkpoint(architecture), f",batch_tokens={batch_tokens}")
    assert asked(model, PROMPTS, share=True) == whole
    with model.in_other_batches(2):
        assert asked(model, PROMPTS, share=True) == whole


def test_stop_strings_end_the_same_answers(llama: Path) -> None:
    model = opened(llama)
    whole = asked(model, PROMPTS, share=False)
    stop = [text[3:5] for text in whole[::4] if text]
    found = asked(model, PROMPTS, share=True, stop=stop)
    assert found == asked(model, PROMPTS, share=False, stop=stop)
    assert found != whole


def test_rows_that_end_early_leave_the_others_alone(llama: Path) -> None:
    model = opened(llama)
    whole = asked(model, PROMPTS, share=False, max_new_tokens=24)
    cut = asked(model, PROMPTS, share=True, max_new_tokens=24,
                decided=lambda index, text: len(text) > index)  # fmt: skip
    assert all(long.startswith(short) for long, short in zip(whole, cut, strict=True))
    assert len({len(text) for text in cut}) > 6


def test_samples_are_drawn_by_the_same_numbers(llama: Path) -> None:
    model = opened(llama)
    with model.sampling(Sampling(0.8, top_p=0.95, seed=3, number=2)):
        drawn = asked(model, PROMPTS, share=True)
        assert drawn == asked(model, PROMPTS, share=False)
    assert drawn != asked(model, PROMPTS, share=True)


def test_numbers_left_in_memory_by_an_earlier_batch_do_not_count(llama: Path) -> None:
    model = opened(llama)
    expected = asked(model, PROMPTS, share=True)
    for memory in model._pool._idle:
        for block in memory._blocks.values():
            with torch.inference_mode():
                block.fill_(float("nan"))
    assert asked(model, PROMPTS, share=True) == expected


def test_a_chat_template_makes_a_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = TEMPLATE.replace("[{{ m.role }}]", f"{LINES[3]} [{{{{ m.role }}}}]")
    tokenizer.save_pretrained(tmp_path)
    model = opened(save_model(tmp_path), ",chat=true")
    expected = asked(model, QUESTIONS, share=False)
    with counted(monkeypatch) as shared:
        assert asked(model, QUESTIONS, share=True) == expected
    lengths = list(map(len, model.encode(QUESTIONS)))
    assert shared[0] > 20  # the prefix comes first
    assert sum(shared) < sum(lengths)


def test_where_it_does_not_pay_prompts_are_read_whole(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_LEAST_BY_WIDTH", 31)  # of 32 numbers: nearly all tokens
    model = opened(llama)
    with counted(monkeypatch) as whole:
        asked(model, PROMPTS[:10], share=False)
    with counted(monkeypatch) as shared:
        asked(model, PROMPTS[:10], share=True)
    assert shared == whole


def test_one_prefix_is_computed_once(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened(llama)
    prompts = [FEW_SHOT + question for question in QUESTIONS]
    tokens = model.encode(prompts)
    n_prefix = min(n_common(tokens[0], other) for other in tokens[1:])
    with counted(monkeypatch) as shared:
        asked(model, prompts, share=True, max_new_tokens=1)
    assert shared[0] == n_prefix
    # The rest of each prompt, as wide as the widest; read whole, they would be ten prefixes more.
    assert sum(shared) <= n_prefix + len(prompts) * max(len(row) - n_prefix for row in tokens)


@pytest.mark.parametrize("n_candidates", [1, 3])
@pytest.mark.parametrize("architecture", SLOW.values())
def test_scores_are_those_of_prompts_that_are_read_whole(
    checkpoint: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    architecture: str,
    n_candidates: int,
) -> None:
    model = opened(checkpoint(architecture))
    candidates = [[" sleeps.", " zeven", "12 and more"][:n_candidates]] * len(PROMPTS)
    scores, counts = {}, {}
    for share in (False, True):
        model.shares_prefixes = share
        with counted(monkeypatch) as n_computed:
            scores[share] = [each for row in model.score(PROMPTS, candidates) for each in row]
        counts[share] = sum(n_computed)
    # As for batches of other sizes: float32 sums in another order, values up to about 50.
    assert scores[True] == pytest.approx(scores[False], abs=2e-4)
    assert architecture == "mamba" or counts[True] < 0.7 * counts[False]


@pytest.mark.slow
@pytest.mark.parametrize("batch_tokens", [1, 300, 1500])
def test_scores_are_the_same_in_batches_of_any_size(llama: Path, batch_tokens: int) -> None:
    whole = opened(llama)
    whole.shares_prefixes = False
    expected = whole.likelihoods(PROMPTS, [["a", " b c"]] * len(PROMPTS))
    model = opened(llama, f",batch_tokens={batch_tokens}")
    found = model.likelihoods(PROMPTS, [["a", " b c"]] * len(PROMPTS))
    for one, other in zip(found, expected, strict=True):
        assert [each.log_probability for each in one] == pytest.approx(
            [each.log_probability for each in other], abs=2e-4
        )
        assert [each.margin for each in one] == pytest.approx(
            [each.margin for each in other], abs=2e-4
        )


def test_next_tokens_are_those_of_prompts_that_are_read_whole(llama: Path) -> None:
    model = opened(llama)
    beginnings = [()] * len(PROMPTS)
    found = model.next_tokens(PROMPTS, beginnings, n=3)
    model.shares_prefixes = False
    for one, other in zip(found, model.next_tokens(PROMPTS, beginnings, n=3), strict=True):
        assert [each.tokens for each in one] == [each.tokens for each in other]
        assert [each.log_probability for each in one] == pytest.approx(
            [each.log_probability for each in other], abs=2e-4
        )


def test_parts_for_each_core_give_the_same_answers(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = asked(opened(llama), PROMPTS, share=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert asked(opened(llama), PROMPTS, share=True) == expected


@pytest.mark.slow
def test_a_network_that_is_not_fused_gives_the_same_answers(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, attention_bias=True)
    model = opened(folder)
    assert asked(model, PROMPTS, share=True) == asked(model, PROMPTS, share=False)
