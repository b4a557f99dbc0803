from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from palimpsest.judging.diagnosis import diagnose
from palimpsest.judging.dry_run import N_SAMPLE, forecast
from palimpsest.judging.evaluation import evaluate
from palimpsest.judging.rounds import FIRST_ROUND
from palimpsest.judging.via import parse_via
from palimpsest.lm.models import PriceTable, ScriptedModel, load_model
from palimpsest.lm.suites import Example, Suite
from palimpsest.records import AnswerStore

N = 60
VIAS = ["leet", "rot13"]
SUITE = Suite(
    name="words",
    examples=tuple(
        Example(f"{cell}-{i}", cell, "en", f"Say {cell} {'word ' * (i % 7)}{i}", {"a": ("Say",)})
        for cell in ("one", "two", "three")
        for i in range(N)
    ),
)


class Counting(ScriptedModel):
    """Repeats the prompt and counts what it was asked."""

    def __init__(self, name: str) -> None:
        super().__init__(lambda prompt: f"{prompt}", name=name, fingerprint=name)
        self.n_asked = 0

    def generate(self, prompts: Any, **options: Any) -> Any:
        self.n_asked += len(prompts)
        return super().generate(prompts, **options)

    def count_tokens(self, texts: Any) -> list[int]:
        return [len(text.split()) for text in texts]


def pair() -> dict[str, Any]:
    return {"base": Counting("base"), "tuned": Counting("tuned")}


def test_it_counts_what_a_diagnosis_asks_and_asks_a_sample_alone(tmp_path: Path) -> None:
    models = pair()
    found = forecast(**models, suite=SUITE, via=VIAS, out=tmp_path / "run")
    assert found.vias == ("identity", *VIAS)
    assert found.n_examples == 3 * N
    for each in found.models:
        asked = models[each.role].n_asked
        assert each.n_questions == 3 * 3 * N
        assert each.n_on_file == asked <= N_SAMPLE
        assert each.seconds is not None
        assert each.seconds > 0
    asked_before = models["base"].n_asked
    diagnose(**models, suite=SUITE, via=VIAS, out=tmp_path / "run", n_resamples=100)
    again = models["base"].n_asked - asked_before - found.models[0].n_to_ask
    assert 0 <= again <= 3 * 3 * 10  # a sample of wrong answers is asked to its end


def test_a_forecast_in_a_folder_with_answers_is_timed_as_well(tmp_path: Path) -> None:
    """Each asks what is not on file, also after a run that ended within some ways of asking."""
    how: dict[str, Any] = {"suite": SUITE, "via": VIAS, "out": tmp_path / "run"}
    first, second = forecast(**pair(), **how), forecast(**pair(), **how)
    assert second.n_sampled > 0
    for before, after in zip(first.models, second.models, strict=True):
        assert after.n_on_file > before.n_on_file
        assert after.seconds
    with AnswerStore(tmp_path / "run" / "answers.sqlite") as store:
        evaluate(Counting("tuned"), SUITE, [parse_via("identity")], store=store, role="tuned")
    assert forecast(**pair(), **how).models[1].seconds
    diagnose(**pair(), **how, n_resamples=100)
    done = forecast(**pair(), **how)
    assert [(each.n_to_ask, each.seconds) for each in done.models] == [(0, 0.0)] * 2
    assert done.n_sampled == 0


def test_tokens_are_those_of_the_prompts_that_are_missing(tmp_path: Path) -> None:
    found = forecast(**pair(), suite=SUITE, via=["leet"], n_sample=0, out=tmp_path / "run")
    words = sum(len(each.prompt.split()) for each in SUITE.examples if isinstance(each.prompt, str))
    base = found.models[0]
    assert (base.n_prompt_tokens, base.counts) == (2 * words, "tokenizer")
    assert base.n_answer_tokens == 2 * 3 * N * SUITE.max_new_tokens
    assert (base.seconds, found.n_sampled, base.n_on_file) == (None, 0, 0)


@pytest.mark.slow
def test_what_is_on_file_is_not_counted(tmp_path: Path) -> None:
    models = pair()
    diagnose(**models, suite=SUITE, via=VIAS, out=tmp_path / "run", n_resamples=100)
    n_asked = models["base"].n_asked
    found = forecast(**models, suite=SUITE, via=[*VIAS, "upper"], out=tmp_path / "run", n_sample=0)
    assert [each.n_to_ask for each in found.models] == [3 * N] * 2
    assert models["base"].n_asked == n_asked
    with AnswerStore(tmp_path / "run" / "answers.sqlite", read_only=True) as store:
        assert len(store) == 2 * 3 * 3 * N


def test_a_model_of_this_machine_says_how_much_memory_it_takes(tmp_path: Path) -> None:
    found = forecast("rosetta:base", "rosetta:tuned", suite="rosetta", via=[], limit=2, n_sample=0)
    n_bytes = found.models[0].memory_bytes
    assert n_bytes is not None
    model: Any = load_model("rosetta:base")
    assert n_bytes > 4 * model.n_parameters


def test_an_endpoint_is_asked_nothing_and_its_cost_is_counted(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text('[models."m"]\ninput = 1000\noutput = 2000\n')
    prices = PriceTable.read(tmp_path / "prices.toml")
    nobody = "openai:m@http://127.0.0.1:9/v1"  # nothing listens there
    found = forecast(nobody, Counting("tuned"), suite=SUITE, via=[], prices=prices)
    base, tuned = found.models
    assert (base.seconds, base.counts, tuned.cost_usd) == (None, "bytes", None)
    expected = (1000 * base.n_prompt_tokens + 2000 * base.n_answer_tokens) / 1e6
    assert base.cost_usd == pytest.approx(expected)
    assert json.loads(json.dumps(found.to_json()))["models"][0]["cost_usd"] == base.cost_usd


def test_asking_again_and_until_sure_are_foreseen(tmp_path: Path) -> None:
    how: dict[str, Any] = {"suite": SUITE, "via": VIAS, "out": tmp_path / "run", "n_sample": 0}
    plain = forecast(**pair(), **how)
    found = forecast(**pair(), **how, noise_floor=2, until_sure=True)
    base, tuned = found.models
    assert base.n_to_ask == plain.models[0].n_to_ask + 2 * 3 * N
    assert (base.n_again, tuned.n_again) == (2 * 3 * N, 0)
    assert tuned.n_to_ask == plain.models[1].n_to_ask
    assert base.n_least == tuned.n_least == 3 * FIRST_ROUND
    assert base.n_prompt_tokens > plain.models[0].n_prompt_tokens == tuned.n_prompt_tokens
    diagnose(**pair(), suite=SUITE, via=VIAS, out=tmp_path / "run", n_resamples=100)
    after = forecast(**pair(), **how, noise_floor=2, until_sure=True)
    assert [each.n_to_ask for each in after.models] == [2 * 3 * N, 0]
    assert [each.n_least for each in after.models] == [0, 0]


def test_workers_divide_the_time_of_models_that_are_computed_here() -> None:
    asked: dict[str, Any] = {"base": "rosetta:base", "suite": "rosetta", "limit": 3, "via": []}
    found = forecast(tuned=Counting("tuned"), **asked, until_sure=True, n_workers=4)
    base, tuned = found.models
    assert (base.n_workers, tuned.n_workers) == (4, 1)
    assert base.seconds is not None
    assert base.seconds_least == pytest.approx(base.seconds)  # 3 examples are a first round
