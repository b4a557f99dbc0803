r"""The former score on Gemma, and handling alone: ``python -m experiments.recommend_former``.

Until it was replaced, ``palimpsest recommend`` ranked by the likelihood of whole prompts, with
:math:`\ell(x) = \log_2 p_T(x) - \log_2 p_B(x)`, bits :math:`I(x) = -\log_2 p_B(x)` and bytes n:

- *shift* = Σ [ℓ(P) − ℓ(s(P))] / Σ n(P);
- *handling* = Σ [8 n(P) − I(s(P))] / Σ [8 n(P) − I(P)], between 0 and 1;
- *former* = shift × handling (fidelity is 1 for what is exact or written by people); a negative
  shift is its own score.

Likelihoods are those of ``real/tables/closeness.csv``, which was made for another question; the
truth is the recovery that ``real/tables/outcomes.csv`` shows. Where no tuned model was measured,
handling alone is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np
from experiments.real.ask import SUITE
from experiments.real.claims import DECIDES_AT, Model
from experiments.real.closeness import Likelihoods, read
from experiments.recommend_ceiling import CONJUGATIONS, of_seed
from experiments.recommend_check import Array, spearman

from palimpsest.lm.suites import load_suite

SEED = 101
RAW_BITS = 8.0
N_RESAMPLES = 4000

Lengths = Mapping[tuple[str, str], tuple[Array, Array]]
"""By language and cell: characters and bytes of each prompt."""


def lengths(n: int) -> Lengths:
    """Return the lengths of the prompts that likelihoods were taken of, n a cell."""
    found: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
    examples = load_suite(f"{SUITE},n={n}").examples
    for example in sorted(examples, key=lambda each: each.source_id):
        chars, sizes = found.setdefault((example.language, example.cell), ([], []))
        chars.append(len(str(example.prompt)))
        sizes.append(len(str(example.prompt).encode()))
    return {key: (np.array(c, float), np.array(b, float)) for key, (c, b) in found.items()}


class Terms:
    """Sums that the terms are made of, over cells, for resamples of the prompts of each cell.

    Args:
        likelihoods: Nats a character, by model.
        seed: Of the tuning.
        weights: How often each prompt of a cell counts; (resamples, cells, prompts).
    """

    def __init__(self, likelihoods: Likelihoods, seed: int, weights: Array) -> None:
        self._likelihoods = likelihoods
        self._weights = weights
        self._lengths = lengths(weights.shape[-1])
        self._tuned = Model("gemma3", "gemma-full", seed, DECIDES_AT)

    @property
    def is_tuned_known(self) -> bool:
        """Whether the tuned model was measured."""
        return self._tuned in self._likelihoods

    def handling(self, language: str) -> Array:
        """Return what the base still knows of the conjugated prompt; (resamples,)."""
        base = Model("gemma3", "base", 0, 0)
        raw = RAW_BITS * self._total("en", lambda key: self._lengths[key][1])
        saved = raw - self._bits(base, language)
        return np.clip(saved / (raw - self._bits(base, "en")), 0.0, 1.0)

    def former(self, language: str) -> Array:
        """Return the former score; (resamples,)."""
        shift = self._evidence("en") - self._evidence(language)
        shift = shift / self._total("en", lambda key: self._lengths[key][1])
        return np.asarray(np.where(shift > 0, shift * self.handling(language), shift))

    def _evidence(self, language: str) -> Array:
        base = Model("gemma3", "base", 0, 0)
        return self._bits(base, language) - self._bits(self._tuned, language)

    def _bits(self, model: Model, language: str) -> Array:
        values, n = self._likelihoods[model], self._weights.shape[-1]
        return self._total(
            language, lambda key: -values[key][:n] * self._lengths[key][0] / np.log(2)
        )

    def _total(self, language: str, of: object) -> Array:
        cells = sorted(cell for name, cell in self._lengths if name == language)
        columns = np.stack([of((language, cell)) for cell in cells])  # type: ignore[operator]
        total: Array = np.einsum("rcp,cp->r", self._weights, columns)
        return total


def report() -> str:
    """Return scores and their ρ with the true recovery, in Markdown."""
    likelihoods = read()
    base = likelihoods[Model("gemma3", "base", 0, 0)]
    n = min(len(values) for model in likelihoods.values() for values in model.values())
    n_cells = sum(name == "en" for name, _ in base)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(n, np.full(n, 1 / n), (N_RESAMPLES, n_cells)).astype(float)
    weights = np.concatenate([np.ones((1, n_cells, n)), drawn])
    terms, right = Terms(likelihoods, SEED, weights), of_seed(SEED)
    scores = {"handling": np.stack([terms.handling(each) for each in CONJUGATIONS], axis=1)}
    if terms.is_tuned_known:
        scores["former"] = np.stack([terms.former(each) for each in CONJUGATIONS], axis=1)
    size = right.base.shape
    places = rng.integers(size[1], size=(N_RESAMPLES, *size))
    truth = np.stack([right.recovery, *(right.at(each).recovery for each in places)])
    lines = [
        f"{n * n_cells} prompts; truth by {right.base.size} others or the same.",
        "",
        f"| conjugation | recovery | {' | '.join(scores)} |",
        f"|---|{'---:|' * (1 + len(scores))}",
    ]
    for at in np.argsort(-truth[0]):
        values = " | ".join(f"{each[0, at]:.3f}" for each in scores.values())
        lines.append(f"| {CONJUGATIONS[at]} | {truth[0, at]:.2f} | {values} |")
    for name, each in scores.items():
        rho = spearman(each, truth)
        low, high = np.nanpercentile(rho[1:], [2.5, 97.5])
        regret = 100 * (truth[0].max() - truth[0, each[0].argmax()])
        lines += [
            "",
            f"{name}: ρ {rho[0]:.2f} ({low:.2f} to {high:.2f} over prompts), regret {regret:.0f} "
            "points.",
        ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.stdout.write(report())
