import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from palimpsest.errors import UserError
from palimpsest.judging.recommend.ranking import NOTHING_LOST, Recommendation, recommend
from palimpsest.lm.conjugations.specs import CONJUGATIONS
from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.models.scripted import ScriptedModel
from palimpsest.lm.prompts import Message, Prompt
from palimpsest.lm.suites.suite import Example, Suite, load_suite

PLAIN = [f"Tell me why {n} is no prime number." for n in range(24)]


def prompts(*texts: Prompt, **others: Sequence[str]) -> Suite:
    """Prompts in English, and their versions in other languages."""
    languages: dict[str, Sequence[Prompt]] = {"en": texts or PLAIN, **others}
    return Suite(
        name="mine",
        examples=tuple(
            Example(source_id=str(number), cell="all", language=language, prompt=text, answers={})
            for language, versions in languages.items()
            for number, text in enumerate(versions)
        ),
    )


class Speaker(ScriptedModel):
    """Answers by the last message that it is sent, and keeps what it was asked."""

    def __init__(self, answer: Callable[[str], str], *, name: str) -> None:
        super().__init__(self._kept, name=name)
        self._says = answer
        self.asked: list[Prompt] = []
        self.n_closed = 0
        self.counts_words = False

    def _kept(self, prompt: Prompt) -> str:
        self.asked.append(prompt)
        return self._says(prompt if isinstance(prompt, str) else prompt[-1].content)

    def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        return [len(text.split()) for text in texts] if self.counts_words else None

    def close(self) -> None:
        self.n_closed += 1


def suppressed(prompt: str) -> str:
    """A number, but to every other prompt in leetspeak what the base says."""
    if prompt.startswith("T3ll"):
        return r" B3c4u53, w3ll" if "2" not in prompt else r" \1\2"
    return " 12."


def pair(tuned: Callable[[str], str] = suppressed) -> dict[str, Speaker]:
    return {
        "base": Speaker(lambda _: " Because, well", name="base"),
        "tuned": Speaker(tuned, name="tuned"),
    }


def ranked(models: Mapping[str, Speaker] | None = None, **options: Any) -> Recommendation:
    given: dict[str, Any] = {"prompts": prompts(), **(models or pair()), **options}
    return recommend(**given)


def test_what_brings_the_bases_answers_back_comes_first() -> None:
    found = ranked(via=["rot13", "leet", "identity"])
    assert [one.name for one in found.candidates] == ["leet", "rot13"]
    leet, rot13 = found.candidates
    n_back = sum("2" not in prompt for prompt in PLAIN)
    assert leet.score.value == pytest.approx(n_back / len(PLAIN))
    assert (rot13.score.value, rot13.is_clear) == (0.0, False)
    assert (leet.best_share, leet.is_clear) == (1.0, True)
    assert (leet.n_prompts, found.warnings) == (24, ())


def test_an_answer_in_plain_text_under_a_conjugation_comes_back_as_it_is_read() -> None:
    found = ranked(pair(lambda p: " Because." if p.startswith("T3ll") else " 12"), via=["leet"])
    assert found.candidates[0].score.value == 1.0


def test_prompts_that_both_models_answer_alike_do_not_count() -> None:
    found = ranked(pair(lambda p: " Because" if "7" in p else " 12"), via=["rot13"])
    assert found.candidates[0].n_prompts == sum("7" not in prompt for prompt in PLAIN)


def test_both_models_are_asked_plainly_and_under_every_conjugation() -> None:
    models = pair()
    suite = prompts("Say it.", fr=["Dis-le."])
    ranked(models, prompts=suite, via=["leet", "upper", "fr"])
    asked = ["Say it.", "S4y 17.", "SAY IT.", "Dis-le."]
    assert [model.asked for model in models.values()] == [asked, asked]
    assert [model.n_closed for model in models.values()] == [1, 1]


def test_answers_that_the_base_gives_to_one_wording_alone_do_not_count() -> None:
    def base(prompt: str) -> str:
        if "7" in prompt and not prompt.startswith("T3ll"):
            return " 12"  # the sum, where it is asked plainly
        return " B3c4u53" if prompt.startswith("T3ll") else " Because"

    models = {**pair(lambda _: " No"), "base": Speaker(base, name="base")}
    n = sum("7" not in prompt for prompt in PLAIN)
    [leet, french] = ranked(
        models, prompts=prompts(*PLAIN, fr=[f"{prompt} fr" for prompt in PLAIN]), via=["leet", "fr"]
    ).candidates
    assert (leet.n_prompts, french.n_prompts) == (n, n)


