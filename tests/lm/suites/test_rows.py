import json
from pathlib import Path

import pytest

from palimpsest.errors import UserError
from palimpsest.lm.prompts import Message
from palimpsest.lm.suites import HumanLabel, Suite, load_suite

MGSM = Path(__file__).parents[4] / "shared" / "data" / "mgsm"
PROMPT = r"prompt=Question: {question}\nAnswer:"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sums.csv").write_text(
        'question,answer,kind,wrong\n"2 + 2, as a word?",four,easy,five\n3 + 4?,seven,hard,eight\n'
        '"1 +\n1?",two,easy,one\n',
        "utf-8",
    )
    return tmp_path


def load(spec: str) -> Suite:
    return load_suite(f"rows:{spec}")


def test_rows_become_prompts_by_templates(folder: Path) -> None:
    suite = load(rf"sums.csv,{PROMPT},group={{kind}}")
    first, second, third = suite.examples
    assert first.prompt == "Question: 2 + 2, as a word?\nAnswer:"
    assert (first.right, first.cell, first.language) == (("four",), "easy", "en")
    assert (second.source_id, second.cell) == ("00002", "hard")
    assert third.prompt == "Question: 1 +\n1?\nAnswer:"
    assert (suite.stop, suite.max_new_tokens) == (("\n",), 15)


def test_semicolons_part_fields_where_the_first_line_has_more_of_them(folder: Path) -> None:
    (folder / "a.csv").write_text("question;answer\n1, 2 or 3?;1,5\n", "utf-8")
    [example] = load("a.csv,prompt={question}").examples
    assert (example.prompt, example.right) == ("1, 2 or 3?", ("1,5",))


def test_lines_without_fields_end_a_table_and_are_a_mistake_within_it(folder: Path) -> None:
    (folder / "a.csv").write_text("question,answer\na?,b\n\n\n", "utf-8")
    assert len(load("a.csv,prompt={question}").examples) == 1
    (folder / "a.csv").write_text("question,answer\na?,b\n\nc?,d\n", "utf-8")
    with pytest.raises(UserError, match=r"a\.csv, line 3: empty, but the first line names 2"):
        load("a.csv,prompt={question}")


def test_braces_are_doubled_and_commas_may_stand_in_a_template(folder: Path) -> None:
    [example, *_] = load("sums.csv,prompt=As {{json}}, please: {question}").examples
    assert example.prompt == "As {json}, please: 2 + 2, as a word?"


