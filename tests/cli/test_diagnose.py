import json
from pathlib import Path

import pytest
from tests.cli.conftest import N_EXAMPLES, Palimpsest, Scripted

from palimpsest.judging.conclude import rewrite_report
from palimpsest.judging.diagnosis import diagnose
from palimpsest.lm.models.protocol import ScoringUnavailableError
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.records.results import Results
from palimpsest.records.store import AnswerStore

pytestmark = pytest.mark.usefixtures("empty_figures")


@pytest.mark.slow
def test_a_suppressed_ability_is_called_suppressed(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    ended = palimpsest(
        "diagnose", scripted.base, scripted.suppressed, "--suite", scripted.suite,
        "--via", "rot13", "--out", tmp_path / "run",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "Verdict: suppressed" in ended.out
    results = Results.model_validate_json((tmp_path / "run" / "results.json").read_bytes())
    assert results.plain.forgetting == 1.0
    assert results.plain.tuned.intruded == 1.0
    assert results.conjugations[0].recovery == 1.0
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.slow
def test_a_lost_ability_is_called_lost(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    ended = palimpsest(
        "diagnose", scripted.base, scripted.lost, "--suite", scripted.suite, "--via", "rot13",
        "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    results = json.loads(ended.out)
    assert results["verdict"] == "lost"
    assert results["plain"]["tuned"]["broken"] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("tuned", "code"), [("base", 0), ("suppressed", 3), ("lost", 3)])
def test_fail_on_forgotten_exits_3_when_an_ability_went(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path, tuned: str, code: int
) -> None:
    ended = palimpsest(
        "diagnose", scripted.base, getattr(scripted, tuned), "--suite", scripted.suite,
        "--via", "rot13", "--out", tmp_path / "run", "--fail-on", "forgotten", "--quiet",
    )  # fmt: skip
    assert ended.code == code


@pytest.mark.slow
def test_limit_uses_that_many_examples(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    ended = palimpsest(
        "diagnose", scripted.base, scripted.lost, "--suite", scripted.suite, "--via", "rot13",
        "--out", tmp_path / "run", "--limit", 7, "--json",
    )  # fmt: skip
    results = json.loads(ended.out)
    assert results["plain"]["base"]["n"] == 7 < N_EXAMPLES
    assert results["verdict"] == "inconclusive"


@pytest.mark.slow
def test_the_report_can_be_written_anew_without_a_model(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    palimpsest(
        "diagnose", scripted.base, scripted.suppressed, "--suite", scripted.suite,
        "--via", "rot13", "--out", out, "--quiet",
    )  # fmt: skip
    before = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    ended = palimpsest("report", out)
    assert ended.code == 0, ended.err
    assert (out / "report.html").read_bytes() == before


def test_a_second_run_asks_nothing_and_says_the_same(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    command = (
        "diagnose", scripted.base, scripted.suppressed, "--suite", scripted.suite,
        "--via", "rot13", "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    first, second = (json.loads(palimpsest(*command).out) for _ in range(2))
    for results in (first, second):
        del results["provenance"]
    assert first == second


@pytest.mark.slow
def test_a_limit_may_be_lifted_and_set_again_in_one_folder(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    def results_of(folder: str, *limit: object) -> object:
        out = tmp_path / folder
        ended = palimpsest(
            "diagnose", scripted.base, scripted.suppressed, "--suite", scripted.suite,
            "--via", "rot13", "--out", out, "--json", *limit,
        )  # fmt: skip
        report = (out / "report.html").read_bytes()
        assert rewrite_report(out).read_bytes() == report
        results = json.loads(ended.out)
        del results["provenance"]
        return results

    def n_answers() -> int:
        with AnswerStore(tmp_path / "run" / "answers.sqlite", read_only=True) as store:
            return len(store)

    limited = results_of("run", "--limit", 40)
    assert n_answers() == 40 * 4  # two models, two ways of asking
    whole = results_of("run")
    assert n_answers() == N_EXAMPLES * 4
    again = results_of("run", "--limit", 40)
    assert n_answers() == N_EXAMPLES * 4
    assert limited == again == results_of("fresh and limited", "--limit", 40)
    assert whole == results_of("fresh and whole")


@pytest.mark.slow
def test_after_an_edit_of_the_suite_the_report_has_only_the_examples_of_the_newest_run(
    scripted: Scripted, tmp_path: Path
) -> None:
    suite = tmp_path / "mine.jsonl"
    rows = [
        {"id": str(i), "prompt": f"Copy: {word}", "answers": {"copy": [word], "shout": ["loud"]}}
        for i, word in enumerate(("wordaa", "wordab"))
    ]
    for order in (rows, [{**rows[0], "id": "1"}, {**rows[1], "id": "0"}], rows):
        suite.write_text("\n".join(map(json.dumps, order)), "utf-8")
        out = tmp_path / "run"
        diagnose(scripted.base, scripted.base, suite=f"jsonl:{suite}", via=["rot13"], out=out)
        with AnswerStore(out / "answers.sqlite", read_only=True) as store:
            found = store.run_rows()
        expected = {(row["id"], row["prompt"]) for row in order}
        assert len(found) == 2 * 2 * 2  # as base and as tuned, in two ways, two examples
        plain = [row for row in found if row.via == "identity"]
        assert {(row.key.source_id, row.prompt) for row in plain} == expected
        assert {row.role for row in found} == {"base", "tuned"}


@pytest.mark.slow
def test_an_interrupted_run_leaves_the_report_of_the_one_before(
    scripted: Scripted, tmp_path: Path
) -> None:
    def stop_halfway(role: str, n_done: int, n_total: int, n_reused: int) -> None:
        if n_done > n_total // 2:
            raise KeyboardInterrupt

    pair, suite, out = (scripted.base, scripted.lost), scripted.suite, tmp_path / "run"
    diagnose(*pair, suite=suite, via=["rot13"], out=out, limit=5)
    report = (out / "report.html").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        diagnose(*pair, suite=suite, via=["rot13", "leet"], out=out, progress=stop_halfway)
    assert rewrite_report(out).read_bytes() == report


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing-base", "missing-tuned"], "missing-base"),
        (["rosetta:bse", "rosetta:tuned"], "Did you mean 'base'?"),
        (["BASE", "BASE", "--suite", "icl-vs-fi"], "Did you mean 'icl-vs-if'?"),
        (["BASE", "BASE", "--suite", "SUITE", "--via", "leat"], "Did you mean 'leet'?"),
        (["BASE", "BASE", "--suite", "SUITE", "--via", "native:fr"], "fr"),
        (["BASE", "BASE", "--suite", "jsonl:missing.jsonl"], "missing.jsonl"),
        (["BASE", "BASE", "--suite", "SUITE", "--min-fidelity", "60"], "less than or equal to 1"),
        (["BASE", "BASE", "--suite", "SUITE", "--budget", "1"], "needs prices"),
        (["BASE", "BASE", "--suite", "SUITE", "--prices", "PRICES"], "neither model costs"),
        (["BASE", "BASE", "--suite", "SUITE", "--prices", "missing.toml"], "missing.toml"),
        (["BASE", "BASE", "--suite", "SUITE", "--shard", "1/2", "--plan"], "cannot have --plan"),
        (["BASE", "BASE", "--suite", "SUITE", "--plan", "--engine", "rey"], "Did you mean 'ray'?"),
        (["BASE", "BASE", "--suite", "SUITE", "--plan", "--workers", "4"], "has no meaning here"),
        (["BASE", "BASE", "--suite", "SUITE", "--plan", "--address", "auto"], "is for Ray"),
        (
            ["BASE", "BASE", "--suite", "SUITE", "--engine", "ray", "--address", "127.0.0.1:1"],
            "No Ray cluster answers at '127.0.0.1:1'",
        ),
    ],
)
def test_a_mistake_is_explained_and_exits_2(
    palimpsest: Palimpsest,
    scripted: Scripted,
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text('[models."m"]\ninput = 1\noutput = 2\n', "utf-8")
    names = {"BASE": scripted.base, "SUITE": scripted.suite, "PRICES": prices}
    ended = palimpsest(
        "diagnose", *(names.get(word, word) for word in arguments), "--out", tmp_path / "run"
    )
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


def test_a_foreign_folder_is_left_alone(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("mine", "utf-8")
    ended = palimpsest(
        "diagnose", scripted.base, scripted.lost, "--suite", scripted.suite, "--out", tmp_path
    )
    assert ended.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_min_fidelity_leaves_distorted_prompts_out_and_says_how_many(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    ended = palimpsest(
        "diagnose", scripted.base, scripted.lost, "--suite", scripted.suite,
        "--via", "reverse-words", "--via", "upper", "--via", "rot13", "--min-fidelity", "0.9",
        "--out", out,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    results = Results.model_validate_json((out / "results.json").read_bytes())
    left_out = {found.name: found.n_excluded for found in results.conjugations}
    assert left_out["rot13"] == 0
    assert "upper" not in left_out  # nothing of it is left to report
    assert f"{N_EXAMPLES} of {N_EXAMPLES} examples are left out under 'upper'" in ended.err
    assert results.provenance.min_fidelity == 0.9
    with AnswerStore(out / "answers.sqlite", read_only=True) as store:
        fidelities = {row.via: row.fidelity for row in store.run_rows()}
    assert fidelities["rot13"] == 1.0
    assert fidelities["upper"] is not None
    assert fidelities["upper"] < 0.9


class Unscored(ScriptedModel):
    """A model behind an endpoint that offers no log-probabilities."""

    def score(self, *_: object) -> list[list[float]]:
        raise ScoringUnavailableError("No log-probabilities.")


@pytest.mark.slow
def test_choices_are_generated_for_both_models_if_one_cannot_score(tmp_path: Path) -> None:
    examples = tuple(
        Example(
            f"{i}", "nli", "en", f"Is it {i}? Answer:", {"nli": ("Yes",)}, choices=("Yes", "No")
        )
        for i in range(40)
    )
    suite = Suite("choice", examples, chance=0.5)
    able = ScriptedModel(lambda _: " Yes", fingerprint="able")
    unable = Unscored(lambda _: " Yes", fingerprint="unable")

    chosen = diagnose(able, able, suite=suite, via=[], out=tmp_path / "chosen", n_resamples=100)
    mixed = diagnose(able, unable, suite=suite, via=[], out=tmp_path / "mixed", n_resamples=100)

    assert chosen.suite.chance == 0.5
    assert not chosen.warnings or "cannot say" not in chosen.warnings[0]
    assert any("cannot say how likely" in warning for warning in mixed.warnings)
    with AnswerStore(tmp_path / "mixed" / "answers.sqlite", read_only=True) as store:
        assert {row.finish for row in store.run_rows()} <= {"stop", "decided"}
    with AnswerStore(tmp_path / "chosen" / "answers.sqlite", read_only=True) as store:
        assert {row.finish for row in store.run_rows()} == {"chosen"}


def test_the_noise_of_a_scripted_model_is_refused_and_the_number_may_be_left_out(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    for number in ([], ["3"], ["--quiet"]):
        ended = palimpsest(
            "diagnose", scripted.base, scripted.lost, "--suite", scripted.suite,
            "--out", tmp_path / "run", "--noise-floor", *number,
        )  # fmt: skip
        assert ended.code == 2
        assert "answers by rule: asked again it says the same" in ended.err
        assert "Leave out --noise-floor" in ended.err
    assert not (tmp_path / "run").exists(), "nothing is begun that cannot be done"


def test_until_sure_says_what_it_asked_and_in_the_report_what_each_cell_got(
    palimpsest: Palimpsest, scripted: Scripted, tmp_path: Path
) -> None:
    arguments = (
        "diagnose", scripted.base, scripted.suppressed, "--suite", scripted.suite,
        "--via", "rot13", "--out", tmp_path / "run", "--until-sure",
    )  # fmt: skip
    ended = palimpsest(*arguments)
    assert ended.code == 0, ended.err
    assert "Verdict: suppressed" in ended.out
    assert "answers in place of 400" in ended.out
    assert "bets against a fair coin" in " ".join(ended.out.split())
    results = Results.model_validate_json((tmp_path / "run" / "results.json").read_bytes())
    assert results.until_sure is not None
    assert results.until_sure.n_answers < 200
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "Asked until sure" in page
    assert "confidence sequences" in page
    again = palimpsest(*arguments, "--json")
    told = json.loads(again.out)
    assert told["until_sure"] == results.until_sure.model_dump()
    refused = palimpsest(*arguments, "--limit", 10)
    assert refused.code == 2
    assert "no more than 10 examples a cell" in refused.err
