"""The suite ``abilities``: every key is found again by another way than the suite's own.

Sources: sums and steps by evaluating what stands in the prompt, Python by running it, JSON by its
parser and the scorer, countries, capitals and currencies by CLDR (babel), formats by the datetime
and sorting of the prompt's own input, classes by the lists that the words stand in.
"""

import ast
import json
import re
from collections import Counter
from contextlib import redirect_stdout
from datetime import date
from functools import cache
from io import StringIO

import pytest
from babel import Locale
from babel.numbers import get_territory_currencies

from palimpsest.errors import UserError
from palimpsest.judging.word_lists import REFUSALS
from palimpsest.lm.scoring import scorer_for
from palimpsest.lm.suites import Example, Suite, load_suite
from palimpsest.lm.suites.abilities.snippets import SNIPPETS
from palimpsest.lm.suites.abilities.suite import ALL_CELLS
from palimpsest.lm.suites.abilities.tables import (
    LANGUAGES,
    benign_requests,
    countries,
    sentences,
    wordings,
)


@cache
def suite() -> Suite:
    return load_suite("abilities")


def in_cell(name: str) -> list[Example]:
    return [example for example in suite().examples if example.cell == name]


def asked(example: Example) -> str:
    """The last block of a prompt: the question itself."""
    assert isinstance(example.prompt, str)
    return example.prompt.rpartition("\n\n")[2]


def given(example: Example) -> str:
    """What stands behind the label of the input, in the last block."""
    return asked(example).splitlines()[-2].partition(":")[2].strip()


def test_there_are_sixty_different_prompts_in_each_of_sixteen_cells_and_four_languages() -> None:
    prompts = {(each.cell, each.language, each.prompt) for each in suite().examples}
    counts = Counter((cell, language) for cell, language, _ in prompts)

    assert suite().languages == LANGUAGES
    assert set(counts) == {(cell, language) for cell in ALL_CELLS for language in LANGUAGES}
    assert set(counts.values()) == {60}


def test_the_first_prompts_stay_the_same_when_n_grows_and_differ_with_the_seed() -> None:
    few = load_suite("abilities:n=3")
    many = {(each.source_id, each.language): each for each in suite().examples}

    assert all(many[each.source_id, each.language] == each for each in few.examples)
    assert load_suite("abilities:n=3,seed=1").examples != few.examples


def test_cells_and_languages_can_be_chosen() -> None:
    chosen = load_suite("abilities:n=2,cells=json+repeat/math,languages=en+de")

    assert (chosen.cells, chosen.languages) == (("json", "repeat/math"), ("en", "de"))
    assert len(chosen.examples) == 8


@pytest.mark.parametrize(
    ("options", "named"),
    [("cells=jason", "json"), ("languages=en+nl", "nl"), ("languages=fr", "languages=en+fr")],
)
def test_what_there_is_not_is_named(options: str, named: str) -> None:
    with pytest.raises(UserError) as raised:
        load_suite(f"abilities:{options}")

    assert named in f"{raised.value} {raised.value.hint}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_countries_and_currencies_are_those_of_cldr(language: str) -> None:
    locale = Locale(language)

    for country in countries():
        in_english = country.zone.rpartition("/")[2].replace("_", " ")
        city = locale.time_zones.get(country.zone, {}).get("city", in_english)
        assert country.names[language] == locale.territories[country.code]
        assert country.capitals[language] == CAPITALS.get((country.code, language), city)
        assert country.currency in get_territory_currencies(country.code)


CAPITALS = {("AL", "en"): "Tirana", ("UA", "fr"): "Kyiv", ("AL", "fr"): "Tirana"}
"""Where CLDR has no name, or the city's newer one is usual by now."""


def test_sums_come_out_as_evaluated() -> None:
    for example in in_cell("sums"):
        a, b = map(int, re.findall(r"\d+", asked(example)))
        is_sum = re.search(r"\b(plus|más)\b", asked(example))
        assert example.right == (str(a + b if is_sum else a - b),)


def test_worked_answers_are_true_and_lead_to_the_last_number() -> None:
    for cell in in_cell("steps"):
        assert isinstance(cell.prompt, str)
        for block in cell.prompt.split("\n\n")[:-1]:
            steps = re.findall(r"(\d+) ([×+-]) (\d+) = (\d+)", block)
            assert len(steps) == 2
            for a, sign, b, result in steps:
                assert calculated(int(a), sign, int(b)) == int(result)
            assert re.findall(r"\d+", block)[-1] == steps[-1][-1]


def calculated(a: int, sign: str, b: int) -> int:
    return {"×": a * b, "+": a + b, "-": a - b}[sign]


def test_word_problems_come_out_as_evaluated() -> None:
    for example in in_cell("steps"):
        a, b, c = map(int, re.findall(r"\d+", asked(example)))
        kind = [bool(re.search(word, asked(example))) for word in STORIES]
        assert kind.count(True) == 1
        assert example.right == (str((a * b - c, a + b - c, a * b + c)[kind.index(True)]),)


STORIES = (
    "boxes|boîtes|cajas|Schachteln", "pears|poires|peras|Birnen", "ticket|billet|entrada|Karte",
)  # fmt: skip


def test_what_was_read_stands_beside_what_is_asked_about() -> None:
    for example in in_cell("reading"):
        text, question, _ = asked(example).splitlines()
        told = text.partition(": ")[2].rstrip(".").split(". ")
        answered = [each for each in told if example.right[0] in each]
        others = [each for each in told if each not in answered]
        assert (len(answered), len(others)) == (1, 2)
        assert any(word in question for word in re.findall(r"\w+", answered[0])[::3])


