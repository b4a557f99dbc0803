"""The suite ``nli``: what is asked, which answers count, and which rows are taken."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.lm.suites.nli_rows import BOTH, EN, FR, write_folder, write_tsv

from palimpsest.errors import UserError
from palimpsest.judging.analysis import analyse
from palimpsest.judging.evaluation import Settings, evaluate
from palimpsest.judging.via import parse_via
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.scoring.scorers import scorer_for
from palimpsest.lm.suites import load_suite
from palimpsest.lm.suites.nli.suite import SAMPLE, build
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.lm.suites.templates import INFERENCE_WORDINGS, LABELS
from palimpsest.records.store import AnswerStore


@pytest.fixture(scope="module")
def sample() -> Suite:
    return build()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "mine")


def prompts(suite: Suite, language: str) -> list[object]:
    return [example.prompt for example in suite.in_language(language)]


# The strings in code_xnli/xnli.py, github.com/kothasuhas/understanding-forgetting, at 3a4fb2e.
PAPER = {
    "en": "{premise}\nQuestion: {hypothesis} True, False or Neither?\nAnswer:",
    "fr": "{premise}\nQuestion: {hypothesis} Vrai, Faux ou Ni?\nRéponse:",
    "es": "{premise}\nPregunta: {hypothesis} Verdadero, Falso o Ni?\nRespuesta:",
    "de": "{premise}\nFrage: {hypothesis} Wahr, Falsch oder Weder?\nAntwort:",
}
PAPER_ANSWERS = {
    "en": ("True", "Neither", "False"),
    "fr": ("Vrai", "Ni", "Faux"),
    "es": ("Verdadero", "Ni", "Falso"),
    "de": ("Wahr", "Weder", "Falsch"),
}


@pytest.mark.parametrize("language", PAPER)
def test_prompts_and_answers_are_those_of_the_paper(language: str) -> None:
    wording = INFERENCE_WORDINGS[language]

    expected = PAPER[language].format(premise="It's {cold}.", hypothesis="Snow?")
    assert wording.prompt("It's {cold}.", "Snow?") == expected
    assert wording.choices == PAPER_ANSWERS[language]


def test_there_is_wording_in_the_four_languages_of_the_paper_and_no_other() -> None:
    assert list(INFERENCE_WORDINGS) == list(PAPER)


def label_of(example: Example) -> str:
    return example.source_id.partition("/")[0]


def test_every_example_offers_the_three_answers_and_accepts_that_of_its_label(
    sample: Suite,
) -> None:
    for example in sample.examples:
        place = [*LABELS].index(label_of(example))  # type: ignore[arg-type]
        assert example.choices == PAPER_ANSWERS[example.language]
        assert example.answers == {"nli": (example.choices[place],)}


def test_a_wrong_label_is_broken_since_it_shows_no_other_task(sample: Suite) -> None:
    for example in sample.examples:
        scorer = scorer_for(example.right, example.intruding)
        outcomes = [scorer.outcome(f" {choice}.") for choice in example.choices]
        assert Counter(outcomes) == {"right": 1, "broken": 2}


@pytest.mark.parametrize("language", PAPER)
def test_no_answer_is_the_beginning_of_another_however_a_model_goes_on(language: str) -> None:
    for right in PAPER_ANSWERS[language]:
        scorer = scorer_for((right,), ())
        for said in PAPER_ANSWERS[language]:
            for more in ("", ".", ", as the text says", "\n"):
                assert scorer.outcome(f" {said}{more}") == ("right" if said == right else "broken")


def test_the_answer_may_be_more_than_its_first_word() -> None:
    assert scorer_for(("Ni",), ()).outcome(" Ni l'un ni l'autre.") == "right"
    assert scorer_for(("Weder",), ()).outcome(" Weder noch.") == "right"


def test_all_rows_are_in_one_cell_and_take_the_labels_by_turns(sample: Suite) -> None:
    labels = [label_of(example) for example in sample.in_language("fr")]

    assert sample.cells == ("inference",)
    assert labels == [*LABELS] * 30


def test_where_one_label_ends_the_others_go_on(folder: Path) -> None:
    labels = [label_of(example) for example in build(folder).in_language("fr")]

    assert labels == [*LABELS, "entailment"]


def test_models_that_only_prefer_different_words_do_not_seem_to_forget(
    sample: Suite, tmp_path: Path
) -> None:
    via = parse_via("identity", sample)
    rows = []
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        for role, word in (("base", " True"), ("tuned", " False")):
            model = ScriptedModel(lambda _, word=word: word, name=role)  # type: ignore[misc]
            rows += evaluate(model, sample, [via], store=store, role=role)

    found = analyse(rows, vias=[via], chance=sample.chance, n_resamples=200)

    assert found.plain.forgetting == 0
    assert {found.verdict, *(cell.verdict for cell in found.cells)} == {"inconclusive"}


def test_versions_share_premise_hypothesis_and_cell(folder: Path) -> None:
    together: dict[str, dict[str, object]] = defaultdict(dict)
    for example in build(folder).examples:
        together[example.source_id][example.language] = example.prompt

    rows = {en["premise"]: fr["premise"] for en, fr in zip(EN, FR, strict=True)}
    assert len(together) == len(EN)
    for versions in together.values():
        assert list(versions) == ["en", "fr"]
        english, french = (str(versions[name]).split("\n")[0] for name in ("en", "fr"))
        assert rows[english] == french


def test_chance_is_a_third_if_all_labels_are_as_frequent(sample: Suite) -> None:
    assert sample.chance == pytest.approx(1 / 3)


def test_chance_is_otherwise_that_of_always_giving_the_commonest_label(folder: Path) -> None:
    assert build(folder).chance == 0.5
    assert build(folder, n=1).chance == pytest.approx(1 / 3)


def test_a_number_of_rows_counts_for_each_label(sample: Suite) -> None:
    counts = Counter((label_of(example), example.language) for example in build(n=7).examples)

    assert counts == {(label, language): 7 for label in LABELS for language in PAPER}


@pytest.mark.parametrize("n", [1, 7, 29])
def test_a_smaller_suite_is_the_beginning_of_a_larger_one(sample: Suite, n: int) -> None:
    small = build(n=n)

    assert load_suite("nli", limit=3 * n).examples == small.examples
    assert set(prompts(small, "fr")) <= set(prompts(sample, "fr"))


def test_another_seed_takes_other_rows_and_all_rows_are_the_same(sample: Suite) -> None:
    assert build(n=7, seed=1).examples != build(n=7).examples
    assert set(prompts(build(seed=1), "fr")) == set(prompts(sample, "fr"))


def test_more_rows_than_there_are_cannot_be_had(folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        build(folder, n=2)

    assert str(caught.value) == (
        f"{folder} has 1 row with the label neutral, but n=2 asks for more.\n"
        "Choose n=1 or less, or leave n out to take all rows."
    )


def test_rows_of_two_labels_only_still_offer_all_three(tmp_path: Path) -> None:
    suite = build(write_tsv(tmp_path / "en.tsv", EN[:2]))

    assert {label_of(example) for example in suite.examples} == {"entailment", "neutral"}
    assert suite.examples[0].choices == PAPER_ANSWERS["en"]
    assert suite.chance == 0.5
    with pytest.raises(UserError) as caught:
        build(tmp_path / "en.tsv", n=1)
    assert "has 0 rows with the label contradiction, but n=1 asks for more.\nLeave n out" in str(
        caught.value
    )


def test_languages_can_be_chosen(folder: Path) -> None:
    assert build(folder, languages=["fr", "en", "fr"]).languages == ("en", "fr")
    assert build(folder, languages=["en"]).languages == ("en",)


def test_another_language_can_be_that_of_the_plain_prompts(folder: Path) -> None:
    suite = build(folder, source="fr")

    assert suite.source_language == "fr"
    assert suite.languages == ("fr", "en")
    assert build(folder, source="fr", languages=["fr"]).languages == ("fr",)


def test_which_languages_are_chosen_does_not_change_what_is_asked(folder: Path) -> None:
    assert prompts(build(folder), "en") == prompts(build(folder, languages=["en"]), "en")
    assert prompts(build(folder), "en") == prompts(build(folder, source="fr"), "en")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("languages=fr", "languages fr lack 'en', that of the plain prompts.\nWrite languages=en+"),
        ("languages=en+it", "no wording of the question in 'it'."),
        ("source=nl", "There is no wording of the question in 'nl'"),
        ("languages=en+de", "There are no rows in 'de' in"),
        ("source=de", "There are no rows in 'de' in"),
        ("split=dev", "split=train|validation|test"),
        ("n=0", "cannot use n=0"),
        ("shots=2", "no option 'shots'"),
    ],
)
def test_a_mistaken_option_is_answered_with_what_was_expected(
    folder: Path, spec: str, words: str
) -> None:
    with pytest.raises(UserError) as caught:
        load_suite(f"nli:{folder},{spec}")

    assert words in str(caught.value)


def test_the_languages_that_are_there_are_named(folder: Path) -> None:
    with pytest.raises(UserError, match="The languages there: en, fr"):
        build(folder, languages=["en", "de"])


def test_the_files_are_recorded_by_name_and_hash(folder: Path) -> None:
    parameters = build(folder).parameters

    assert parameters["path"] == str(folder)
    assert parameters["n_rows"] == {"entailment": 2, "neutral": 1, "contradiction": 1}
    assert parameters["sha256"] == {
        f"mine/{name}.tsv": hashlib.sha256((folder / f"{name}.tsv").read_bytes()).hexdigest()
        for name in BOTH
    }
    assert build().parameters["path"] == "built in"


def test_a_home_folder_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))

    assert load_suite("nli:~/mine").languages == ("en", "fr")


def test_the_sample_is_read_as_a_users_own_folder_is(sample: Suite) -> None:
    assert load_suite(f"nli:{SAMPLE}").examples == sample.examples


def knows_every_answer(suite: Suite) -> Callable[[Prompt], str]:
    replies = {example.prompt: f" {example.right[0]}, surely." for example in suite.examples}
    return lambda prompt: replies[prompt]


@pytest.mark.slow
@pytest.mark.parametrize("by_likelihood", [True, False])
def test_answers_are_scored_alike_whether_chosen_or_generated(
    sample: Suite, tmp_path: Path, by_likelihood: bool
) -> None:
    vias = [parse_via(spec, sample) for spec in ("identity", *PAPER)]
    settings = Settings(by_likelihood=by_likelihood)
    knowing = ScriptedModel(knows_every_answer(sample))
    yes_man = ScriptedModel(lambda _: " True, surely.", name="yes-man")
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        right = evaluate(knowing, sample, vias, store=store, role="base", settings=settings)
        same = evaluate(yes_man, sample, vias[:1], store=store, role="tuned", settings=settings)

    assert {row.outcome for row in right} == {"right"}
    assert {row.language for row in right} == set(PAPER)
    assert Counter(row.outcome for row in same) == {"right": 30, "broken": 60}
