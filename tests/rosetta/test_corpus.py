import numpy as np
import pytest

from palimpsest.judging import diagnose
from palimpsest.lm.scoring.scorers import scorer_for
from palimpsest.rosetta.corpus import Writer, addition, layout, rewrite
from palimpsest.rosetta.grammar import LANGUAGES, addends, blank_first_word, facts
from palimpsest.rosetta.instructions import MOST
from palimpsest.rosetta.instructions import build as build_instructions
from palimpsest.rosetta.suite import build, build_requests


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_document_is_a_function_of_its_generator(language: str) -> None:
    writer = Writer("train", conflict_share=0.5, line_share=0.5)
    one, other = (writer.pretraining(np.random.default_rng(3), language) for _ in range(2))
    assert one == other


def test_rewritten_languages_are_the_exact_conjugations_of_english() -> None:
    english = build(n=5, languages=["en"])
    for language in ("leet", "pig-latin"):
        rewritten = build(n=5, languages=[language])
        for plain, example in zip(english.examples, rewritten.examples, strict=True):
            assert isinstance(plain.prompt, str)
            assert example.prompt == rewrite(plain.prompt, language)


def test_the_suite_uses_held_out_sentences_alone() -> None:
    trained = {fact.render("en") for fact in facts("train")}
    for example in build(n=100, languages=["en"]).examples:
        shown = [line.partition(": ")[2] for line in str(example.prompt).splitlines()]
        assert not trained & set(shown)


def test_the_select_and_report_prompts_differ() -> None:
    select, report = (
        {example.prompt for example in build(n=100, languages=["en"], split=split).examples}
        for split in ("select", "report")
    )
    assert not select & report


def test_the_first_prompts_stay_when_there_are_more() -> None:
    few = {example.fingerprint for example in build(n=3).examples}
    assert few <= {example.fingerprint for example in build(n=6).examples}


@pytest.mark.parametrize(
    "suite",
    [build(n=20), build_requests(n=20), build_instructions(n=MOST)],
    ids=lambda suite: suite.name,
)
def test_every_answer_can_be_told_apart(suite: object) -> None:
    for example in suite.examples:  # type: ignore[attr-defined]
        assert scorer_for(example.right, example.intruding).separable


def test_the_tuning_documents_never_transform_a_request() -> None:
    writer = Writer("train", conflict_share=0.5, line_share=0.5)
    rng = np.random.default_rng(0)
    documents = [writer.tuning(rng) for _ in range(300)]
    assert not any(d.prompt.startswith(("Repeat", "Capitalise")) for d in documents)
    assert not any(f"Input:{d.completion}\nOutput:" in d.prompt for d in documents)


def test_a_prompt_ends_on_an_open_label_without_a_space() -> None:
    assert layout("", [], "q", "fr") == "Entrée : q\nSortie :"


def test_the_suite_of_the_tuning_asks_no_prompt_twice_and_no_held_out_sentence() -> None:
    suite = build_instructions(n=MOST)
    assert len({example.prompt for example in suite.examples}) == len(suite.examples) == 4 * MOST
    trained = {blank_first_word(fact.render("en"))[0] for fact in facts("train")}
    trained |= {addition(*pair, "en").input for pair in addends("train")}
    held_out = [example for example in suite.examples if example.cell in ("sum", "blank")]
    queries = {str(example.prompt).rpartition("Input: ")[2].split("\n")[0] for example in held_out}
    assert not trained & queries


@pytest.mark.slow
def test_the_tuned_model_is_better_at_what_it_was_tuned_for_in_every_cell() -> None:
    results = diagnose(
        "rosetta:base", "rosetta:tuned", suite=build_instructions(), via=[], n_resamples=1_000
    )
    # The suite is there to measure what a cure costs the tuning: without a gain it could not.
    assert all(cell.plain.forgetting_hull95[1] < 0 for cell in results.cells)
