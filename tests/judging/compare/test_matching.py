from __future__ import annotations

import re

import pytest
from tests.judging.compare.runs import run

from palimpsest.errors import UserError
from palimpsest.judging.compare.matching import Matched, match
from palimpsest.judging.compare.tasks import LoggedPair, MatchOptions

PARTIAL = MatchOptions(allow_partial=True)


def matched(base: str, tuned: str, *, how: MatchOptions | None = None, **more: str) -> Matched:
    pair = (run("base", {"qa": base}), run("tuned", {"qa": tuned}))
    return match({"identity": pair}, how or MatchOptions())


def test_every_item_gets_a_row_for_each_model() -> None:
    found = matched("110", "101")
    assert [(row.role, row.key.source_id, row.outcome) for row in found.rows] == [
        ("base", "qa/0", "right"),
        ("base", "qa/1", "right"),
        ("base", "qa/2", "broken"),
        ("tuned", "qa/0", "right"),
        ("tuned", "qa/1", "broken"),
        ("tuned", "qa/2", "right"),
    ]
    assert (found.cells, found.metrics, found.scoring) == (["qa"], {"qa": "acc"}, "binary")
    assert not found.notes


def test_the_order_of_the_items_does_not_matter() -> None:
    base, tuned = run("base", {"qa": "110"}), run("tuned", {"qa": "101"})
    items = dict(reversed(tuned.tasks[0].items.items()))
    tuned.tasks[0].items.clear()
    tuned.tasks[0].items.update(items)
    assert match({"identity": (base, tuned)}, MatchOptions()).rows == matched("110", "101").rows


def test_languages_of_a_task_become_ways_of_asking_it() -> None:
    tasks = {"xnli_en": "11", "xnli_fr": "10", "arc": "1"}
    found = match({"identity": (run("base", tasks), run("tuned", tasks))}, MatchOptions())
    assert {(row.cell, row.via, row.language) for row in found.rows} == {
        ("xnli", "identity", "en"),
        ("xnli", "fr", "fr"),
        ("arc", "identity", ""),
    }
    assert {row.key.source_id for row in found.rows} == {"xnli/0", "xnli/1", "arc/0"}
    apart = match(
        {"identity": (run("base", tasks), run("tuned", tasks))}, MatchOptions(parallel=False)
    )
    assert apart.cells == ["xnli_en", "xnli_fr", "arc"]


def test_conjugated_runs_become_ways_of_asking_each_language() -> None:
    tasks = {"xnli_en": "11", "xnli_fr": "10"}
    pair = (run("base", tasks), run("tuned", tasks))
    found = match({"identity": pair, "leet": pair}, MatchOptions())
    assert list(found.ways) == ["identity", "fr", "leet", "fr|leet"]


def test_another_language_may_be_the_plain_one() -> None:
    tasks = {"xnli_en": "11", "xnli_fr": "10"}
    pair = (run("base", tasks), run("tuned", tasks))
    assert list(match({"identity": pair}, MatchOptions(plain_language="fr")).ways) == [
        "en",
        "identity",
    ]


def test_other_items_under_the_same_id_are_refused_and_the_first_is_named() -> None:
    base = run("base", {"qa": "111"})
    tuned = run("tuned", {"qa": "111"}, item_hash="other")
    with pytest.raises(UserError, match="item '0' is not the same in base and in tuned; 3 of 3"):
        match({"identity": (base, tuned)}, PARTIAL)


def test_other_prompts_are_said_and_the_first_is_named() -> None:
    base = run("base", {"qa": "111"})
    tuned = run("tuned", {"qa": "111"}, prompt_hash="with a template")
    (note,) = match({"identity": (base, tuned)}, MatchOptions()).notes
    assert "sent different prompts for 3 items (the first: '0' of qa)" in note


def test_logs_without_a_common_item_are_refused() -> None:
    base, tuned = run("base", {"qa": "111"}), run("tuned", {"qa": "111"}, start=10)
    with pytest.raises(
        UserError,
        match=re.escape("qa: no item is in both base (such as '0') and tuned (such as '10')"),
    ):
        match({"identity": (base, tuned)}, PARTIAL)


