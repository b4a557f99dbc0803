"""Parts of a batch for each core change nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch

from palimpsest.lm.models.huggingface.small_networks import DividedDecoder, one_core_threads
from palimpsest.lm.models.specs import load_model

PROMPTS = ["The cat", "", "où est le garçon", "Wat is vijf plus zeven?", "12 " * 9, "a", "bb"]


@pytest.fixture(params=[2, 3])
def n_cores(request: pytest.FixtureRequest) -> Iterator[int]:
    """Let torch use several cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


class Counting:
    """A decoder whose next token is one more than the last; it starts with the prompt's own."""

    def __init__(self, prompts: Sequence[Sequence[int]]) -> None:
        self.tokens = [prompt[0] for prompt in prompts]

    def start(self) -> list[int]:
        return self.tokens

    def feed(self, tokens: Sequence[int]) -> list[int]:
        assert len(tokens) == len(self.tokens)
        return [token + 1 for token in tokens]

    def keep(self, rows: list[int]) -> None:
        assert all(row >= len(rows) for place, row in enumerate(rows) if row != place)
        self.tokens = [self.tokens[row] for row in rows]


def test_every_worker_computes_on_one_core_and_the_caller_on_all(n_cores: int) -> None:
    with one_core_threads(n_cores) as threads:
        assert list(threads.map(lambda _: torch.get_num_threads(), range(9))) == [1] * 9
    assert torch.get_num_threads() == n_cores


def test_rows_come_back_in_their_order(n_cores: int) -> None:
    threads = one_core_threads(n_cores)
    decoder = DividedDecoder(threads, n_cores, [[10 * row] for row in range(7)], Counting)
    tokens = decoder.start()
    assert tokens == [0, 10, 20, 30, 40, 50, 60]
    assert decoder.feed(tokens) == [1, 11, 21, 31, 41, 51, 61]
    decoder.keep([0, 6, 2])
    assert decoder.feed([1, 61, 21]) == [2, 62, 22]
    decoder.keep([0])
    assert decoder.feed([2]) == [3]


@pytest.mark.slow
def test_answers_do_not_depend_on_the_number_of_cores(llama: Path, n_cores: int) -> None:
    options = {"max_new_tokens": 20}
    several = load_model(str(llama))
    found = dict(several.generate(PROMPTS, **options))  # type: ignore[arg-type]
    cut = dict(several.generate(PROMPTS, decided=lambda i, text: len(text) > i, **options))  # type: ignore[arg-type]
    torch.set_num_threads(1)
    alone = dict(load_model(str(llama)).generate(PROMPTS, **options))  # type: ignore[arg-type]
    assert {i: answer.text for i, answer in found.items()} == {
        i: answer.text for i, answer in alone.items()
    }
    assert all(alone[i].text.startswith(answer.text) for i, answer in cut.items())
    several.close()


def test_an_error_in_a_worker_reaches_the_caller(n_cores: int) -> None:
    def fail(item: int) -> None:
        raise MemoryError(item)

    with pytest.raises(MemoryError):
        list(one_core_threads(n_cores).map(fail, [1, 2, 3]))