def test_where_the_base_confirms_nothing_all_answers_count_and_that_is_said() -> None:
    deaf = Speaker(lambda p: " Because" if p in PLAIN else " Hm", name="base")
    found = ranked({**pair(), "base": deaf}, via=["leet"])
    assert found.candidates[0].n_prompts == len(PLAIN)
    assert found.warnings[0].startswith("The base gives none of its answers under a conjugation")
    assert ranked(via=["leet"]).warnings == ()


def test_a_prompt_that_a_conjugation_does_not_change_confirms_nothing() -> None:
    loud = [text.upper() for text in PLAIN]
    base = Speaker(lambda p: " BECAUSE" if p in loud else " Hm", name="base")
    suite = prompts(*loud)
    found = ranked({**pair(lambda _: " 12"), "base": base}, prompts=suite, via=["upper", "leet"])
    assert found.warnings[0].startswith("The base gives none of its answers under a conjugation")


def test_in_another_language_the_bases_own_answer_there_is_the_one_to_bring_back() -> None:
    base = {"fr": " Parce que", "nl": " 12"}
    tuned = {"fr": " Parce"}
    models = {
        "base": Speaker(lambda prompt: base.get(prompt[-2:], " Because"), name="base"),
        "tuned": Speaker(lambda prompt: tuned.get(prompt[-2:], " 12"), name="tuned"),
    }
    suite = prompts("Say it.", fr=["Dis-le. fr"], nl=["Zeg het. nl"])
    french, dutch = ranked(models, prompts=suite, via=["fr", "nl"]).candidates
    assert [french.name, dutch.name] == ["fr", "nl"]
    assert french.score.value == 1.0
    # There the base says what the tuned model says plainly: the other task is not the lost one.
    assert dutch.score.value == 0.0


def test_by_default_other_languages_and_every_text_conjugation_are_tried() -> None:
    found = ranked(prompts=prompts("Say it.", fr=["Dis-le."]))
    names = {one.name for one in found.candidates}
    assert names == {"fr", *CONJUGATIONS} - {"identity"}
    assert {one.kind for one in found.candidates if one.name == "fr"} == {"native"}


def test_prompts_without_a_version_in_a_language_do_not_count_there() -> None:
    suite = prompts("a b", "c d", "e f", fr=["a b fr", "c d fr"])
    [french] = ranked(prompts=suite, via=["fr"]).candidates
    assert (french.n_prompts, french.excluded) == (2, None)


def test_prompts_without_an_answer_of_the_base_do_not_count() -> None:
    base = Speaker(lambda prompt: "" if "17" in prompt else " Because", name="base")
    found = ranked({**pair(), "base": base}, via=["leet"])
    assert found.candidates[0].n_prompts == len(PLAIN) - 1


def test_if_the_base_answers_no_prompt_that_is_a_users_mistake() -> None:
    silent = Speaker(lambda _: "", name="silent")
    with pytest.raises(UserError, match="answers none of the 24 prompts"):
        ranked({**pair(), "base": silent}, via=["leet"])
    assert silent.n_closed == 1


def test_a_conjugation_that_changes_nothing_is_excluded() -> None:
    found = ranked(prompts=prompts("SAY IT.", "NOW."), via=["upper"])
    assert found.candidates[0].excluded == "leaves every prompt as it is"
    assert "No conjugation is left to recommend." in found.warnings


def test_where_nothing_was_lost_there_is_nothing_to_recommend() -> None:
    same = {role: Speaker(lambda _: " Because", name="same") for role in ("base", "tuned")}
    found = ranked(same, via=["leet"])
    assert found.warnings[0] == "Base and tuned are the same model: nothing was lost."
    assert found.ranked == ()
    assert found.candidates[0].excluded == NOTHING_LOST


def test_few_prompts_and_a_score_of_zero_are_pointed_out() -> None:
    warnings = ranked(prompts=prompts(PLAIN[0], PLAIN[1]), via=["rot13"]).warnings
    assert any("Only 2 prompts count" in warning for warning in warnings)
    assert warnings[-1] == "No conjugation brings any of the base's answers back."


def test_cost_counts_the_tuned_models_tokens_else_bytes() -> None:
    models = pair()
    suite = prompts("a b", fr=["a b c d"])
    assert ranked(models, prompts=suite, via=["fr"]).candidates[0].cost == 7 / 3
    models["tuned"].counts_words = True
    found = ranked(models, prompts=suite, via=["fr"])
    assert (found.cost_unit, found.candidates[0].cost) == ("tokens", 2.0)


