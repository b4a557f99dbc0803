import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from palimpsest.errors import UserError
from palimpsest.judging.recommend.ranking import Recommendation, recommend
from palimpsest.judging.recommend.score import Gates
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


class Likely(ScriptedModel):
    """Needs as many bits for a text, from its beginning, as a function says."""

    def __init__(self, bits: Callable[[str], float], *, name: str) -> None:
        super().__init__(lambda prompt: "", name=name)
        self._bits = bits
        self.asked: list[str] = []
        self.n_closed = 0
        self.words: frozenset[str] | None = None

    def score(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        assert set(prompts) <= {""}
        self.asked += [text for texts in candidates for text in texts]
        return [[-self._bits(text) * math.log(2) for text in texts] for texts in candidates]

    def count_tokens(self, texts: Sequence[str]) -> list[int] | None:
        return None if self.words is None else [len(text.split()) for text in texts]

    def vocabulary(self) -> frozenset[str] | None:
        return self.words

    def close(self) -> None:
        self.n_closed += 1


def bits_by_kind(plain: float, leet: float, other: float) -> Callable[[str], float]:
    """Bits a character for plain prompts, for leetspeak and for everything else."""

    def bits(text: str) -> float:
        kind = plain if text in PLAIN else leet if text.startswith("T3ll") else other
        return kind * len(text)

    return bits


def pair() -> dict[str, Likely]:
    """The tuning made plain prompts likelier; the base cannot read what is neither nor leet."""
    return {
        "base": Likely(bits_by_kind(1.0, 1.1, 7.0), name="base"),
        "tuned": Likely(bits_by_kind(0.5, 1.4, 7.5), name="tuned"),
    }


def ranked(models: Mapping[str, Likely] | None = None, **options: Any) -> Recommendation:
    given: dict[str, Any] = {"prompts": prompts(), **(models or pair()), **options}
    return recommend(**given)


def test_what_is_far_from_the_tuning_and_still_understood_comes_first() -> None:
    found = ranked(via=["rot13", "leet", "identity"])
    assert [one.name for one in found.candidates] == ["leet", "rot13"]
    leet, rot13 = found.candidates
    assert found.ranked == (leet,)
    # Leetspeak takes some characters more; bits are per byte of the plain prompt.
    assert leet.shift.value == pytest.approx(0.5 + 0.3 * 1.05, abs=0.01)
    assert leet.best_share == 1.0
    assert leet.is_clear
    assert rot13.excluded == "the base model cannot handle it (0.14 is below 0.50)"
    assert found.warnings == ()


def test_every_text_is_scored_once_by_each_model_and_both_are_closed() -> None:
    models = pair()
    ranked(models, via=["leet", "upper"])
    for model in models.values():
        assert sorted(model.asked) == sorted(set(model.asked))
        assert len(model.asked) == 3 * len(PLAIN)
        assert model.n_closed == 1


def test_without_a_base_model_it_says_that_it_is_a_rule_of_thumb() -> None:
    found = recommend(pair()["tuned"], prompts=prompts(), via=["leet"])
    assert found.base is None
    assert "Without a base model" in found.warnings[0]
    assert found.candidates[0].shift.value == pytest.approx(0.9 + 1.4 * 0.05, abs=0.02)


def test_by_default_other_languages_and_every_text_conjugation_are_tried() -> None:
    suite = prompts("Say it.", fr=["Dis-le."])
    found = ranked(prompts=suite)
    names = {one.name for one in found.candidates}
    assert names == {"fr", *CONJUGATIONS} - {"identity"}
    assert {one.kind for one in found.candidates if one.name == "fr"} == {"native"}


def test_prompts_without_a_version_in_a_language_do_not_count_there() -> None:
    models = {role: Likely(len, name=role) for role in ("base", "tuned")}
    suite = prompts("a b", "c d", "e f", fr=["a b fr", "c d fr"])
    [french] = ranked(models, prompts=suite, via=["fr"]).candidates
    assert (french.n_prompts, french.excluded) == (2, None)


def test_prompts_that_are_too_long_are_left_out_and_counted() -> None:
    def bits(text: str) -> float:
        return math.inf if "17" in text or text.startswith("T3ll m3 why 1") else float(len(text))

    models = {name: Likely(bits, name=name) for name in ("base", "tuned")}
    found = ranked(models, via=["leet"])
    assert found.n_prompts == len(PLAIN) - 1
    assert any("1 of 24 prompts are too long" in warning for warning in found.warnings)


def test_if_no_prompt_fits_that_is_a_users_mistake() -> None:
    endless = Likely(lambda text: math.inf, name="short-sighted")
    with pytest.raises(UserError, match="None of the 24 prompts fits into the context"):
        recommend(endless, prompts=prompts(), via=["leet"])


def test_a_conjugation_that_changes_nothing_is_excluded() -> None:
    found = ranked(prompts=prompts("SAY IT.", "NOW."), via=["upper"])
    assert found.candidates[0].excluded == "leaves every prompt as it is"
    assert "No conjugation is left to recommend." in found.warnings


def test_fidelity_is_that_of_the_round_trip_and_the_gate_can_be_moved() -> None:
    found = ranked(via=["upper"], gates=Gates(0.0, 0.99))
    [upper] = found.candidates
    assert 0.5 < upper.fidelity.value < 0.99
    assert upper.excluded is not None
    assert "too little comes back" in upper.excluded


def test_equal_models_and_few_prompts_are_pointed_out() -> None:
    same = {role: Likely(lambda text: float(len(text)), name="same") for role in ("base", "tuned")}
    warnings = ranked(same, prompts=prompts("Say it."), via=["leet"]).warnings
    assert warnings[0] == "Base and tuned are the same model: every shift is zero."
    assert "Intervals from 1 prompts are too narrow; give at least 20." in warnings
    assert "No conjugation clearly takes these prompts away" in warnings[-1]


def test_cost_counts_the_tuned_models_tokens_else_bytes() -> None:
    models = pair()
    suite = prompts("a b", fr=["a b c d"])
    assert ranked(models, prompts=suite, via=["fr"]).candidates[0].cost == 7 / 3
    models["tuned"].words = frozenset("a")
    found = ranked(models, prompts=suite, via=["fr"])
    assert (found.cost_unit, found.candidates[0].cost) == ("tokens", 2.0)


def test_different_tokenizers_are_comparable_and_it_says_why() -> None:
    models = pair()
    for role, model in models.items():
        model.words = frozenset([role])
    warnings = ranked(models, via=["leet"]).warnings
    assert ["different tokenizers. Bits of whole texts are comparable" in w for w in warnings] == [
        True
    ]


def test_messages_are_ranked_as_plain_text() -> None:
    suite = prompts((Message("system", "Be brief."), Message("user", "Say it.")))
    models = pair()
    found = ranked(models, prompts=suite, via=["rot13"])
    assert models["base"].asked == ["Be brief.\n\nSay it.", "Or oevrs.\n\nFnl vg."]
    assert any("without their chat template" in warning for warning in found.warnings)


def test_a_model_opened_with_its_chat_template_is_refused() -> None:
    chatting = pair()["tuned"]
    chatting.chat = True
    with pytest.raises(UserError, match="is opened with chat=true"):
        recommend(chatting, prompts=prompts(), via=["leet"])


def test_an_endpoint_without_likelihoods_is_explained_and_closed() -> None:
    class Mute(Likely):
        def score(self, prompts: Any, candidates: Any) -> list[list[float]]:
            raise ScoringUnavailableError("'gpt' ignores echo.", hint="Use a local model.")

    mute = Mute(len, name="mute")
    with pytest.raises(ScoringUnavailableError) as error:
        recommend(mute, prompts=prompts(), via=["leet"])
    assert "ranked by the likelihood of whole prompts. 'gpt' ignores echo." in str(error.value)
    assert str(error.value).endswith("Use a local model.")
    assert mute.n_closed == 1


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
    def bits(text: str) -> float:
        return float(len(text)) if text in PLAIN else math.inf

    models = {name: Likely(bits, name=name) for name in ("base", "tuned")}
    found = ranked(models, via=["leet"]).to_json()
    text = json.dumps(found, allow_nan=False)
    [leet] = json.loads(text)["candidates"]
    assert leet["score"] == {"value": None, "ci95": None}
    assert leet["cost"] is None
    assert leet["excluded"] == "usable for only 0 of 24 prompts"
    assert found["schema"] == "palimpsest.recommendation/1"


def test_the_seed_gives_the_same_ranking_again() -> None:
    one, other = (ranked(via=["leet", "upper"], seed=3) for _ in range(2))
    assert one == other


def test_progress_is_told_for_each_model() -> None:
    told: list[tuple[str, int, int]] = []
    ranked(via=["leet"], progress=lambda *given: told.append(given))
    assert told == [("base", 48, 48), ("tuned", 48, 48)]


@pytest.mark.slow
def test_rosetta_can_handle_its_own_languages_and_not_what_it_never_read() -> None:
    found = recommend(
        "rosetta:tuned",
        base="rosetta:base",
        prompts=load_suite("rosetta:n=1,languages=en+fr"),
        via=["fr", "leet", "pig-latin", "rot13", "base64"],
    )
    assert {one.name for one in found.ranked} == {"fr", "leet", "pig-latin"}
    assert all(one.handling.value > 0.98 for one in found.ranked)
    assert found.cost_unit == "tokens"


def test_a_file_is_read_with_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(PLAIN))
    models = pair()
    found = ranked(models, prompts=path, limit=3, via=["leet"])
    assert (found.prompts, found.n_prompts) == (str(path), 3)


@pytest.mark.apertium
def test_translations_are_ranked_too() -> None:
    found = ranked(prompts=prompts(*PLAIN[:3]), via=["translate:es"])
    [spanish] = found.candidates
    assert spanish.kind == "lossy"
    assert 0.3 < spanish.fidelity.value < 1
