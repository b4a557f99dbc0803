import pytest
from tests.judging.test_looking import row

from palimpsest.judging.explanations import CUT_OFF, EMPTY, LANGUAGE, REFUSAL, THOUGHT
from palimpsest.judging.flags import flags_of, seen_answer

LONG_FRENCH = "Le chat dort dans le jardin et les oiseaux chantent pour une fois."


@pytest.mark.parametrize(
    ("raw", "finish", "flags"),
    [
        ("Paris", "stop", ()),
        ("Paris", "length", (CUT_OFF,)),
        ("", "stop", (EMPTY,)),
        ("", "length", (EMPTY, CUT_OFF)),
        ("I'm sorry, but I can't help with that.", "stop", (REFUSAL,)),
        ("Lo siento, no puedo.", "stop", (REFUSAL,)),
        ("Es tut mir leid.", "stop", (REFUSAL,)),
        ("<think>Well, Paris", "length", (THOUGHT, EMPTY, CUT_OFF)),
        (LONG_FRENCH, "stop", (LANGUAGE,)),
        ("Это Париж.", "stop", (LANGUAGE,)),
        ("The cat sleeps in the garden and the birds are singing for once.", "stop", ()),
    ],
)
def test_an_answer_is_flagged_for_what_it_looks_like(
    raw: str, finish: str, flags: tuple[str, ...]
) -> None:
    answer = "" if raw.startswith("<think>") else raw
    prompt = "What is the capital of France, and what does the cat do there?"
    answered = row(1, answer, raw=raw, finish=finish, prompt=prompt)
    assert flags_of(seen_answer(answered, {})) == flags


def test_a_chosen_answer_has_none() -> None:
    answered = row(1, "", raw='{"a": -1.0}', finish="chosen")
    assert flags_of(seen_answer(answered, {})) == ()


class Unread(dict[str, str]):
    """Plain prompts that nobody may read."""

    def get(self, *_: object) -> str:
        raise AssertionError("a plain prompt was read")


def test_plain_prompts_are_read_only_where_the_one_that_was_sent_tells_too_little() -> None:
    answered = row(1, "Paris", raw="Paris", prompt="What is the capital?")
    assert flags_of(seen_answer(answered, Unread())) == ()
    in_digits = row(1, "Paris", raw="Paris", prompt="1 + 1")
    with pytest.raises(AssertionError, match="was read"):
        flags_of(seen_answer(in_digits, Unread()))