def test_a_scorer_and_choices_by_template_or_by_list(folder: Path) -> None:
    suite = load("sums.csv,prompt={question},choices={answer}|{wrong},scorer=choice")
    assert suite.examples[0].choices == ("four", "five")
    assert suite.chance == 0.5
    assert suite.examples[0].scorer_of(("four",), ()).outcome("(A)") == "right"
    rows = [{"q": "a?", "options": ["x", "y", "z"], "label": 2}]
    (folder / "c.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    [example] = load("c.jsonl,prompt={q},choices={options},answer={label},index=0").examples
    assert (example.right, example.choices) == (("z",), ("x", "y", "z"))


def test_a_list_of_answers_and_messages(folder: Path) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi?"}]
    (folder / "c.jsonl").write_text(json.dumps({"chat": chat, "says": ["Hi", "Hello"]}), "utf-8")
    [example] = load("c.jsonl,messages={chat},answer={says}").examples
    assert example.prompt == (Message("system", "Be brief."), Message("user", "Hi?"))
    assert example.right == ("Hi", "Hello")


def test_files_of_several_languages_are_versions_of_one_another(folder: Path) -> None:
    for name, question in (("en", "How many?"), ("fr", "Combien ?")):
        (folder / f"{name}.tsv").write_text(f"{question}\t3\n{question}\t4\n", "utf-8")
    suite = load(
        "{lang}.tsv,languages=en+fr,columns=question+answer,prompt={question},scorer=number"
    )
    assert suite.languages == ("en", "fr")
    assert [each.source_id for each in suite.in_language("fr")] == ["00001", "00002"]
    assert suite.in_language("fr")[1].right == ("4",)


def test_one_table_may_have_all_languages(folder: Path) -> None:
    (folder / "all.csv").write_text("i,l,q,a\n1,fr,Combien ?,3\n1,en,How many?,3\n", "utf-8")
    suite = load("all.csv,prompt={q},answer={a},id={i},lang={l}")
    assert suite.languages == ("en", "fr")
    assert suite.source_language == "en"


def test_worked_examples_are_drawn_by_a_seed_alike_in_all_languages_and_never_the_row(
    folder: Path,
) -> None:
    for name in ("en", "fr"):
        rows = "".join(f"{name} {n}\t{n}\n" for n in range(9))
        (folder / f"{name}.tsv").write_text(rows, "utf-8")
    spec = "{lang}.tsv,languages=en+fr,columns=question+answer,prompt={question},num_shots=3"
    suite, other = load(spec), load(f"{spec},shots_seed=1")
    assert suite.stop == ("\n\n",)
    for number, (english, french) in enumerate(
        zip(suite.in_language("en"), suite.in_language("fr"), strict=True)
    ):
        assert isinstance(english.prompt, str)
        *worked, asked = english.prompt.split("\n\n")
        assert (len(worked), asked) == (3, f"en {number}")
        assert f"en {number} {number}" not in worked
        assert french.prompt == english.prompt.replace("en ", "fr ")
    assert [e.prompt for e in suite.examples] != [e.prompt for e in other.examples]
    assert [e.prompt for e in suite.examples] == [e.prompt for e in load(spec).examples]


def test_worked_examples_of_another_table(folder: Path) -> None:
    (folder / "worked.csv").write_text("question,answer\n9 + 9?,eighteen\n", "utf-8")
    suite = load(rf"sums.csv,{PROMPT},shots=worked.csv,num_shots=1")
    worked, asked = str(suite.examples[0].prompt).split("\n\n")
    assert worked == "Question: 9 + 9?\nAnswer: eighteen"
    assert asked.startswith("Question: 2 + 2")


def test_no_worked_example_is_in_another_language_or_a_version_of_the_row(folder: Path) -> None:
    rows = [f"{n},{lang},{lang} {n},{n}" for lang in ("en", "fr") for n in range(3)]
    (folder / "all.csv").write_text("\n".join(["i,l,q,a", *rows]), "utf-8")
    suite = load("all.csv,prompt={q},answer={a},id={i},lang={l},num_shots=2")
    for example in suite.examples:
        *worked, asked = str(example.prompt).split("\n\n")
        assert {each.partition(" ")[0] for each in worked} == {example.language}
        assert asked.split()[1] not in {each.split()[1] for each in worked}
    with pytest.raises(UserError, match="fewer than num_shots=3"):
        load("all.csv,prompt={q},answer={a},id={i},lang={l},num_shots=3")


def test_messages_by_a_template_have_worked_examples_as_turns(folder: Path) -> None:
    suite = load("sums.csv,messages={question},num_shots=1,shots_seed=2")
    prompt = suite.examples[0].prompt
    assert isinstance(prompt, tuple)
    shot, said, asked = prompt
    assert isinstance(asked, Message)
    assert asked == Message("user", "2 + 2, as a word?")
    assert isinstance(said, Message)
    assert isinstance(shot, Message)
    assert (shot.role, said.role) == ("user", "assistant")


MIXED = """task,lang,id,q,a
sums,en,1,5 + 7?,12
sums,en,2,3 + 4?,7
sums,fr,1,5 + 7 ?,12
sums,fr,2,3 + 4 ?,7
facts,en,3,Capital of France?,Paris
facts,en,4,Capital of Italy?,Rome
facts,fr,3,Capitale de la France ?,Paris
facts,fr,4,Capitale de l'Italie ?,Rome
"""


@pytest.fixture
def mixed(folder: Path) -> str:
    (folder / "mixed.csv").write_text(MIXED, "utf-8")
    return "mixed.csv,answer={a},id={id},lang={lang},ability={task}"


def test_several_abilities_in_one_file_are_cells_with_scorers_and_forms_of_their_own(
    mixed: str,
) -> None:
    suite = load(rf"{mixed},prompt=Q: {{q}}\nA:,scorer.sums=number,form.sums=number")
    assert suite.cells == ("sums", "facts")
    assert suite.languages == ("en", "fr")
    sums, facts = suite.examples[0], suite.examples[4]
    assert (sums.answers, sums.scorer) == ({"sums": ("12",)}, "number")
    assert (facts.answers, facts.scorer) == ({"facts": ("Paris",)}, "prefix")
    assert (dict(sums.forms), dict(facts.forms)) == ({"sums": "number"}, {})
    # A worked sum may have several lines; a fact ends with its own.
    assert (suite.max_new_tokens, suite.stop) == (15, ("\n",))
    assert (facts.max_new_tokens, facts.stop) == (None, None)
    assert (sums.max_new_tokens, sums.stop) == (256, ())


def test_a_group_goes_before_the_ability_as_cell(mixed: str) -> None:
    suite = load(f"{mixed},prompt={{q}},group=all of {{task}}")
    assert suite.cells == ("all of sums", "all of facts")


def test_templates_for_a_language_or_an_ability(mixed: str) -> None:
    suite = load(
        rf"{mixed},prompt=Question: {{q}}\nAnswer:,prompt.fr=Question : {{q}}\nRéponse :,"
        "answer.fr={a}."
    )
    english, french = suite.in_language("en")[0], suite.in_language("fr")[0]
    assert (english.prompt, english.right) == ("Question: 5 + 7?\nAnswer:", ("12",))
    assert (french.prompt, french.right) == ("Question : 5 + 7 ?\nRéponse :", ("12.",))
    suite = load(f"{mixed},prompt.sums=Add. {{q}},prompt.facts=Say. {{q}}")
    assert [str(each.prompt)[:3] for each in suite.in_language("en")] == [
        "Add",
        "Add",
        "Say",
        "Say",
    ]


def test_worked_examples_are_of_the_same_ability_in_the_template_of_the_language(
    mixed: str,
) -> None:
    suite = load(f"{mixed},prompt={{q}},prompt.fr=Fr. {{q}},num_shots=1")
    prompts = [str(each.prompt) for each in suite.examples]
    assert prompts[0] == "3 + 4? 7\n\n5 + 7?"
    assert prompts[2] == "Fr. 3 + 4 ? 7\n\nFr. 5 + 7 ?"
    assert prompts[4] == "Capital of Italy? Rome\n\nCapital of France?"
    with pytest.raises(UserError, match=r"has 1 rows to work .* in 'en' for sums, fewer than"):
        load(f"{mixed},prompt={{q}},num_shots=2")


def test_messages_by_language(mixed: str) -> None:
    suite = load(f"{mixed},messages={{q}},messages.fr=S'il te plaît : {{q}}")
    assert suite.in_language("fr")[0].prompt == (Message("user", "S'il te plaît : 5 + 7 ?"),)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("prompt={q},prompt.frr={q}", "prompt.frr= is for no row.*Did you mean 'fr'"),
        ("prompt={q},scorer.sum=number", "scorer.sum= is for no row.*Did you mean 'sums'"),
        ("prompt={q},prompt.fr={q},prompt.sums={q}", r"prompt\.fr= and prompt\.sums= are both"),
        ("prompt.fr={q}", "prompt: there is none for en or sums"),
        ("prompt={q},messages.fr={q}", "either prompt= or messages="),
        ("prompt={q},prompt.fr={question}", "no column 'question', which prompt.fr= names"),
        ("prompt={q},scorer.sums=numbr", "Did you mean 'number'"),
        ("prompt={q},form.sums=numbr", "Did you mean 'number'"),
        ("prompt={q},lang.fr=x", "no option 'lang.fr'"),
        ("prompt={q},scorer.facts=number", "mixed.csv, line 6: .*no number"),
    ],
)
def test_what_does_not_go_together_is_named(mixed: str, options: str, said: str) -> None:
    with pytest.raises(UserError, match=f"(?s){said}"):
        load(f"{mixed},{options}")