def test_logs_of_different_tasks_are_refused_with_what_they_have() -> None:
    base, tuned = run("base", {"arc": "1", "boolq": "1"}), run("tuned", {"qa": "1"})
    with pytest.raises(UserError, match="base has arc, boolq; tuned has qa"):
        match({"identity": (base, tuned)}, PARTIAL)


def test_a_partial_overlap_is_refused_unless_it_is_asked_for_and_then_counted() -> None:
    base, tuned = run("base", {"qa": "1111"}), run("tuned", {"qa": "000"}, start=2)
    with pytest.raises(UserError, match="do not have the same items") as error:
        match({"identity": (base, tuned)}, MatchOptions())
    said = [
        "qa: 2 of 4 items are only in the base model's log (the first: '0').",
        "qa: 1 of 3 items are only in the tuned model's log (the first: '4').",
    ]
    assert error.value.message.splitlines()[1:] == said
    assert "--allow-partial" in (error.value.hint or "")
    found = match({"identity": (base, tuned)}, PARTIAL)
    assert {row.key.source_id for row in found.rows} == {"qa/2", "qa/3"}
    assert found.notes == said


def test_a_task_that_only_one_model_has_is_a_gap() -> None:
    base, tuned = run("base", {"qa": "1", "arc": "1"}), run("tuned", {"qa": "1"})
    with pytest.raises(UserError, match="arc: only the base model's log has this task"):
        match({"identity": (base, tuned)}, MatchOptions())
    assert match({"identity": (base, tuned)}, PARTIAL).cells == ["qa"]


def test_items_that_were_not_asked_under_a_conjugation_are_a_gap() -> None:
    plain = (run("base", {"qa": "1111"}), run("tuned", {"qa": "0000"}))
    leet = (run("base-leet", {"qa": "11"}), run("tuned-leet", {"qa": "11"}))
    with pytest.raises(
        UserError, match="qa under 'leet': 2 of 4 items of qa are asked this way as well"
    ):
        match({"identity": plain, "leet": leet}, MatchOptions())
    found = match({"identity": plain, "leet": leet}, PARTIAL)
    assert sum(row.via == "leet" for row in found.rows) == 4


def test_a_conjugated_run_of_other_items_is_refused_unless_a_key_identifies_them() -> None:
    plain = (run("base", {"qa": "11"}), run("tuned", {"qa": "00"}))
    leet = (
        run("base-leet", {"qa": "11"}, item_hash="l33t"),
        run("tuned-leet", {"qa": "11"}, item_hash="l33t"),
    )
    with pytest.raises(UserError, match="qa under 'leet': item '0' is not the one of the plain"):
        match({"identity": plain, "leet": leet}, MatchOptions())
    assert len(match({"identity": plain, "leet": leet}, MatchOptions(by_key=True)).rows) == 8


def test_different_metrics_are_refused() -> None:
    pair = (run("base", {"qa": "1"}), run("tuned", {"qa": "1"}, metric="f1"))
    with pytest.raises(UserError, match="scored by 'acc', the tuned model by 'f1'"):
        match({"identity": pair}, MatchOptions())


def test_language_versions_with_other_right_answers_are_not_parallel() -> None:
    def pair(n_wrong: int) -> dict[str, LoggedPair]:
        runs = []
        for name in ("base", "tuned"):
            one = run(name, {"xnli_en": "1" * 100, "xnli_fr": "1" * 100}, target="1")
            for task in one.tasks:
                if task.name == "xnli_fr":
                    for key in list(task.items)[:n_wrong]:
                        item = task.items[key]
                        item.first = item.first._replace(target="2")
            runs.append(one)
        return {"identity": (runs[0], runs[1])}

    assert not match(pair(0), MatchOptions()).notes
    (note,) = match(pair(5), MatchOptions()).notes
    assert "the right answers of 5 of 100 items differ (the first, '0': 2 and 1)." in note
    with pytest.raises(UserError, match="not the same items in two languages"):
        match(pair(6), MatchOptions())


def test_chances_come_from_the_plain_prompts() -> None:
    tasks = {"xnli_en": "11", "xnli_fr": "11"}
    pair = (run("base", tasks, chance=0.25), run("tuned", tasks, chance=0.25))
    assert match({"identity": pair}, MatchOptions()).chances == {"xnli/0": 0.25, "xnli/1": 0.25}
