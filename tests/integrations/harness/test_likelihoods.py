"""How requests for likelihoods are conjugated, and what of them is refused."""

import logging
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from tests.integrations.harness.conftest import Recorder, scoring

from palimpsest.errors import UserError
from palimpsest.integrations.lm_eval import ConjugateLM


def test_context_and_continuation_go_out_conjugated_and_likelihoods_come_back_as_they_are() -> None:
    inner = Recorder(score=lambda context, continuation: -0.5)
    answers = ConjugateLM(inner, via="leet").loglikelihood(scoring(("Is it?", " Yes")))
    assert [each.args for each in inner.asked] == [("I5 17?", " Y35")]
    assert answers == [(-0.5, False)]


def test_the_harness_keeps_its_own_requests() -> None:
    [request] = scoring(("Is it?", " Yes"))
    inner = Recorder()
    ConjugateLM(inner, via="leet").loglikelihood([request])
    [sent] = inner.asked
    assert sent is not request
    assert request.args == ("Is it?", " Yes")
    assert sent.resps is not request.resps
    assert (sent.task_name, sent.doc_id, sent.repeats) == ("a task", 0, 1)


def test_an_empty_context_stays_empty() -> None:
    inner = Recorder()
    ConjugateLM(inner, via="leet").loglikelihood(scoring(("", " It rains, right? Yes, so")))
    assert inner.asked[0].args == ("", " I7 r41n5, r1gh7? Y35, 50")


def test_tasks_without_contexts_are_asked_whole(evaluate: Any) -> None:
    inner = Recorder()
    results = evaluate(ConjugateLM(inner, via="rot13"), "sentences")
    assert {each.args[0] for each in inner.asked} == {""}
    assert inner.asked[1].args[1] == " Abg fb: Oblf guebj oyhr onyyf va fhzzre."
    assert results["samples"]["sentences"][0]["arguments"][0][0] == ""


def test_normalised_accuracy_divides_by_the_lengths_of_the_original_choices(evaluate: Any) -> None:
    # Plainly, the choices have 2 and 13 characters, in pig latin 5 and 22. Divided by the plain
    # lengths, -6 is more than -1; divided by the others, it is less.
    task = {
        "task": "lengths",
        "custom_dataset": lambda **_: _dataset([{"question": "Q?"}]),
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "question",
        "doc_to_choice": ["no", "yes, yes, yes"],
        "doc_to_target": 1,
        "metric_list": [{"metric": "acc_norm", "aggregation": "mean", "higher_is_better": True}],
    }
    scores = {" o·nay": -1.0, " es·yay, es·yay, es·yay": -6.0}
    inner = Recorder(score=lambda _, continuation: scores[continuation])
    results = evaluate(ConjugateLM(inner, via="pig-latin"), task)
    assert results["results"]["lengths"]["acc_norm,none"] == 1


def _dataset(rows: list[dict[str, str]]) -> Any:
    import datasets

    return datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)})


def test_mutual_information_is_asked_without_context(evaluate: Any) -> None:
    inner = Recorder()
    evaluate(ConjugateLM(inner, via="rot13"), "choice", limit=1)
    contexts = [each.args[0] for each in inner.asked]
    assert contexts[2:] == ["", ""]
    assert contexts[0].startswith("Ercrng gur vachg.")


def test_choices_that_a_conjugation_makes_the_same_are_warned_of(
    caplog: pytest.LogCaptureFixture, harness_log: None
) -> None:
    requests = scoring(("Which?", " polish"), ("Which?", " Polish"), ("And?", " Polish"))
    ConjugateLM(Recorder(), via="upper").loglikelihood(requests)
    [warning] = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "'upper', 2 continuations read like another one" in warning.getMessage()


def test_continuations_by_themselves_are_counted(
    caplog: pytest.LogCaptureFixture, harness_log: None
) -> None:
    requests = scoring(("The first", " word"), ("The first\n", "word"))
    ConjugateLM(Recorder(), via="reverse-words").loglikelihood(requests)
    assert any("1 of 2 continuations are conjugated by" in line for line in caplog.messages)


def test_the_likelihood_of_whole_texts_is_refused_with_the_reason(evaluate: Any) -> None:
    with pytest.raises(UserError, match="asked by: rolling") as raised:
        evaluate(ConjugateLM(Recorder(), via="leet"), "rolling")
    assert "no answer to invert" in str(raised.value)
    assert "via=identity" in str(raised.value)


def test_the_likelihood_of_whole_texts_passes_under_the_identity(evaluate: Any) -> None:
    plain = evaluate(Recorder(), "rolling")
    conjugated = evaluate(ConjugateLM(Recorder(), via="identity"), "rolling")
    assert conjugated["results"] == plain["results"]


def test_pictures_are_refused() -> None:
    picture = Instance("loglikelihood", {}, ("<image>", " cat", {"visual": []}), 0, ("zoo", 0, 1))
    with pytest.raises(UserError, match="'zoo' asks with pictures or sound"):
        ConjugateLM(Recorder(), via="leet").loglikelihood([picture])