def test_what_people_say_of_answers_stands_beside_them(folder: Path) -> None:
    rows: list[dict[str, object]] = [
        {"q": "a?", "a": "x", "said": "an x", "label": "right"},
        {"q": "b?", "a": "y", "said": ["y", "z"], "label": [1, 0]},
        {"q": "c?", "a": "z", "said": "", "label": None},
    ]
    (folder / "c.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    suite = load("c.jsonl,prompt={q},answer={a},human={label},human_answer={said}")
    assert [each.human for each in suite.examples] == [
        (HumanLabel("an x", right=True),),
        (HumanLabel("y", right=True), HumanLabel("z", right=False)),
        (),
    ]
    with pytest.raises(UserError, match="belong together"):
        load("c.jsonl,prompt={q},answer={a},human={label}")
    (folder / "c.jsonl").write_text(json.dumps({**rows[0], "label": "perhaps"}), "utf-8")
    with pytest.raises(UserError, match="line 1: human: 'perhaps': expected right or wrong"):
        load("c.jsonl,prompt={q},answer={a},human={label},human_answer={said}")


def test_parts_of_a_value_whole_numbers_and_the_form_of_answers(folder: Path) -> None:
    row = {"q": {"text": "a?"}, "choices": {"text": ["x", "y"]}, "n": 7.0}
    (folder / "c.jsonl").write_text(json.dumps(row), "utf-8")
    [example] = load("c.jsonl,prompt={q.text},answer={n},form=number").examples
    assert (example.prompt, example.right, example.forms) == ("a?", ("7",), {"answer": "number"})
    [example] = load("c.jsonl,prompt={q.text},answer=y,choices={choices.text}").examples
    assert example.choices == ("x", "y")


def test_a_prompt_whose_columns_are_all_empty_renders_nothing(folder: Path) -> None:
    (folder / "empty.csv").write_text("question,answer\n,b\n", "utf-8")
    with pytest.raises(UserError, match=r"line 2: prompt \(column question\): gives nothing"):
        load(rf"empty.csv,{PROMPT}")


def test_a_folder_of_splits_is_told_apart(folder: Path) -> None:
    (folder / "data" / "test").mkdir(parents=True)
    (folder / "data" / "test" / "state.json").write_text("{}", "utf-8")
    with pytest.raises(
        UserError, match=r"without rows of its own\.\nName one of its splits: data/test"
    ):
        load("data,prompt={question}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sums.csv,prompt={qestion}", r"no column 'qestion', which prompt= names.*'question'"),
        ("sums.csv,prompt={question", r"has a '\{' that belongs to no column"),
        ("deep.jsonl,prompt={q},answer=a", r"line 1: prompt \(column q\): a dict cannot stand"),
        ("sums.csv", "needs either prompt= or messages="),
        ("sums.csv,prompt={question},messages={kind}", "needs either prompt= or messages="),
        ("sums.csv,prompt={question},scorer=nummer", "Did you mean 'number'"),
        ("town.csv,prompt={question},scorer=number", "town.csv, line 2: The scorer 'number'"),
        ("sums.csv,prompt={question},languages=en", "do not go together"),
        ("{lang}.csv,prompt={question}", "do not go together"),
        ("sums.csv,prompt={question},num_shots=3", "has 2 rows to work before a prompt"),
        ("sums.csv,prompt={question},id={kind}", "the id 'easy' in 'en' is that of .*line 2 too"),
        ("empty.csv,prompt={question}", r"line 3: answer \(column answer\): gives nothing"),
        ("empty.csv,prompt={answer},answer=x", r"line 3: prompt \(column answer\): gives nothing"),
        ("sums.csv,prompt={question},choices={answer}|{wrong},index=0", "is no place of 2 choices"),
        ("odd.csv,prompt={question}", "line 2: 1 fields, but the first line names 2"),
        ("no.csv,prompt={question}", "no.csv"),
    ],
)
def test_what_cannot_be_used_is_named_with_row_and_column(
    folder: Path, spec: str, message: str
) -> None:
    (folder / "empty.csv").write_text("question,answer\na?,b\nc?,\n", "utf-8")
    (folder / "deep.jsonl").write_text('{"q": {"text": "a?"}}', "utf-8")
    (folder / "town.csv").write_text("question,answer\na?,Paris\n", "utf-8")
    (folder / "odd.csv").write_text("question,answer\na?\n", "utf-8")
    with pytest.raises(UserError, match=message):
        load(spec)


@pytest.mark.skipif(not MGSM.is_dir(), reason="the rows of MGSM are not here")
def test_mgsm_is_one_command() -> None:
    suite = load(
        rf"{MGSM}/{{lang}}.tsv,languages=en+fr+es+de,columns=question+answer,{PROMPT},scorer=number"
    )
    assert suite.languages == ("en", "fr", "es", "de")
    assert len(suite.examples) == 1000
    assert suite.in_language("de")[0].right == suite.in_language("en")[0].right == ("18",)
