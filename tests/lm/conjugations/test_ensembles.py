import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palimpsest.errors import UserError
from palimpsest.lm.conjugations.ensembles import (
    MOST_MEMBERS,
    TextEnsemble,
    agreeing,
    parse_ensemble,
    vote,
)
from palimpsest.lm.conjugations.specs import parse_conjugation


def test_a_spec_without_a_vote_is_an_ensemble_of_one() -> None:
    ensemble = parse_ensemble("leet|upper")
    assert ensemble.name == "leet|upper"
    assert ensemble.members == (parse_conjugation("leet|upper"),)
    assert ensemble.combine(["as it is "]) == "as it is "


def test_the_members_keep_their_order_and_may_be_chains_or_protected() -> None:
    ensemble = parse_ensemble(" vote( rot13 , leet|upper, protect(leet,urls+code) ) ")
    assert ensemble.name == "vote(rot13,leet|upper,protect(leet,code+urls))"
    assert parse_ensemble(ensemble.name).members[0] is parse_conjugation("rot13")


def test_a_vote_of_one_is_called_like_its_member() -> None:
    assert parse_ensemble("vote(leet)").name == "leet"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "has an empty link"),
        ("vote", "names nothing to vote"),
        ("vote()", "names nothing to vote"),
        ("vote( )", "names nothing to vote"),
        ("vote(leet)x", "names nothing to vote"),
        ("vote(leet,)", "empty link"),
        ("vote(leet", "parentheses in the conjugation .* do not match"),
        ("vote(leet,upper)|rot13", "puts a vote into a chain"),
        ("rot13|vote(leet,upper)", "only 'protect' takes parentheses"),
        ("vote(leet,vote(upper,rot13))", "puts a vote into a vote"),
        ("vote(leet,rot13,leet|identity)", "has 'leet' twice"),
        ("vote(leet,uper)", "Did you mean 'upper'"),
        (f"vote({','.join(['leet'] * (MOST_MEMBERS + 1))})", "has 17 members; 16 are allowed"),
    ],
)
def test_a_malformed_vote_is_a_users_mistake(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_ensemble(spec)


def test_a_comma_before_key_and_value_belongs_to_the_member_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def parse(spec: str, *, source_language: str) -> object:
        seen.append(spec)
        return parse_conjugation("identity" if "=" in spec else spec)

    monkeypatch.setattr("palimpsest.lm.conjugations.ensembles.parse_conjugation", parse)
    parse_ensemble("vote(translate:es@model:hf:./m,dtype=bfloat16,chat=true,leet)")
    assert seen == ["translate:es@model:hf:./m,dtype=bfloat16,chat=true", "leet"]


def test_members_may_be_translations_from_the_language_of_the_prompts() -> None:
    ensemble = parse_ensemble("vote(fr, translate:es, leet)")
    assert ensemble.name == "vote(translate:fr@apertium,translate:es@apertium,leet)"
    assert parse_ensemble(ensemble.name).name == ensemble.name
    spanish = parse_ensemble("vote(fr,leet)", source_language="es")
    assert spanish.name == "vote(translate:es:fr@apertium,leet)"
    with pytest.raises(UserError, match="has 'translate:fr@apertium' twice"):
        parse_ensemble("vote(fr,translate:fr)")


@pytest.mark.parametrize(
    ("answers", "winner"),
    [
        (["a"], "a"),
        (["a", "b", "b"], "b"),
        (["a", "b"], "a"),  # a tie: the first
        (["a", "b", "b", "a"], "a"),
        (["no", " Paris.", "paris", "PARIS!"], " Paris."),  # the first form of the winner
        (["", "  ", "b"], "b"),  # blank answers abstain
        (["", " "], ""),
        (["?!", "?"], "?!"),  # nothing but punctuation is a vote of its own
        (["50%", "50", "50"], "50"),  # a sign that carries meaning is no punctuation
        (["C", "C#", "C#"], "C#"),
        (["Straße", "strasse", "x", "y"], "Straße"),
        (["a b", "a  b", "a  b"], "a  b"),  # white space inside counts
    ],
)
def test_votes_differ_by_more_than_space_case_and_final_punctuation(
    answers: list[str], winner: str
) -> None:
    assert vote(answers) == winner


def test_there_is_no_vote_without_answers() -> None:
    with pytest.raises(ValueError, match="at least one answer"):
        agreeing([])


@given(st.lists(st.text(string.ascii_letters + " .!\u00df", max_size=3), min_size=1, max_size=6))
def test_the_winner_is_one_of_the_answers_and_as_many_agree_as_with_any(
    answers: list[str],
) -> None:
    places = agreeing(answers)
    assert vote(answers) == answers[places[0]]
    for answer in answers:
        if answer.strip():
            assert len(places) >= answers.count(answer)


def test_an_ensemble_asks_a_function_under_every_member() -> None:
    asked = []

    def shout(prompt: str) -> str:
        asked.append(prompt)
        return prompt

    ensemble = TextEnsemble([parse_conjugation("rot13"), parse_conjugation("leet")])
    assert ensemble(shout)("Say it.") == "Say it."
    assert asked == ["Fnl vg.", "S4y 17."]
