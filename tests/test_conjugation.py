import subprocess
import sys

import numpy as np
import pytest

from palimpsest.conjugation import Chain, Conjugation, Ensemble, conjugate, majority_vote, mean


class Add(Conjugation[float, float]):
    name = "add"
    exact = True

    def __init__(self, amount: float) -> None:
        self.amount = amount

    @property
    def parameters(self) -> dict[str, float]:
        return {"amount": self.amount}

    def apply(self, prompt: float) -> float:
        return prompt + self.amount

    def invert(self, answer: float) -> float:
        return answer - self.amount


class Double(Conjugation[float, float]):
    name = "double"
    exact = True

    def apply(self, prompt: float) -> float:
        return 2 * prompt

    def invert(self, answer: float) -> float:
        return answer / 2


class FirstWord(Conjugation[str, str]):
    name = "first-word"
    exact = False
    keeps = "the first word"

    def apply(self, prompt: str) -> str:
        return prompt.split()[0]

    def invert(self, answer: str) -> str:
        return answer


class Suffix(Conjugation[str, str]):
    name = "suffix"
    exact = True

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix

    def apply(self, prompt: str) -> str:
        return prompt + self.suffix

    def invert(self, answer: str) -> str:
        return answer.removesuffix(self.suffix)


def test_the_conjugated_model_is_asked_the_transformed_prompt_and_its_answer_is_inverted() -> None:
    asked = []

    def model(prompt: float) -> float:
        asked.append(prompt)
        return prompt * 10

    assert conjugate(model, Add(2))(1) == 28
    assert asked == [3]


def test_a_chain_applies_first_to_last_and_inverts_last_to_first() -> None:
    chain = Chain([Add(1), Double()])
    assert chain.apply(3) == 8
    assert chain.invert(8) == 3


def test_a_chain_is_exact_when_every_link_is() -> None:
    exact = Chain([Suffix("!"), Suffix("?")])
    lossy = Chain([Suffix("!"), FirstWord()])
    assert exact.exact
    assert exact.keeps == "everything"
    assert not lossy.exact
    assert lossy.keeps == "the first word"


def test_a_chain_is_named_after_its_links() -> None:
    chain = Chain([Add(1), Double()])
    assert chain.name == "add|double"
    assert repr(chain) == "<Chain add|double>"


def test_the_order_of_a_chain_is_part_of_its_fingerprint() -> None:
    assert Chain([Add(1), Double()]).fingerprint != Chain([Double(), Add(1)]).fingerprint


def test_parameters_are_part_of_the_fingerprint() -> None:
    assert Add(1).fingerprint == Add(1).fingerprint
    assert Add(1).fingerprint != Add(2).fingerprint
    assert Chain([Add(1)]).fingerprint != Chain([Add(2)]).fingerprint


@pytest.mark.slow
def test_fingerprints_are_the_same_in_another_process() -> None:
    code = "from palimpsest.lm.conjugations import parse_conjugation as p; "
    code += "print(p('leet|pig-latin').fingerprint)"
    prints = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(prints) == 1


def test_an_empty_chain_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Chain([])


def test_an_ensemble_of_text_answers_by_majority() -> None:
    members = [Suffix(""), Suffix("!"), Suffix("?")]
    ensemble = Ensemble[str, str](members)
    model = ensemble(lambda prompt: "plain" if prompt == "Say" else "other")
    assert model("Say") == "other"


def test_a_tie_goes_to_the_answer_that_was_given_first() -> None:
    assert majority_vote(["b", "a"]) == "b"
    assert majority_vote(["c", "a", "b", "b", "a"]) == "a"


def test_an_ensemble_of_numbers_answers_with_their_mean() -> None:
    ensemble = Ensemble[float, float]([Add(0), Add(1), Add(2)])
    # (s⁻¹ ∘ (·2) ∘ s)(x) = 2x + amount, whose mean over the amounts 0, 1, 2 is 2x + 1.
    assert ensemble(lambda prompt: 2 * prompt)(5) == 11


def test_an_ensemble_of_arrays_answers_with_their_mean() -> None:
    answers = [np.array([1.0, 2.0]), np.array([3.0, 6.0])]
    np.testing.assert_array_equal(mean(answers), [2.0, 4.0])
    np.testing.assert_array_equal(answers[0], [1.0, 2.0])


def test_the_combination_can_be_chosen() -> None:
    ensemble = Ensemble[float, float]([Add(0), Add(1)], combine=max)
    assert ensemble(lambda prompt: 2 * prompt)(5) == 11


def test_an_empty_ensemble_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Ensemble[str, str]([])
