import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.errors import UserError
from palimpsest.lm.conjugations import parse_conjugation
from palimpsest.lm.scoring import is_unspaced, scorer_for
from palimpsest.lm.suites import load_suite
from palimpsest.lm.suites.icl_vs_if import BUILT_IN, LARGEST, SMALLEST, blank_first_word, build
from palimpsest.lm.suites.suite import Example, Suite
from palimpsest.lm.suites.templates import OPERATIONS, TASK_WORDINGS

CELLS = ("repeat/math", "repeat/blank", "capitalise/math", "capitalise/blank")
NATURAL = ("en", "fr", "es", "nl", "de", "hu")

PAPER = Path(__file__).parents[4] / "shared" / "data" / "paper_sentences"
needs_paper = pytest.mark.skipif(
    not PAPER.is_dir(), reason="the paper's sentences are not part of the package"
)

SENTENCES = {
    "en": ["The cat sleeps.", "A dog barks.", "It's raining.", "Birds sing.", "We are here."],
    "fr": ["Le chat dort.", "Un chien aboie.", "Il pleut.", "L'oiseau chante.", "Nous y sommes."],
    "es": ["¡El gato duerme!", "Un perro ladra.", "Ya llueve.", "«Canta» el ave.", "Aquí estamos."],
}


def write(folder: Path, sentences: dict[str, list[str]]) -> Path:
    folder.mkdir(exist_ok=True)
    for language, lines in sentences.items():
        (folder / f"{language}.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "sentences", SENTENCES)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return build(n=30, sentences=write(tmp_path_factory.mktemp("sentences"), SENTENCES))


def parts(prompt: object) -> list[str]:
    assert isinstance(prompt, str)
    return prompt.split("\n\n")


def query(example: Example) -> str:
    """Return the last input, without its label."""
    return parts(example.prompt)[-1].split("\n")[0].split(":", 1)[1].strip()


def versions(suite: Suite) -> dict[str, dict[str, Example]]:
    found: dict[str, dict[str, Example]] = defaultdict(dict)
    for example in suite.examples:
        found[example.source_id][example.language] = example
    return found


def test_a_prompt_has_the_form_of_the_paper(folder: Path) -> None:
    prompt = build(n=1, sentences=folder).in_language("en")[0].prompt
    assert isinstance(prompt, str)

    assert re.fullmatch(
        r"Repeat the input\.\n\n"
        r"Input: (?P<a>.+)\nOutput: (?P=a)\n\n"
        r"Input: (?P<b>.+)\nOutput: (?P=b)\n\n"
        r"Input: What is \d+ (plus|minus|times) \d+\?\nOutput:",
        prompt,
    )


def test_there_are_four_cells_with_as_many_examples_in_every_language(suite: Suite) -> None:
    counts = Counter((example.cell, example.language) for example in suite.examples)

    assert suite.cells == CELLS
    assert suite.languages == ("en", "fr", "es", "leet", "pig-latin")
    assert set(counts) == {(cell, lang) for cell in CELLS for lang in suite.languages}
    assert set(counts.values()) == {30}


def test_the_paper_lets_a_model_say_ten_tokens_of_one_line(suite: Suite) -> None:
    assert (suite.max_new_tokens, suite.stop) == (10, ("\n",))


def test_in_context_learning_is_under_test_and_following_instructions_intrudes(
    suite: Suite,
) -> None:
    assert {tuple(example.answers) for example in suite.examples} == {("in-context", "instruction")}


def test_every_prompt_ends_in_an_open_label(suite: Suite) -> None:
    for example in suite.examples:
        assert isinstance(example.prompt, str)
        assert example.prompt.endswith(":")


def test_the_worked_examples_and_a_blanked_query_are_three_different_sentences(
    suite: Suite,
) -> None:
    for example in suite.in_language("en"):
        _, first, second, last = parts(example.prompt)
        assert first != second
        if example.cell.endswith("blank"):
            rest = last.split("\n")[0].split(":", 1)[1].lstrip(" _")
            assert rest not in first
            assert rest not in second


@pytest.mark.parametrize("language", NATURAL[:3])
def test_worked_examples_show_the_task(suite: Suite, language: str) -> None:
    for example in suite.in_language(language):
        for turn in parts(example.prompt)[1:3]:
            shown, output = (line.split(":", 1)[1].strip() for line in turn.split("\n"))
            assert output == (shown.upper() if example.cell.startswith("cap") else shown)
            assert shown in SENTENCES[language]


def test_right_is_the_first_word_of_the_transformed_query(suite: Suite) -> None:
    for example in suite.examples:
        if example.language in NATURAL:
            upper = example.cell.startswith("capitalise")
            word = query(example).split()[0].strip(",.!»")
            assert example.right == (word.upper() if upper else word,)


def test_sums_differences_and_products_of_numbers_from_4_to_20_are_answered(suite: Suite) -> None:
    seen = set()
    for example in suite.in_language("en"):
        if example.cell.endswith("math"):
            match = re.fullmatch(r"What is (\d+) (\w+) (\d+)\?", query(example))
            assert match is not None
            first, word, second = int(match[1]), match[2], int(match[3])
            outcome = {
                "plus": first + second,
                "minus": first - second,
                "times": first * second,
            }[word]
            assert example.intruding == (str(outcome),)
            assert outcome >= 0
            assert {first, second} <= set(range(SMALLEST, LARGEST + 1))
            seen.add(word)
    assert seen == {"plus", "minus", "times"}


def test_all_numbers_come_up_on_both_sides_but_differences_start_with_the_larger(
    folder: Path,
) -> None:
    # About 530 of 800 draws are no differences: one of 17 numbers is missing with p < 1e-12.
    suite = build(n=400, languages=["en"], sentences=folder)
    text = "\n".join(query(example) for example in suite.examples if "math" in example.cell)

    first = {int(number) for number in re.findall(r"(\d+) (?:plus|times)", text)}
    second = {int(number) for number in re.findall(r"(?:plus|times) (\d+)", text)}
    assert first == second == set(range(SMALLEST, LARGEST + 1))
    assert all(int(a) >= int(b) for a, b in re.findall(r"(\d+) minus (\d+)", text))


def test_a_blank_is_answered_by_the_missing_word(suite: Suite) -> None:
    for example in suite.in_language("fr"):
        if example.cell.endswith("blank"):
            rest = query(example).lstrip("_")
            whole = next(line for line in SENTENCES["fr"] if line.endswith(rest))
            word = whole.removesuffix(rest)
            upper = example.cell.startswith("capitalise")
            assert example.intruding == ((word, word.upper()) if upper else (word,))
            assert example.right == ("_" * len(word),)


@pytest.mark.parametrize(
    ("sentence", "blanked", "answers"),
    [
        ("The bus is late.", "___ bus is late.", ("The",)),
        ("It's late.", "____ late.", ("It's",)),
        ("Well-known, it is.", "__________, it is.", ("Well-known",)),
        ("¿Qué tal?", "¿___ tal?", ("Qué", "¿Qué")),
        ("« Le bus » part.", "« __ bus » part.", ("Le", "« Le")),
        ("Őszi szél fúj.", "____ szél fúj.", ("Őszi",)),
        ("I", "_", ("I",)),
        ("7 geese.", "_ geese.", ("7",)),
        ("7r45H C0v3r3D 1T.", "_____ C0v3r3D 1T.", ("7r45H",)),
    ],
)
def test_the_first_word_is_blanked_letter_by_letter(
    sentence: str, blanked: str, answers: tuple[str, ...]
) -> None:
    assert blank_first_word(sentence) == (blanked, answers)


@given(st.text())
def test_blanking_keeps_the_length_and_loses_only_the_word(sentence: str) -> None:
    request = blank_first_word(sentence)

    if request is None:
        assert not any(char.isalnum() for char in sentence)
    else:
        wider = is_unspaced(request.answers[0][:1])  # two underscores for one character
        assert len(request.text) == len(sentence) + wider
        assert sentence.startswith(request.answers[-1])
        assert request.text.endswith(sentence[len(request.answers[-1]) :])


def test_no_example_leaves_it_open_which_task_was_done(suite: Suite) -> None:
    for example in suite.examples:
        scorer = scorer_for(example.right, example.intruding)
        assert scorer.separable
        assert {scorer.outcome(text) for text in example.right} == {"right"}
        assert {scorer.outcome(text) for text in example.intruding} == {"intruded"}


def test_versions_share_their_sentences_numbers_and_operation(suite: Suite) -> None:
    line = {text: place for lines in SENTENCES.values() for place, text in enumerate(lines)}
    operation = {"plus": "sum", "más": "sum", "minus": "difference", "moins": "difference"}
    operation |= {"menos": "difference", "times": "product", "fois": "product", "por": "product"}
    for together in versions(suite).values():
        assert list(together) == list(suite.languages)
        shown: set[object] = set()
        asked: set[object] = set()
        for language in NATURAL[:3]:
            example = together[language]
            turns = parts(example.prompt)[1:3]
            shown.add(tuple(line[turn.split("\n")[0].split(":", 1)[1].strip()] for turn in turns))
            if example.cell.endswith("math"):
                first, word, second = query(example).rstrip(" ?").split(" ")[-3:]
                asked.add((first, operation[word], second))
            else:
                rest = re.sub("^[¡«_]+", "", query(example))
                asked.add(next(line[text] for text in SENTENCES[language] if text.endswith(rest)))
        assert len(shown) == len(asked) == 1


@pytest.mark.parametrize("language", ["leet", "pig-latin"])
def test_a_rewritten_language_is_english_under_that_conjugation(
    suite: Suite, language: str
) -> None:
    apply = parse_conjugation(language).apply
    for together in versions(suite).values():
        plain, rewritten = together["en"], together[language]
        assert isinstance(plain.prompt, str)
        assert rewritten.prompt == apply(plain.prompt)
        assert rewritten.right == tuple(map(apply, plain.right))
        assert rewritten.intruding == tuple(map(apply, plain.intruding))


def test_the_same_seed_gives_the_same_suite_and_another_seed_another(folder: Path) -> None:
    first, again, other = (build(n=5, seed=seed, sentences=folder) for seed in (1, 1, 2))

    assert first.examples == again.examples
    assert first.fingerprint == again.fingerprint != other.fingerprint


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 7, 19])
def test_a_smaller_suite_is_the_beginning_of_a_larger_one(
    suite: Suite, n: int, folder: Path
) -> None:
    small = build(n=n, sentences=folder)

    whole = {example.source_id: example for example in suite.in_language("fr")}
    for example in small.in_language("fr"):
        assert example == whole[example.source_id]
    assert load_suite(f"icl-vs-if:n=30,sentences={folder}", limit=n).examples == small.examples