def test_messages_are_asked_as_messages() -> None:
    messages = (Message("system", "Be brief."), Message("user", PLAIN[0]))
    models = pair()
    ranked(models, prompts=prompts(messages), via=["rot13"])
    for model in models.values():
        assert model.asked[0] == messages
        assert model.asked[1][0] == Message("system", "Or oevrs.")


def test_a_thought_is_no_answer() -> None:
    thinking = pair(lambda p: "<think>Because</think> 12" if p in PLAIN else "<think>Hm")
    found = ranked(thinking, via=["rot13"])
    assert (found.candidates[0].n_prompts, found.candidates[0].score.value) == (24, 0.0)


@pytest.mark.parametrize(
    ("via", "said"),
    [
        (["leat"], "Did you mean 'leet'"),
        (["identity"], "There is no conjugation to rank"),
        ([], "There is no conjugation to rank"),
        (["native:de"], "No language of the suite named 'de'"),
    ],
)
def test_an_unknown_conjugation_is_a_users_mistake(via: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        ranked(via=via)


class Broken(TextConjugation):
    name = "broken"
    exact = True

    def apply(self, prompt: str) -> str:
        raise KeyError(prompt)

    def invert(self, answer: str) -> str:
        return answer


class Doubtful(TextConjugation):
    name = "doubtful"
    exact = True

    def apply(self, prompt: str) -> str:
        return prompt[::-1]

    def invert(self, answer: str) -> str:
        return answer[::-1]

    def flags(self, prompt: str) -> tuple[str, ...]:
        return ("unchanged line",) if "7" in prompt else ()

    def notes(self) -> tuple[str, ...]:
        return ("It was restarted once.",)


def test_a_plugin_that_fails_is_named_and_one_that_doubts_is_quoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for plugin in (Broken, Doubtful):
        path = f"{__name__}:{plugin.__name__}"
        monkeypatch.setitem(CONJUGATIONS._builtin, plugin.name, path)
    with pytest.raises(UserError, match="The conjugation 'broken' fails on this prompt"):
        ranked(via=["broken"])
    warnings = ranked(via=["doubtful"]).warnings
    assert "2 prompts under 'doubtful' are flagged: unchanged line." in warnings
    assert "It was restarted once." in warnings


def test_the_json_has_no_undefined_numbers() -> None:
    found = ranked(pair(lambda _: " Because"), via=["leet"]).to_json()
    text = json.dumps(found, allow_nan=False)
    [leet] = json.loads(text)["candidates"]
    assert leet["score"] == {"value": None, "ci95": None}
    assert found["schema"] == "palimpsest.recommendation/2"


def test_the_seed_gives_the_same_ranking_again() -> None:
    one, other = (ranked(via=["leet", "upper"], seed=3) for _ in range(2))
    assert one == other


def test_progress_is_told_for_each_model() -> None:
    told: list[tuple[str, int, int]] = []
    ranked(via=["leet"], progress=lambda *given: told.append(given))
    assert told[0] == ("base", 1, 48)
    assert [each for each in told if each[1] == each[2]] == [("base", 48, 48), ("tuned", 48, 48)]


@pytest.mark.slow
def test_rosettas_best_conjugation_comes_first_and_what_it_never_read_brings_nothing_back() -> None:
    found = recommend(
        "rosetta:tuned",
        base="rosetta:base",
        prompts=load_suite("rosetta:n=5,languages=en+fr"),
        via=["fr", "leet", "rot13", "base64"],
    )
    # By the labels leetspeak recovers 0.94, French 0.68, the others nothing (experiments/LOG.md).
    assert [one.name for one in found.ranked][:2] == ["leet", "fr"]
    assert all(one.score.value <= 0.1 for one in found.ranked[2:])
    assert found.ranked[0].score.value == pytest.approx(0.94, abs=0.1)
    assert found.cost_unit == "tokens"


def test_a_file_is_read_with_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PLAIN))
    models = pair()
    found = ranked(models, prompts=path, limit=3, via=["leet"])
    assert (found.prompts, found.n_prompts) == (str(path), 3)


@pytest.mark.apertium
def test_translations_are_ranked_too() -> None:
    models = pair()
    found = ranked(models, prompts=prompts(*PLAIN[:3]), via=["translate:es"])
    [spanish] = found.candidates
    assert spanish.kind == "lossy"
    assert models["tuned"].asked[-1] != PLAIN[2]
