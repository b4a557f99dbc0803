from __future__ import annotations

import pytest
import torch

from palimpsest.errors import UserError
from palimpsest.lab.conjugations.ensembles import PromptEnsemble
from palimpsest.lab.conjugations.specs import FORMS, ask_under, parse_conjugation
from palimpsest.lab.conjugations.transformations import (
    LabelScaling,
    PromptConjugation,
    conjugated,
    is_symmetry,
)
from palimpsest.lab.predictors.estimators import DiscreteEstimator, RidgeEstimator
from palimpsest.lab.problem.problem import Problem

PROBLEM = Problem(4, 4, 6, noise_std=0.5)
SPECS = [
    "negate",
    "scale:1.5",
    "scale:-2",
    "rotation",
    "rotation:7",
    "signs:1",
    "permutation:3",
    "scale:2|rotation:7|negate",
    "1xrotation",
    "32xrotation:4",
    "15xsigns",
    "8xpermutation",
    "8xsigned-permutation:2",
]


@pytest.mark.parametrize("spec", SPECS)
def test_a_spec_is_the_name_of_what_it_stands_for_and_stands_for_it_again(spec: str) -> None:
    found, again = (parse_conjugation(spec, n_dims=4) for _ in range(2))
    assert found.name == spec
    links = found.conjugations if isinstance(found, PromptEnsemble) else (found,)
    same = again.conjugations if isinstance(again, PromptEnsemble) else (again,)
    assert [link.fingerprint for link in links] == [link.fingerprint for link in same]


@pytest.mark.parametrize("spec", SPECS)
def test_ridge_commutes_with_everything_that_can_be_typed(spec: str) -> None:
    batch = PROBLEM.batch("cont", 5, seed=0, dtype=torch.float64)
    ridge = RidgeEstimator(0.5)
    asked = ask_under(ridge, parse_conjugation(spec, n_dims=4))
    torch.testing.assert_close(asked(batch.xs, batch.ys), ridge(batch.xs, batch.ys))


def test_another_seed_is_another_rotation() -> None:
    fingerprints = set()
    for spec in ("rotation", "rotation:1", "rotation:2"):
        found = parse_conjugation(spec, n_dims=4)
        assert isinstance(found, PromptConjugation)
        assert is_symmetry(found, PROBLEM, "cont")
        fingerprints.add(found.fingerprint)
    assert len(fingerprints) == 3


def test_asking_under_one_is_conjugating() -> None:
    batch = PROBLEM.batch("cont", 5, seed=0, dtype=torch.float64)
    discrete = DiscreteEstimator(PROBLEM.discrete.weights, 0.5)
    under = ask_under(discrete, parse_conjugation("scale:3", n_dims=4))(batch.xs, batch.ys)
    expected = conjugated(discrete, LabelScaling(3.0))(batch.xs, batch.ys)
    torch.testing.assert_close(under, expected)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rotat", r"named 'rotat'. Did you mean 'rotation'"),
        ("", "named ''"),
        ("scale", r"named 'scale'\.(.|\n)*scale:NUMBER"),
        ("scale:two", "scales by 'two', which is no number"),
        ("scale:0", "cannot be scaled by 0"),
        ("scale:nan", "cannot be scaled by nan"),
        ("rotation:x", "has the seed 'x'; a seed is a whole number"),
        ("32xnegate", "an ensemble of 'negate', which is no group of symmetries"),
        ("0xrotation", "n is 0"),
        ("16xsigns", "There are 15 signs of 4 dimensions"),
        ("rotation||negate", "named ''"),
    ],
)
def test_a_spec_that_makes_no_sense_is_an_error(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_conjugation(spec, n_dims=4)


def test_the_list_of_forms_names_every_conjugation() -> None:
    listed = " ".join(FORMS)
    for name in ("negate", "scale", "rotation", "signs", "permutation", "signed-permutation"):
        assert name in listed