def test_the_choice_of_languages_does_not_change_what_is_asked(suite: Suite, folder: Path) -> None:
    alone = build(n=30, languages=["en"], sentences=folder)

    assert alone.languages == ("en",)
    assert alone.examples == tuple(suite.in_language("en"))


def test_cells_are_drawn_independently(suite: Suite) -> None:
    queries = defaultdict(list)
    for example in suite.in_language("en"):
        queries[example.cell].append(query(example))

    assert queries["repeat/math"] != queries["capitalise/math"]
    assert queries["repeat/blank"] != queries["capitalise/blank"]


def test_every_sentence_is_asked_about_once_before_any_is_again(suite: Suite) -> None:
    asked = [query(e) for e in suite.in_language("en") if e.cell == "repeat/blank"]

    for start in range(0, len(asked), 5):
        assert len(set(asked[start : start + 5])) == 5


def test_a_line_that_cannot_be_used_in_one_language_is_left_out_in_all(folder: Path) -> None:
    (folder / "fr.txt").write_text("Le chat dort.\n…\nIl pleut.\n___ chante.\nNous y sommes.\n")

    suite = build(n=20, sentences=folder)

    assert suite.parameters["n_sentences"] == 3
    assert not any("dog" in str(e.prompt).lower() for e in suite.in_language("en"))
    assert not any("birds" in str(e.prompt).lower() for e in suite.in_language("en"))


