import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from palimpsest.errors import UserError
from palimpsest.judging.recommend.ranking import Recommendation, recommend
from palimpsest.lm.conjugations.specs import CONJUGATIONS
from palimpsest.lm.conjugations.text import TextConjugation
from palimpsest.lm.models.protocol import ScoringUnavailableError
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
    """Answers by what it is sent, and finds an opening as likely as a function says."""

    def __init__(
        self,
        answer: Callable[[str], str],
        likely: Callable[[str, str], float] = lambda prompt, text: 0.5,
        *,
        name: str,
    ) -> None:
        super().__init__(lambda prompt: answer(text_of(prompt)), name=name)
        self._likely = likely
        self.scored: list[tuple[Prompt, str]] = []
        self.n_closed = 0
        self.counts_words = False

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        pairs = [(p, text) for p, texts in zip(prompts, candidates, strict=True) for text in texts]
        self.scored += pairs
        return [[math.log(self._likely(text_of(p), text))] for p, text in pairs]

    def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        return [len(text.split()) for text in texts] if self.counts_words else None

    def close(self) -> None:
        self.n_closed += 1


def text_of(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else prompt[-1].content


def by_kind(plain: float, leet: float, other: float) -> Callable[[str, str], float]:
    """How likely the base's answer is after plain prompts, leetspeak, and all else."""

    def likely(prompt: str, text: str) -> float:
        if prompt in PLAIN:
            return plain
        return leet if prompt.startswith("T3ll") and text == " B3c4u53" else other

    return likely


def pair(tuned: Callable[[str, str], float] | None = None) -> dict[str, Speaker]:
    """The base explains; the tuned model says a number, but in leetspeak."""
    return {
        "base": Speaker(lambda _: " Because, well", lambda *_: 0.9, name="base"),
        "tuned": Speaker(lambda _: " 12.", tuned or by_kind(0.1, 0.7, 0.02), name="tuned"),
    }


def ranked(models: Mapping[str, Speaker] | None = None, **options: Any) -> Recommendation:
    given: dict[str, Any] = {"prompts": prompts(), **(models or pair()), **options}
    return recommend(**given)


def test_what_brings_the_bases_answer_back_comes_first() -> None:
    found = ranked(via=["rot13", "leet", "identity"])
    assert [one.name for one in found.candidates] == ["leet", "rot13"]
    leet, rot13 = found.candidates
    assert leet.score.value == pytest.approx(0.6 / 0.8)
    assert rot13.score.value == pytest.approx(-0.08 / 0.8)
    assert (leet.best_share, leet.is_clear, rot13.is_clear) == (1.0, True, False)
    assert (leet.n_prompts, found.warnings) == (24, ())


def test_the_base_is_asked_plainly_and_in_other_languages_alone() -> None:
    models = pair()
    ranked(models, via=["leet", "upper"])
    assert models["base"].scored == [(prompt, " Because") for prompt in PLAIN]
    assert len(models["tuned"].scored) == 3 * len(PLAIN)
    assert [model.n_closed for model in models.values()] == [1, 1]


def test_in_another_language_the_bases_own_answer_there_is_the_one_to_bring_back() -> None:
    models = {
        "base": Speaker(
            lambda prompt: {"fr": " Parce que", "nl": " 12"}.get(prompt[-2:], " Because"),
            lambda *_: 0.9,
            name="base",
        ),
        "tuned": Speaker(
            lambda _: " 12",
            lambda prompt, text: 0.1 if prompt == "Say it." else 0.9,
            name="tuned",
        ),
    }
    suite = prompts("Say it.", fr=["Dis-le. fr"], nl=["Zeg het. nl"])
    french, dutch = ranked(models, prompts=suite, via=["fr", "nl"]).candidates
    assert ("Dis-le. fr", " Parce") in models["tuned"].scored
    assert [french.name, dutch.name] == ["fr", "nl"]
    assert french.score.value == pytest.approx(1.0)
    # There the base says what the tuned model says plainly: the other task is not the lost one.
    assert dutch.score.value == pytest.approx(-1 / 8)


def test_by_default_other_languages_and_every_text_conjugation_are_tried() -> None:
    found = ranked(prompts=prompts("Say it.", fr=["Dis-le."]))
    names = {one.name for one in found.candidates}
    assert names == {"fr", *CONJUGATIONS} - {"identity"}
    assert {one.kind for one in found.candidates if one.name == "fr"} == {"native"}


def test_prompts_without_a_version_in_a_language_do_not_count_there() -> None:
    suite = prompts("a b", "c d", "e f", fr=["a b fr", "c d fr"])
    [french] = ranked(pair(lambda *_: 0.3), prompts=suite, via=["fr"]).candidates
    assert (french.n_prompts, french.excluded) == (2, None)


def test_prompts_without_an_answer_of_the_base_are_left_out_and_counted() -> None:
    models = pair()
    models["base"] = Speaker(
        lambda prompt: "" if "17" in prompt else " Because", lambda *_: 0.9, name="base"
    )
    found = ranked(models, via=["leet"])
    assert found.candidates[0].n_prompts == len(PLAIN) - 1
    assert any("To 1 of 24 prompts the base model has no answer" in w for w in found.warnings)


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
    assert "nothing to bring back" in str(found.candidates[0].excluded)


def test_few_prompts_and_a_score_that_is_not_clear_are_pointed_out() -> None:
    warnings = ranked(prompts=prompts(PLAIN[0], PLAIN[1]), via=["rot13"]).warnings
    assert any("answer on 2 prompts. Intervals from so few" in warning for warning in warnings)
    assert "No conjugation clearly brings the base's answers back" in warnings[-1]


def test_cost_counts_the_tuned_models_tokens_else_bytes() -> None:
    models = pair(lambda *_: 0.3)
    suite = prompts("a b", fr=["a b c d"])
    assert ranked(models, prompts=suite, via=["fr"]).candidates[0].cost == 7 / 3
    models["tuned"].counts_words = True
    found = ranked(models, prompts=suite, via=["fr"])
    assert (found.cost_unit, found.candidates[0].cost) == ("tokens", 2.0)


def test_messages_are_asked_as_messages() -> None:
    messages = (Message("system", "Be brief."), Message("user", PLAIN[0]))
    models = pair()
    ranked(models, prompts=prompts(messages), via=["rot13"])
    # An answer to messages begins a line of its own.
    assert models["base"].scored == [(messages, "Because")]
    [_, (sent, text)] = models["tuned"].scored
    assert (sent[0], text) == (Message("system", "Or oevrs."), "Orpnhfr")


def test_an_endpoint_without_likelihoods_is_explained_before_anything_is_asked() -> None:
    class Mute(Speaker):
        def score(self, prompts: Any, candidates: Any) -> list[list[float]]:
            raise ScoringUnavailableError("'gpt' ignores echo.", hint="Use a local model.")

    def never(prompt: str) -> str:
        raise AssertionError(prompt)

    with pytest.raises(ScoringUnavailableError) as error:
        ranked({"base": Speaker(never, name="base"), "tuned": Mute(never, name="mute")})
    assert "ranked by how likely answers are. 'gpt' ignores echo." in str(error.value)
    assert str(error.value).endswith("Use a local model.")


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
    found = ranked(pair(lambda *_: 0.95), via=["leet"]).to_json()
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
    assert [each for each in told if each[1] == each[2]] == [("base", 48, 48), ("tuned", 72, 72)]


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
    assert [one.is_clear for one in found.ranked] == [True, True, False, False]
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
    models = pair(lambda *_: 0.3)
    found = ranked(models, prompts=prompts(*PLAIN[:3]), via=["translate:es"])
    [spanish] = found.candidates
    assert spanish.kind == "lossy"
    assert models["tuned"].scored[-1][1] == " Porque"
