"""Is ĝ recovered where it is known? Models that mix a base and a tuned one in known shares.

``python -m experiments.inference_known`` mixes the Rosetta pair on its English prompts:

- *tokens*: each token is drawn from the tuned model with probability g, else from the base;
- *sequences*: a whole answer is, so that what has been said tells from whom it comes.

The first tokens of both have the same law, whose masses are the mixture of those of the two models;
the true ĝ of a set of prompts follows. Checked are: masses measured in a mixture against those; ĝ
against the share of intruded answers among answers that are sampled from it, read by the suite's
scorers; and intervals, from samples of a few prompts, against ĝ over all of them.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from palimpsest.judging import Question, Settings, parse_via
from palimpsest.judging.inference import N_TOKENS, Inferred, Masses, compare, masses
from palimpsest.judging.openings import Openings
from palimpsest.lm.models import NextToken, TellsNextTokens, load_model
from palimpsest.lm.prompts import Prompt
from palimpsest.lm.suites import Suite, load_suite

How = Literal["tokens", "sequences"]


class MixedModel:
    """The next tokens of two models with one vocabulary, mixed.

    Args:
        base: Of which a share of 1 − g is.
        tuned: Of which g is.
        share: g.
        how: What is drawn from one of the two: each token, or the whole answer.
    """

    def __init__(
        self, base: TellsNextTokens, tuned: TellsNextTokens, share: float, how: How
    ) -> None:
        self._models = (base, tuned)
        self._shares = (1 - share, share)
        self._how = how
        self._said: dict[tuple[Prompt, tuple[int, ...]], tuple[float, float]] = {}

    def next_tokens(
        self, prompts: Sequence[Prompt], beginnings: Sequence[tuple[int, ...]], *, n: int
    ) -> list[list[NextToken]]:
        """Return the likeliest next tokens of the mixture."""
        told = [model.next_tokens(prompts, beginnings, n=n) for model in self._models]
        return [self._mixed(*row, n=n) for row in zip(prompts, beginnings, *told, strict=True)]

    def _mixed(
        self,
        prompt: Prompt,
        beginning: tuple[int, ...],
        *told: Sequence[NextToken],
        n: int,
    ) -> list[NextToken]:
        before = self._said.get((prompt, beginning), (1.0, 1.0))
        weights = np.array(self._shares)
        if self._how == "sequences":
            weights = weights * before / np.dot(weights, before)
        found: dict[tuple[int, ...], NextToken] = {}
        likely: dict[tuple[int, ...], list[float]] = {}
        for place, tokens in enumerate(told):
            for token in tokens:
                found.setdefault(token.tokens, token)
                likely.setdefault(token.tokens, [0.0, 0.0])[place] = math.exp(token.log_probability)
        mixed = []
        for said, (one, other) in likely.items():
            self._said[prompt, said] = (before[0] * one, before[1] * other)
            p = float(np.dot(weights, (one, other)))
            if p > 0:
                mixed.append(found[said]._replace(log_probability=math.log(p)))
        return sorted(mixed, key=lambda token: -token.log_probability)[:n]


def sampled(
    model: TellsNextTokens, openings: Sequence[Openings], rng: np.random.Generator
) -> list[str]:
    """Return the outcome of one answer to each question, drawn token by token."""
    texts = [""] * len(openings)
    held: list[tuple[int, tuple[int, ...]]] = [(row, ()) for row in range(len(openings))]
    for _ in range(openings[0].question.settings.max_new_tokens):
        told = model.next_tokens(
            [openings[row].question.sent for row, _ in held], [b for _, b in held], n=N_TOKENS
        )
        following = []
        for (row, _), tokens in zip(held, told, strict=True):
            p = np.exp([token.log_probability for token in tokens])
            token = tokens[int(rng.choice(len(p), p=p / p.sum()))]
            texts[row] = token.text
            if not token.ends and "\n" not in token.text:
                following.append((row, token.tokens))
        held = following
        if not held:
            break
    pairs = zip(openings, texts, strict=True)
    return [
        each.question.scorer.outcome(each.question.exchange.read(text).text) for each, text in pairs
    ]


class Known(NamedTuple):
    """The masses of both models, prompt by prompt, and the questions."""

    openings: list[Openings]
    base: list[Masses]
    tuned: list[Masses]

    def mixed(self, share: float) -> list[Masses]:
        """Return those of a mixture."""
        pairs = zip(self.base, self.tuned, strict=True)
        return [
            Masses(*((1 - share) * b + share * t for b, t in zip(*pair, strict=True)))
            for pair in pairs
        ]


def g_of(found: Sequence[Masses]) -> float:
    """Return ĝ of a set of prompts."""
    right, intruding = (math.fsum(each[place] for each in found) for place in (0, 1))
    return intruding / (right + intruding)


def known(base: TellsNextTokens, tuned: TellsNextTokens, suite: Suite) -> Known:
    """Measure both models."""
    plain = parse_via("identity", suite)
    questions = [
        Question.of("mixed", suite, plain, example, Settings.of(suite))
        for example in suite.in_language(suite.source_language)
    ]
    openings = [each for each in map(Openings.of, questions) if each is not None]
    return Known(openings, masses(base, openings), masses(tuned, openings))


def coverage(
    found: Known,
    share: float,
    how: How,
    *,
    n_prompts: int,
    n_samples: int,
    rng: np.random.Generator,
) -> float:
    """Return in how many samples of prompts the 95 % interval of ĝ holds that of all prompts.

    In a mixture of sequences a sample has each prompt answered by one of the two models.
    """
    mixed, truth = found.mixed(share), g_of(found.mixed(share))
    hits = 0
    for sample in range(n_samples):
        rows = rng.integers(len(mixed), size=n_prompts)
        if how == "tokens":
            drawn = [mixed[row] for row in rows]
        else:
            from_tuned = rng.random(n_prompts) < share
            drawn = [
                (found.tuned if tuned else found.base)[row]
                for row, tuned in zip(rows, from_tuned, strict=True)
            ]
        told = {("identity", str(at)): Inferred(each, None) for at, each in enumerate(drawn)}
        [result] = compare(
            told, told, vias=["identity"], sources=[s for _, s in told], seed=sample,
            n_resamples=1000,
        )  # fmt: skip
        assert result.base.g_ci95 is not None
        low, high = result.base.g_ci95
        hits += low <= truth <= high
    return hits / n_samples


def main() -> None:
    """Print the three checks."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--n", type=int, default=50, help="Prompts a cell.")
    parser.add_argument("--n-samples", type=int, default=1000)
    given = parser.parse_args()
    suite = load_suite(f"rosetta:n={given.n},languages=en")
    pair = [load_model(f"rosetta:{role}") for role in ("base", "tuned")]
    base, tuned = (model for model in pair if isinstance(model, TellsNextTokens))
    found = known(base, tuned, suite)
    rng = np.random.default_rng(0)
    lines = [
        "| share of tuned | mixed | ĝ, true | largest error of a mass | intruded of sampled | "
        "coverage, 20 prompts | 40 | 80 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for share in (0.1, 0.5, 0.9):
        truth = found.mixed(share)
        for how in ("tokens", "sequences"):
            mixed = MixedModel(base, tuned, share, how)
            measured = masses(mixed, found.openings)
            error = max(
                abs(a - b) for m, t in zip(measured, truth, strict=True)
                for a, b in zip(m[:2], t[:2], strict=True)
            )  # fmt: skip
            outcomes = sampled(mixed, found.openings, rng)
            n_intruded, n_right = outcomes.count("intruded"), outcomes.count("right")
            covered = [
                coverage(found, share, how, n_prompts=n, n_samples=given.n_samples, rng=rng)
                for n in (20, 40, 80)
            ]
            lines.append(
                f"| {share} | {how} | {g_of(truth):.3f} | {error:.1e} | "
                f"{n_intruded / (n_intruded + n_right):.3f} of {n_intruded + n_right} | "
                f"{' | '.join(f'{each:.3f}' for each in covered)} |"
            )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
