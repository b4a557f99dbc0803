"""Several answers to a prompt: kept one by one, judged as one that is as right as their mean."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.lm.models.checkpoints import save_checkpoint

from palimpsest.engines import make_engine
from palimpsest.errors import UserError
from palimpsest.judging import Shard, Workers, answer_shard, merge, rewrite_report
from palimpsest.judging.diagnosis import diagnose
from palimpsest.judging.dry_run import forecast
from palimpsest.judging.history import compare_runs
from palimpsest.judging.rescoring import rescore
from palimpsest.judging.samples import Samples, averaged
from palimpsest.lm.models import ScriptedModel
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records import AnswerStore, Results

pytestmark = pytest.mark.usefixtures("empty_figures")

DRAWN = "4,temperature=0.7"


def suite(n: int = 40) -> Suite:
    return Suite(
        name="numbers",
        source_language="en",
        examples=tuple(
            Example(f"{at}", "count", "en", f"Say {at}:", {"say": (f"{at}",), "other": ("no",)})
            for at in range(n)
        ),
    )


def says(*rights: int) -> Callable[[Prompt], list[str]]:
    """Return what gives four answers to a prompt, so many of them right as stands for it."""

    def answers(prompt: Prompt) -> list[str]:
        number = str(prompt).rpartition(" ")[2].rstrip(":")
        n = rights[int(number) % len(rights)]
        return [f" {number}"] * n + [" no"] * (4 - n)

    return answers


def pair() -> tuple[ScriptedModel, ScriptedModel]:
    return ScriptedModel(says(4, 3), name="base"), ScriptedModel(says(1, 0), name="tuned")


def diagnosed(out: Path | None = None, **options: object) -> Results:
    base, tuned = pair()
    return diagnose(
        base,
        tuned,
        suite=suite(),
        via=["upper"],
        out=out,
        n_resamples=300,
        **options,  # type: ignore[arg-type]
    )


def test_samples_are_written_as_a_number_and_how_they_are_drawn() -> None:
    found = Samples.parse("5,temperature=0.7,top_p=0.9,seed=3")
    assert (found.n, found.how.temperature, found.how.top_p, found.how.seed) == (5, 0.7, 0.9, 3)
    assert Samples.parse(str(found)) == found
    assert [each.number for each in found.each] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("five", "expected a number and a temperature"),
        ("5", "have no temperature"),
        ("1,temperature=1", "expected 2 to 1,000"),
        ("5,temperature=0", "expected a number above 0"),
        ("5,temperature=warm", "expected a number"),
        ("5,temperature=1,top_p=2", "expected a share above 0"),
        ("5,temperature=1,top_k=2", "has no option 'top_k'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Samples.parse(text)


def test_an_accuracy_is_the_mean_over_samples_and_its_interval_is_over_prompts() -> None:
    found = diagnosed(samples=DRAWN)
    assert found.plain.base.n == 40
    assert found.plain.base.accuracy == pytest.approx((4 + 3) / 8)
    assert found.plain.tuned.accuracy == pytest.approx(1 / 8)
    assert found.plain.tuned.intruded == pytest.approx(7 / 8)
    assert found.plain.forgetting_newcombe95 is None
    low, high = found.plain.tuned.ci95
    # Of 160 independent answers it would be 0.08 to 0.19; prompts that differ tell of 40.
    assert 0.04 < low < 1 / 8 < high < 0.22
    assert found.samples is not None
    assert (found.samples.n, found.samples.temperature) == (4, 0.7)


def test_every_sample_is_kept_by_itself_and_greedy_answers_stay_what_they_were(
    tmp_path: Path,
) -> None:
    diagnosed(tmp_path)
    with AnswerStore(tmp_path / "answers.sqlite", read_only=True) as store:
        greedy = store.run_rows()
    diagnosed(tmp_path, samples=DRAWN)
    with AnswerStore(tmp_path / "answers.sqlite", read_only=True) as store:
        rows = store.run_rows()
        assert len(store) == len(greedy) + len(rows)
    per_prompt = Counter((row.role, row.via, row.key.source_id) for row in rows)
    assert set(per_prompt.values()) == {4}
    assert not {row.key for row in greedy} & {row.key for row in rows}
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "4 answers of each prompt, drawn at temperature 0.7" in page
    assert rewrite_report(tmp_path).read_text("utf-8") == page
    diagnosed(tmp_path)
    with AnswerStore(tmp_path / "answers.sqlite", read_only=True) as store:
        assert store.run_rows() == greedy


def test_a_run_that_goes_on_asks_for_the_missing_samples_alone(tmp_path: Path) -> None:
    diagnosed(tmp_path, samples="2,temperature=0.7")
    asked: list[Prompt] = []

    def counted(prompt: Prompt) -> list[str]:
        asked.append(prompt)
        return says(4, 3)(prompt)

    _, tuned = pair()
    again = ScriptedModel(counted, name="base")
    results = diagnose(
        again, tuned, suite=suite(), via=["upper"], out=tmp_path, samples=DRAWN, n_resamples=300
    )
    assert len(asked) == 2 * 2 * 40
    assert results.plain == diagnosed(samples=DRAWN).plain


def test_samples_of_a_prompt_make_one_answer_which_shows_one_of_the_wrong_ones(
    tmp_path: Path,
) -> None:
    diagnosed(tmp_path, samples=DRAWN)
    with AnswerStore(tmp_path / "answers.sqlite", read_only=True) as store:
        rows = averaged(store.run_rows())
    base = {r.key.source_id: r for r in rows if (r.role, r.via) == ("base", "identity")}
    assert (base["0"].outcome, base["0"].score) == ("right", None)
    assert (base["1"].outcome, base["1"].score, base["1"].answer) == ("intruded", 0.75, " no")
    assert averaged(rows) is rows


def test_a_forecast_counts_every_sample() -> None:
    one, four = (
        forecast(*pair(), suite=suite(), via=["upper"], samples=samples)
        for samples in (None, DRAWN)
    )
    assert four.models[0].n_questions == 4 * one.models[0].n_questions
    assert four.models[0].n_prompt_tokens > 3 * one.models[0].n_prompt_tokens


def test_rounds_until_sure_go_by_the_means_of_samples(tmp_path: Path) -> None:
    found = diagnosed(tmp_path, samples=DRAWN, until_sure=True)
    assert found.until_sure is not None
    assert found.until_sure.n_answers % 4 == 0
    assert found.plain.tuned.accuracy == pytest.approx(1 / 8, abs=0.05)
    with AnswerStore(tmp_path / "answers.sqlite", read_only=True) as store:
        assert len(store.run_rows()) == found.until_sure.n_answers


def test_the_noise_of_greedy_answers_is_not_asked_of_samples() -> None:
    with pytest.raises(UserError, match="samples do so by design"):
        diagnosed(samples=DRAWN, noise_floor=2)


def test_a_model_that_only_decodes_greedily_is_refused() -> None:
    class Greedy:
        spec = "greedy"
        fingerprint = "greedy"
        chat = False

    with pytest.raises(UserError, match="cannot be drawn"):
        diagnose(Greedy(), Greedy(), suite=suite(), samples=DRAWN)  # type: ignore[arg-type]


def test_a_run_with_samples_is_not_judged_anew(tmp_path: Path) -> None:
    diagnosed(tmp_path, samples=DRAWN)
    with pytest.raises(UserError, match="4 samples of each prompt"):
        rescore(tmp_path, "contains", out=tmp_path / "anew")


def test_runs_with_samples_have_a_history(tmp_path: Path) -> None:
    for name in ("one", "two"):
        diagnosed(tmp_path / name, samples=DRAWN)
    found = compare_runs([tmp_path / "one", tmp_path / "two"])
    assert found.changes[0].accuracy_before == pytest.approx(1 / 8)
    assert not found.changes[0].is_clear


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    save_checkpoint(folder, "llama")
    return str(folder)


@pytest.mark.slow
def test_shards_and_workers_draw_the_samples_of_one_process(
    tmp_path: Path, checkpoint: str
) -> None:
    file = tmp_path / "suite.jsonl"
    rows = (
        {"id": f"{at}", "prompt": f"Say {at}:", "answers": {"say": [f"{at}"]}} for at in range(12)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = {
        "base": checkpoint,
        "tuned": f"{checkpoint},batch_tokens=64",
        "suite": f"jsonl:{file}",
        "via": [],
        "samples": "3,temperature=1",
    }
    one = diagnose(**asked, out=tmp_path / "one", n_resamples=100)  # type: ignore[arg-type]
    for number in (1, 2):
        answer_shard(Shard(number, 2), asked, out=tmp_path / f"part{number}")
    merged = merge([tmp_path / "part1", tmp_path / "part2"], tmp_path / "merged")
    assert merged.plain.base.n == one.plain.base.n
    with Workers(make_engine("processes", workers=2)) as workers:
        diagnose(**asked, out=tmp_path / "held", workers=workers, n_resamples=100)  # type: ignore[arg-type]
    said = []
    for name in ("one", "merged", "held"):
        with AnswerStore(tmp_path / name / "answers.sqlite", read_only=True) as store:
            said.append({row.key: row.raw for row in store.run_rows()})
    assert said[0] == said[1] == said[2]
    assert len(set(said[0].values())) > 12  # samples differ
