"""The harness's cache of answers, which knows nothing of conjugations."""

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.model import CachingLM
from tests.integrations.harness.conftest import Recorder, generating, scoring

from palimpsest.integrations.lm_eval import ConjugateLM

REQUESTS = scoring(("Is it?", " Yes"), ("Is it?", " No"))


def likelihoods(cache: Path, via: str | None, score: float) -> tuple[list[Any], int]:
    """Return the answers of a model that always says ``score``, and how often it was asked."""
    inner = Recorder(score=lambda *_: score)
    model = inner if via is None else ConjugateLM(inner, via=via)
    answers = CachingLM(model, str(cache)).loglikelihood(REQUESTS)
    return [likelihood for likelihood, _ in answers], len(inner.asked)


def test_the_same_conjugation_is_served_from_the_cache(tmp_path: Path) -> None:
    cache = tmp_path / "cache.db"
    assert likelihoods(cache, "leet", -1.0) == ([-1.0, -1.0], 2)
    assert likelihoods(cache, "leet", -2.0) == ([-1.0, -1.0], 0)


@pytest.mark.slow
@pytest.mark.parametrize("others", [[None, "rot13"], ["identity", "leet|upper"]])
def test_no_conjugation_is_served_what_another_has_answered(
    tmp_path: Path, others: list[str | None]
) -> None:
    cache = tmp_path / "cache.db"
    for number, via in enumerate([others[0], "leet", others[1]]):
        assert likelihoods(cache, via, -float(number)) == ([-number, -number], 2)
    for number, via in enumerate([others[0], "leet", others[1]]):
        assert likelihoods(cache, via, -9.0) == ([-number, -number], 0)


def test_the_identity_shares_the_rows_of_the_plain_model(tmp_path: Path) -> None:
    cache = tmp_path / "cache.db"
    assert likelihoods(cache, None, -1.0) == ([-1.0, -1.0], 2)
    assert likelihoods(cache, "identity", -2.0) == ([-1.0, -1.0], 0)


def test_a_run_that_breaks_off_leaves_its_answers_inverted_under_the_original_requests(
    tmp_path: Path,
) -> None:
    spoken = iter([" lrf\nab", " ab\nlrf"])
    broken = Recorder(say=lambda _: next(spoken))  # which has no third answer
    requests = [generating(question, until=["\n"]) for question in ("A?", "B?", "C?")]
    cache = str(tmp_path / "cache.db")
    with pytest.raises(StopIteration):
        CachingLM(ConjugateLM(broken, via="rot13"), cache).generate_until(requests)
    inner = Recorder(say=lambda _: " znlor\n")
    again = CachingLM(ConjugateLM(inner, via="rot13"), cache).generate_until(requests)
    assert again == [" yes", " no", " maybe"]
    assert [each.args[0] for each in inner.asked] == ["P?"]


def test_requests_that_are_sent_in_the_same_form_are_all_filed(tmp_path: Path) -> None:
    class Breaks(Recorder):
        def loglikelihood(self, requests: Any) -> Any:
            super().loglikelihood(requests)
            raise InterruptedError

    requests = scoring(("Which?", " polish"), ("Which?", " Polish"))
    cache = str(tmp_path / "cache.db")
    with pytest.raises(InterruptedError):
        CachingLM(ConjugateLM(Breaks(), via="upper"), cache).loglikelihood(requests)
    inner = Recorder()
    CachingLM(ConjugateLM(inner, via="upper"), cache).loglikelihood(requests)
    assert inner.asked == []


@pytest.mark.slow
def test_the_harness_finds_the_cache_by_its_option(evaluate: Any, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")

    def first_word(via: str, said: str) -> str:
        model = ConjugateLM(Recorder(say=lambda _: said), via=via)
        samples = evaluate(model, "generation", use_cache=cache)["samples"]["generation"]
        return str(samples[0]["filtered_resps"][0])

    assert first_word("leet", " 0n3") == "one"
    assert first_word("rot13", " gjb") == "two"
    assert first_word("leet", " 7w0") == "one"