def test_fewer_than_three_usable_lines_are_refused(folder: Path) -> None:
    (folder / "fr.txt").write_text("Le chat dort.\n…\n!\n___ chante.\nNous y sommes.\n")

    with pytest.raises(UserError, match=r"Of the 5 lines in .*, 2 can be used"):
        build(sentences=folder)


def test_a_language_without_wording_is_refused_unless_others_are_chosen(folder: Path) -> None:
    write(folder, {"fi": ["a", "b", "c", "d", "e"]})

    with pytest.raises(UserError, match=r"no wording in 'fi' for the sentences in .*fi\.txt") as e:
        build(sentences=folder)

    assert "There is wording in: en, fr, es, nl, de, hu, zh, ja, ar, hi, ls, pl." in str(e.value)
    assert "languages=en+fr+es+leet+pig-latin" in str(e.value)
    assert build(n=1, sentences=folder, languages=["en", "fr"]).languages == ("en", "fr")


@pytest.mark.parametrize(
    ("languages", "words"),
    [
        (["en", "nl"], "no sentences in 'nl'"),
        (["en", "pig-latn"], "Did you mean 'pig-latin'?"),
        (["fr"], "lack 'en', the language of the plain prompts.\nWrite languages=en+fr"),
        ([""], "no sentences in ''"),
    ],
)
def test_languages_that_cannot_be_had_are_refused(
    folder: Path, languages: Sequence[str], words: str
) -> None:
    with pytest.raises(UserError) as caught:
        build(sentences=folder, languages=languages)

    assert words in str(caught.value)


def test_parameters_record_the_files(suite: Suite, folder: Path) -> None:
    hashes = suite.parameters["sentences_sha256"]

    assert set(hashes) == {"en", "fr", "es"}
    (folder / "fr.txt").write_text((folder / "fr.txt").read_text().replace("chat", "lion"))
    changed = build(n=1, sentences=folder).parameters["sentences_sha256"]
    assert [lang for lang in hashes if hashes[lang] != changed[lang]] == ["fr"]