def test_formats_are_followed() -> None:
    for example in in_cell("format"):
        text, right = given(example), example.right[0]
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            assert right == date.fromisoformat(text).strftime("%d/%m/%Y")
        elif re.fullmatch(r"[\d, ]+", text):
            assert right == ";".join(sorted(text.split(", "), key=int))
        elif "," in text:
            assert right == "[{1}] {0}".format(*text.split(", ")).replace(*same_upper(text))
        else:
            assert right.replace("-", "") == text
            assert len(right) == 2 * len(text) - 1


def same_upper(text: str) -> tuple[str, str]:
    name = text.split(", ")[0]
    return f"] {name}", f"] {name.upper()}"


def test_json_has_the_facts_of_the_sentence() -> None:
    for example in in_cell("json"):
        value = json.loads(example.right[0])
        assert tuple(value) == tuple(wordings()[example.language].json.keys)
        assert all(str(each) in given(example) for each in value.values())


def test_tool_calls_have_what_was_asked_for_and_nothing_else() -> None:
    allowed = {"weather": {"city", "days"}, "timer": {"minutes"}, "buy": {"item", "count"}}
    for example in in_cell("tools"):
        call = json.loads(example.right[0])
        assert set(call["arguments"]) == allowed[call["name"]]
        assert all(str(each) in given(example) for each in call["arguments"].values())


def test_what_is_classified_stands_in_one_list_only() -> None:
    for example in in_cell("classify"):
        wording = wordings()[example.language]
        good, bad = (
            any(each in asked(example) for each in words) for words in (wording.good, wording.bad)
        )
        assert good != bad
        assert example.right == (wording.labels[bad],)
        assert example.choices == wording.labels


def test_translations_agree_word_by_word_in_both_directions() -> None:
    """A word of one language has one image in each other, but for gender, over all sentences."""
    for source in LANGUAGES:
        target = wordings()[source].target
        images: dict[str, set[str]] = {}
        for sentence in sentences():
            images.setdefault(sentence[source], set()).add(sentence[target])
        assert all(len(each) == 1 for each in images.values())
    for sentence in sentences():
        assert re.match("El .*[^a][.]|La .*[^o][.]", sentence["es"])
        assert re.match("L[ea] ", sentence["fr"])
    for example in in_cell("translate"):
        wording = wordings()[example.language]
        pairs = {each[example.language]: each[wording.target] for each in sentences()}
        assert f"{example.right[0]}." == pairs[given(example)]


def test_programs_print_what_is_expected_of_them() -> None:
    for example in in_cell("python"):
        code = re.findall(r"```python\n(.*?)\n```", asked(example), re.DOTALL)
        assert [printed(each) for each in code] == [example.right[0]]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_programs_have_five_lines(snippet) -> None:  # type: ignore[no-untyped-def]
    for numbers in ((2, 9, 3), (9, 2, 4), (5, 5, 5)):
        code, wanted = snippet(*numbers)
        assert len(code.splitlines()) == 5
        assert printed(code) == wanted


def printed(code: str) -> str:
    ast.parse(code)
    out = StringIO()
    with redirect_stdout(out):
        exec(code, {})  # the suite's own text
    return out.getvalue().rstrip("\n")


def test_a_refusal_of_a_benign_request_is_intruded_and_help_is_right() -> None:
    refusals = {
        "en": "I'm sorry, but I can't help with that.",
        "fr": "Je suis désolé, mais je ne peux pas vous aider.",
        "es": "Lo siento, no puedo ayudarte con eso.",
        "de": "Es tut mir leid, dabei kann ich nicht helfen.",
    }
    for example in in_cell("benign"):
        scorer = example.scorer_of(example.right, example.intruding)
        assert scorer.outcome(refusals[example.language]) == "intruded"
        assert scorer.outcome(f"… {example.right[-1]} …") == "right"
        assert scorer.outcome("Hm.") == "broken"
    assert all(text.lower().startswith(REFUSALS) or "leid" in text for text in refusals.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_refusal_that_repeats_a_benign_request_and_no_worked_example_counts_as_help(
    language: str,
) -> None:
    for request in benign_requests():
        words = request.words[language].split()
        assert len(words) >= 3
        scorer = scorer_for(words, [], "contains")
        shown = " ".join(answer for _, answer in wordings()[language].harmless)
        assert scorer.outcome(f"{request.ask[language]} {shown}") == "broken"


def test_every_accepted_answer_is_right_by_its_own_scorer_and_the_empty_one_is_not() -> None:
    for example in load_suite("abilities:n=8").examples:
        scorer = example.scorer_of(example.right, example.intruding)
        assert all(scorer.outcome(text) == "right" for text in example.right)
        assert scorer.outcome("") == "broken"


def test_every_cell_has_room_for_its_answers_whatever_the_tokenizer() -> None:
    for example in suite().examples:
        assert example.max_new_tokens is not None
        longest = max((len(text.encode()) for text in example.right), default=0)
        assert longest + 10 <= example.max_new_tokens <= 160


def test_answers_of_several_lines_end_before_the_label_of_the_next_question() -> None:
    for cell, label in (("steps", -2), ("json", -2), ("tools", -2), ("benign", -2)):
        for example in in_cell(cell):
            assert isinstance(example.prompt, str)
            [stop] = example.stop or ()
            assert asked(example).splitlines()[label].startswith(stop.strip())
    assert {example.stop for example in in_cell("sums")} == {("\n",)}


def test_a_limit_of_ones_own_is_that_of_all_cells() -> None:
    examples = load_suite("abilities:n=1,max_new_tokens=7").examples
    assert {example.max_new_tokens for example in examples} == {7}
