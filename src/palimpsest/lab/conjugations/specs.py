"""What users type for the conjugations of the laboratory, and what it stands for."""

from __future__ import annotations

import re
from collections.abc import Callable

from palimpsest.errors import UserError, did_you_mean
from palimpsest.lab.conjugations.ensembles import PromptEnsemble, symmetry_ensemble
from palimpsest.lab.conjugations.transformations import (
    CoordinatePermutation,
    CoordinateSigns,
    LabelNegation,
    LabelScaling,
    PromptChain,
    PromptConjugation,
    Rotation,
    conjugated,
)
from palimpsest.lab.predictors.predictor import Predictor
from palimpsest.lab.problem.streams import stream

FORMS = {
    "negate": "change the sign of the labels",
    "scale:NUMBER": "multiply the labels by a number",
    "rotation[:SEED]": "multiply the inputs by a random orthogonal matrix",
    "signs[:SEED]": "change the signs of random coordinates",
    "permutation[:SEED]": "put the coordinates into random order",
    "ONE|OTHER": "one after the other",
    "32xrotation[:SEED]": "the mean over 32 rotations; also of signs and permutation",
    "32xsigned-permutation[:SEED]": "the mean over 32 orders with changes of signs",
}
"""What :func:`parse_conjugation` takes, with what each does."""

_GROUPS = {
    "rotation": "rotations",
    "signs": "signs",
    "permutation": "permutations",
    "signed-permutation": "signed-permutations",
}
_NAMES = ("negate", "scale", *_GROUPS)


def parse_conjugation(spec: str, *, n_dims: int) -> PromptConjugation | PromptEnsemble:
    """Return the conjugation or the ensemble that a spec stands for.

    Args:
        spec: One of :data:`FORMS`. Without a seed, the seed is 0.
        n_dims: d, of the inputs.

    Raises:
        UserError: No such conjugation, or a number that makes no sense.

    Example:
        >>> parse_conjugation("scale:2|rotation:7", n_dims=4)
        <PromptChain scale:2|rotation:7>
        >>> len(parse_conjugation("32xrotation", n_dims=4).conjugations)
        32
    """
    counted = re.fullmatch(r"(\d+)x(.+)", spec)
    if counted:
        name, seed = _name_and_seed(counted[2])
        if name not in _GROUPS:
            raise UserError(
                f"'{spec}' asks for an ensemble of '{name}', which is no group of symmetries.",
                hint=f"Ensembles are of {', '.join(_GROUPS)}.",
            )
        draws = stream(seed, "conjugations", purpose="evaluation")
        return symmetry_ensemble(int(counted[1]), draws, _GROUPS[name], n_dims=n_dims, name=spec)
    links = [_parse_link(link, n_dims) for link in spec.split("|")]
    return links[0] if len(links) == 1 else PromptChain(links)


def ask_under(predictor: Predictor, way: PromptConjugation | PromptEnsemble) -> Predictor:
    """Return the predictor asked under a conjugation or an ensemble."""
    if isinstance(way, PromptEnsemble):
        return way(predictor)
    return conjugated(predictor, way)


def _parse_link(link: str, n_dims: int) -> PromptConjugation:
    if link == "negate":
        return LabelNegation()
    if link.startswith("scale:"):
        return LabelScaling(_number(link))
    name, seed = _name_and_seed(link)
    draws = stream(seed, "conjugations", purpose="evaluation")
    drawn: dict[str, Callable[[], PromptConjugation]] = {
        "rotation": lambda: Rotation.drawn(n_dims, draws, name=link),
        "signs": lambda: CoordinateSigns.drawn(n_dims, draws, name=link),
        "permutation": lambda: CoordinatePermutation.drawn(n_dims, draws, name=link),
    }
    if name not in drawn:
        raise UserError(
            f"No conjugation of regression prompts named '{link}'.{did_you_mean(name, _NAMES)}",
            hint=f"There are: {', '.join(FORMS)}.",
        )
    return drawn[name]()


def _name_and_seed(link: str) -> tuple[str, int]:
    name, colon, seed = link.partition(":")
    if colon and not re.fullmatch(r"\d+", seed):
        raise UserError(f"'{link}' has the seed '{seed}'; a seed is a whole number.")
    return name, int(seed or 0)


def _number(link: str) -> float:
    text = link.partition(":")[2]
    try:
        return float(text)
    except ValueError:
        raise UserError(f"'{link}' scales by '{text}', which is no number.") from None