@pytest.mark.parametrize("language", TASK_WORDINGS)
def test_every_language_words_every_task_and_question(language: str) -> None:
    wording = TASK_WORDINGS[language]

    lines = {wording.instruction(task) for task in wording.tasks}
    questions = {wording.question(operation, 12, 5) for operation in OPERATIONS}
    assert len(lines) == len(wording.tasks) >= 1
    assert len(questions) == len(OPERATIONS)
    assert all(re.search(r"(?<!\d)12(?!\d).*(?<!\d)5(?!\d)", text) for text in questions)
    assert not any("{" in text for text in lines | questions)
    assert wording.turn("a").endswith((":", "："))


def test_a_script_without_capitals_has_the_repeating_cells_alone() -> None:
    suite = build(n=3)
    cells = {
        language: {e.cell for e in suite.in_language(language)} for language in suite.languages
    }

    assert cells["zh"] == {"repeat/math", "repeat/blank"}
    assert all(found == set(CELLS) for language, found in cells.items() if language != "zh")


def test_another_language_changes_no_prompt() -> None:
    with_it = {(e.source_id, e.language): e for e in build(n=20).examples}
    without = build(n=20, languages=[*NATURAL, "leet", "pig-latin"]).examples

    assert all(with_it[example.source_id, example.language] == example for example in without)


@pytest.mark.parametrize(
    ("language", "lines", "right", "answers"),
    [
        ("zh", ["去年夏天很热。", "狗叫了。", "谁来了？"], "__",
         {"去": "intruded", "今年夏天": "intruded", "__年夏天很热。": "right",
          "我不知道，谢谢。": "broken"}),
        ("ja", ["雨が降る。", "犬が吠える。", "猫が寝る。"], "__",
         {"雨": "intruded", "__が降る。": "right"}),
        ("ar", ["القط نائم.", "الكلب ينبح.", "المطر ينزل."], "____", {"القط": "intruded",
         "____ نائم.": "right", "الولد نائم": "intruded"}),
        ("hi", ["मेरी बिल्ली सोती है।", "कुत्ता भौंकता है।", "बारिश हो रही है।"], "____",
         {"मेरी": "intruded", "____ बिल्ली सोती है।": "right"}),
    ],
)  # fmt: skip
def test_first_words_of_other_scripts_are_blanked_whole_and_scored(
    tmp_path: Path, language: str, lines: list[str], right: str, answers: dict[str, str]
) -> None:
    folder = write(
        tmp_path / "s", {"en": ["It was hot.", "A dog barks.", "Who came?"], language: lines}
    )
    suite = build(n=3, sentences=folder, languages=["en", language])
    [example] = [
        e
        for e in suite.in_language(language)
        if e.cell == "repeat/blank"
        and e.whole_answers["in-context"].endswith(lines[0][len(lines[0]) // 2 :])
    ]

    assert example.right == (right,)
    scorer = example.scorer_of(example.right, example.intruding)
    assert {answer: scorer.outcome(answer) for answer in answers} == answers


@pytest.mark.parametrize("language", TASK_WORDINGS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_question_begins_with_something_that_could_be_its_answer(
    language: str, operation: str
) -> None:
    question = TASK_WORDINGS[language].questions[operation]  # type: ignore[index]

    word = blank_first_word(question)
    assert word is not None
    assert not any(char.isdigit() for char in word.answers[0])


@pytest.mark.slow
@needs_paper
def test_the_sentences_of_the_paper_can_be_used() -> None:
    suite = load_suite(f"icl-vs-if:sentences={PAPER}")

    assert suite.languages == ("en", "fr", "es", "ls", "pl", "leet", "pig-latin")
    assert len(suite.examples) == 4 * 7 * 100
    assert suite.parameters["n_sentences"] == 100


@needs_paper
def test_ls_and_pl_are_the_rewritten_languages_of_the_paper() -> None:
    together = versions(build(n=1, sentences=PAPER))["repeat/math/0000"]

    for language, conjugation in (("ls", "leet-paper"), ("pl", "pig-latin-paper")):
        plain = str(together["en"].prompt)
        assert together[language].prompt == parse_conjugation(conjugation).apply(plain)


@pytest.mark.slow
def test_the_default_suite_has_a_hundred_prompts_a_cell_in_nine_languages() -> None:
    suite = load_suite("icl-vs-if")

    assert suite.languages == (*NATURAL, "zh", "leet", "pig-latin")
    assert len(suite.examples) == (4 * 8 + 2) * 100  # Chinese has no capitals


def test_every_sentence_of_the_package_can_be_used() -> None:
    suite = build(n=1)

    n_lines = len((BUILT_IN / "en.txt").read_text(encoding="utf-8").splitlines())
    assert suite.parameters["n_sentences"] == n_lines
