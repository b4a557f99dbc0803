from __future__ import annotations

import pytest

from palimpsest.errors import UserError
from palimpsest.judging.compare.tasks import MatchOptions, Version, find_versions, look_alikes


@pytest.mark.parametrize(
    ("names", "cell"),
    [
        # Names as lm-evaluation-harness 0.4.13 has them.
        (["xnli_en", "xnli_fr"], "xnli"),
        (["paws_en", "paws_fr"], "paws"),
        (["xstorycloze_en", "xstorycloze_es"], "xstorycloze"),
        (["mgsm_direct_en", "mgsm_direct_fr"], "mgsm_direct"),
        (["mgsm_en_cot_en", "mgsm_en_cot_fr", "mgsm_en_cot_de"], "mgsm_en_cot"),
        (["belebele_eng_Latn", "belebele_fra_Latn"], "belebele"),
        (["global_mmlu_en_anatomy", "global_mmlu_fr_anatomy"], "global_mmlu_anatomy"),
        (["afrimmlu_direct_eng_prompt_1", "afrimmlu_direct_fra_prompt_1"],
         "afrimmlu_direct_prompt_1"),
    ],
)  # fmt: skip
def test_language_versions_are_found_by_their_names(names: list[str], cell: str) -> None:
    found = find_versions([*names, "arc_easy"])
    languages = [found[name].language for name in names]
    assert languages[:2] in (["en", "fr"], ["en", "es"])
    assert {found[name].cell for name in names} == {cell}
    assert found["arc_easy"] == Version("arc_easy", None)


def test_tasks_that_only_look_alike_stay_apart() -> None:
    names = ["arc_easy", "arc_challenge", "mmlu_anatomy", "mmlu_law", "xnli_en", "hellaswag"]
    assert {one.language for one in find_versions(names).values()} == {None}


def test_versions_without_a_plain_one_stay_apart_and_are_named() -> None:
    names = ["xnli_fr", "xnli_de", "arc_easy"]
    assert {one.language for one in find_versions(names).values()} == {None}
    (note,) = look_alikes(names, MatchOptions())
    assert "The tasks xnli_{lang} look like versions of one task, but none is in 'en'" in note
    assert find_versions(names, plain="fr")["xnli_de"] == Version("xnli", "de")


def test_scripts_are_told_apart_only_where_they_must_be() -> None:
    names = ["b_eng_Latn", "b_zho_Hans", "b_zho_Hant", "b_fra_Latn"]
    found = find_versions(names)
    assert [found[name].language for name in names] == ["en", "zh-Hans", "zh-Hant", "fr"]


def test_a_cell_never_takes_the_name_of_another_task() -> None:
    found = find_versions(["xnli", "xnli_en", "xnli_fr"])
    assert found["xnli"].cell == "xnli"
    assert found["xnli_en"].cell == found["xnli_fr"].cell == "xnli_{lang}"


def test_a_template_says_which_tasks_are_versions() -> None:
    found = find_versions(["my-en-x", "my-fr-x", "xnli_en", "xnli_fr"], template="my-{lang}-x")
    assert (found["my-fr-x"], found["xnli_fr"]) == (Version("my-x", "fr"), Version("xnli_fr", None))
    with pytest.raises(UserError, match="does not say where the language stands"):
        find_versions(["a"], template="xnli")
    with pytest.raises(UserError, match=r"No task named like 'paws_\{lang\}' is in 'en'"):
        find_versions(["xnli_en"], template="paws_{lang}")
