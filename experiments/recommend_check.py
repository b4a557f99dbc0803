"""Does a ranking without labels agree with the truth? What ``recommend_plan.md`` says, computed.

``python -m experiments.recommend_check PAIR --out DIR`` asks both models of a pair, ``rosetta`` or
``gemma`` (which needs ``--models DIR``, as ``experiments/real`` has it), keeps every answer and
likelihood in DIR, and writes ``experiments/tables/recommend-PAIR.csv``, a line a conjugation and
prompt. ``python -m experiments.recommend_check PAIR`` prints the figures of that table, and with
``--table gemma-7300+gemma+gemma-7500`` those of several sets of prompts together.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from palimpsest.judging import Settings, Via, evaluate, parse_via
from palimpsest.lm import Exchange, Prompt
from palimpsest.lm.models import LanguageModel, load_model
from palimpsest.lm.suites import Suite, load_suite
from palimpsest.records import AnswerRow, AnswerStore

Array = npt.NDArray[np.float64]

TABLES = Path(__file__).parent / "tables"
OUTCOMES = Path(__file__).parent / "real" / "tables" / "outcomes.csv"
STEP = ("101", "80")
"""Seed and step of the tuned Gemma."""
ASKED = "icl-vs-if,seed=7100"
"""The suite whose answers are the truth."""

NATIVE = {"rosetta": ("fr", "es", "nl", "de"), "gemma": ("fr", "es", "nl", "de", "hu")}
REWRITTEN = {
    "rosetta": (
        "leet",
        "pig-latin",
        "leet-paper",
        "pig-latin-paper",
        "upper",
        "rot13",
        "base64",
        "reverse-words",
    ),
    "gemma": ("leet", "pig-latin"),
}
TRANSLATED = ("translate:fr", "translate:es")


@dataclass(frozen=True)
class Pair:
    """What is asked of whom."""

    name: str
    base: str
    tuned: str
    suite: Suite
    vias: Sequence[Via]
    """Plain first."""

    @property
    def settings(self) -> Settings:
        """Of answers that are asked for to their end."""
        suite = self.suite
        return Settings(
            max_new_tokens=suite.max_new_tokens, stop=suite.stop, stop_when_decided=False
        )

    def generated(self, role: str) -> Sequence[Via]:
        """Return under which of them a model answers: the base not in translations."""
        if role == "tuned":
            return self.vias
        return [via for via in self.vias if not via.name.startswith("translate")]


def pair_of(name: str, *, n: int, seed: int, models: Path | None, checkpoint: str) -> Pair:
    """Return a pair with its suite and conjugations."""
    if name == "rosetta":
        suite = load_suite(f"rosetta:n={n}" + (f",seed={seed}" if seed else ""))
        specs = {"base": "rosetta:base", "tuned": "rosetta:tuned"}
    else:
        assert models is not None
        suite = load_suite(f"icl-vs-if:n={n},seed={seed},languages=en+fr+es+nl+de+hu")
        specs = {
            "base": f"hf:{models}/models/gemma3,dtype=bfloat16",
            "tuned": f"hf:{models}/runs/{checkpoint},dtype=bfloat16",
        }
    translated = TRANSLATED if name == "rosetta" and shutil.which("apertium") else ()
    named = ["identity", *(f"native:{x}" for x in NATIVE[name]), *REWRITTEN[name], *translated]
    return Pair(name, specs["base"], specs["tuned"], suite, [parse_via(x, suite) for x in named])


def opening(text: str) -> str:
    """Return the first word of an answer, without punctuation behind it."""
    first = (text.split() or [""])[0]
    return re.sub(r"(?<=\w)[^\w\s]+$", "", first)


def hit(own: AnswerRow, native: bool, a_s: str, b_s: str, b: str, t: str) -> int:
    """Return whether the base's answer came back, as :mod:`palimpsest.judging.recommend` has it."""
    if native:
        return int(a_s == b_s and b_s not in ("", t))
    return int(a_s == b_s or opening(own.answer) == b)


def likelihoods(
    model: LanguageModel, prompts: Sequence[Prompt], openings: Sequence[Sequence[str]]
) -> list[list[float]]:
    """Return the log-probability of each opening after each prompt; none of an empty one."""
    asked = [[f" {each}" for each in row] for row in openings]
    found: list[list[float]] = []
    for start in range(0, len(prompts), 64):
        found += model.score(prompts[start : start + 64], asked[start : start + 64])
    return [
        [value if text else -math.inf for value, text in zip(values, row, strict=True)]
        for values, row in zip(found, openings, strict=True)
    ]


def collect(pair: Pair, out: Path, *, counts_only: bool) -> list[Line]:
    """Ask both models; with counts only, no likelihoods."""
    out.mkdir(parents=True, exist_ok=True)
    answers: dict[str, list[AnswerRow]] = {}
    with AnswerStore(out / "answers.sqlite") as store:
        for role in ("base", "tuned"):
            vias = pair.generated(role)
            with closing(load_model(getattr(pair, role))) as model:
                answers[role] = evaluate(
                    model, pair.suite, vias, store=store, role=role, settings=pair.settings,
                    whole="none",
                )  # fmt: skip
    data = _Data(pair, answers)
    for role in ("base", "tuned"):
        path = out / f"likelihoods-{role}.json"
        if path.exists() or counts_only:
            continue
        found = {}
        with closing(load_model(getattr(pair, role))) as model:
            for via in pair.vias if role == "tuned" else pair.vias[:1]:
                rows = [data.sent(via, source) for source in data.sources]
                found[via.name] = likelihoods(model, rows, data.openings(via))
        path.write_text(json.dumps(found))
    if counts_only:
        return list(data.lines(None))
    paths = {role: out / f"likelihoods-{role}.json" for role in ("base", "tuned")}
    return list(data.lines({role: json.loads(path.read_text()) for role, path in paths.items()}))


def write(name: str, lines: Iterable[Line]) -> None:
    """Write a pair's table."""
    TABLES.mkdir(exist_ok=True)
    with (TABLES / f"recommend-{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Line._fields)
        for line in lines:
            writer.writerow(f"{v:.4g}" if isinstance(v, float) else v for v in line)


def confirmed_by_base(pair: Pair, rows: Mapping[tuple[str, str, str], AnswerRow]) -> set[str]:
    """Return the sources whose plain answer the base gives under some conjugation as well.

    Args:
        pair: Its conjugations with an inverse are looked at, but for translations.
        rows: Answers by role, conjugation and source.
    """
    plain = {key[2]: row.raw for key, row in rows.items() if key[:2] == ("base", "identity")}
    found = set()
    for via in pair.generated("base"):
        if via.native or via.name == "identity":
            continue
        apply = Exchange(via.conjugation).apply
        for source, b in plain.items():
            row = rows["base", via.name, source]
            if hit(row, False, opening(row.raw), opening(apply(b.strip())), opening(b), ""):
                found.add(source)
    return found


def confirm(pair: Pair, table: str, out: Path) -> None:
    """Add to a table which answers the base confirms, or put it in the place of what is there."""
    vias = [via for via in pair.generated("base") if not via.native]
    with AnswerStore(out / "answers.sqlite") as store, closing(load_model(pair.base)) as model:
        answered = evaluate(
            model, pair.suite, vias, store=store, role="base", settings=pair.settings, whole="none"
        )
    rows = {("base", row.via, row.key.source_id): row for row in answered}
    confirmed = confirmed_by_base(pair, rows)
    with (TABLES / f"recommend-{table}.csv").open(newline="") as file:
        lines = [
            {**row, "confirmed": str(int(row["source"] in confirmed))}
            for row in csv.DictReader(file)
        ]
    with (TABLES / f"recommend-{table}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, Line._fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


class _Data:
    """Answers by role, via and source."""

    def __init__(self, pair: Pair, answers: dict[str, list[AnswerRow]]) -> None:
        self.pair = pair
        self.rows = {
            (role, row.via, row.key.source_id): row
            for role, rows in answers.items()
            for row in rows
        }
        suite = pair.suite
        self.sources = [e.source_id for e in suite.in_language(suite.source_language)]

    def sent(self, via: Via, source: str) -> Prompt:
        example = next(e for e in via.examples(self.pair.suite) if e.source_id == source)
        return Exchange(via.conjugation).send(example.prompt)

    def openings(self, via: Via) -> list[list[str]]:
        """Return, of each source, b_s, t_s and the tuned model's own opening there."""
        found = []
        for source in self.sources:
            raw = {
                role: row.raw
                for role in ("base", "tuned")
                if (row := self.rows.get((role, via.name, source))) is not None
            }
            b, t = (self.rows[role, "identity", source].raw for role in ("base", "tuned"))
            if via.name != "identity" and not via.native:
                apply = Exchange(via.conjugation).apply
                b, t = apply(b.strip()), apply(t.strip())
            elif via.native:
                b = raw["base"]
            found.append([opening(b), opening(t), opening(raw.get("tuned", ""))])
        return found

    def lines(self, likely: dict[str, dict[str, Any]] | None) -> Iterator[Line]:
        """Yield what is known of each conjugation and prompt."""
        plain = self.openings(self.pair.vias[0])
        confirmed = confirmed_by_base(self.pair, self.rows)
        for via in self.pair.vias[1:]:
            found = zip(self.sources, self.openings(via), plain, strict=True)
            for at, (source, (b_s, _, a_s), (b, t, _)) in enumerate(found):
                asked = (("base", "identity"), ("tuned", "identity"), ("tuned", via.name))
                rows = [self.rows.get((role, name, source)) for role, name in asked]
                own = rows[2]
                right = [-1 if row is None else int(row.outcome == "right") for row in rows]
                p = [math.nan] * 5
                if likely is not None:
                    plainly = [likely[role]["identity"][at][0] for role in ("base", "tuned")]
                    p = [math.exp(v) for v in (*plainly, *likely["tuned"][via.name][at])]
                yield Line(
                    via.name,
                    source,
                    right[0],
                    right[1],
                    right[2],
                    int(b != t and bool(b)),
                    int(via.native and b_s == t),
                    -1 if own is None else hit(own, via.native, a_s, b_s, b, t),
                    -1 if own is None else int(opening(own.answer) != t),
                    int(source in confirmed),
                    p[0],
                    p[1],
                    p[2],
                    p[3],
                    p[4],
                )


class Line(NamedTuple):
    """One prompt under one conjugation."""

    via: str
    source: str
    base_right: int
    tuned_right: int
    under_right: int
    """−1 where the tuned model did not answer."""
    differ: int
    """Whether both models' plain answers have other first words."""
    same: int
    """Whether the base says in a language what the tuned model says plainly."""
    hit: int
    """Whether the tuned model's answer begins as the base's, under the conjugation; −1 as above."""
    own_differs: int
    """Whether the tuned model's own answer, inverted, has another first word than its plain one."""
    confirmed: int
    """Whether the base gives its plain answer under some conjugation with an inverse as well."""
    p_base: float
    """Probabilities are NaN where they were not asked for."""
    p_tuned: float
    p_under: float
    p_intruding: float
    """Of the tuned model's plain answer, under the conjugation."""
    p_own: float
    """Of the answer that it gives there."""


class Table(NamedTuple):
    """Lines as arrays, conjugation by prompt."""

    names: list[str]
    values: dict[str, Array]


def read(name: str) -> Table:
    """Return a pair's table, or the prompts of several, joined by ``+``, side by side."""
    by_via: dict[str, list[dict[str, str]]] = defaultdict(list)
    for one in name.split("+"):
        with (TABLES / f"recommend-{one}.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                by_via[row["via"]].append(row)
    return Table(
        list(by_via),
        {
            field: np.array([[float(row[field]) for row in rows] for rows in by_via.values()])
            for field in Line._fields[2:]
        },
    )


def recovered(name: str, table: Table, outcomes: Path) -> dict[str, Array]:
    """Return right answers of base and tuned model and of the latter under each conjugation.

    Of Gemma they are those of ``experiments/real`` in the suite's languages, rewritten ones
    included, to other prompts: four times as many.
    """
    v = table.values
    if name.startswith("rosetta"):
        return {"base": v["base_right"][0], "tuned": v["tuned_right"][0], "under": v["under_right"]}
    letters: dict[tuple[str, str], str] = defaultdict(str)
    with outcomes.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["suite"] != ASKED or row["model"] != "gemma3":
                continue
            if (row["seed"], row["step"]) in (("0", "0"), STEP):
                letters[row["run"], row["language"]] += row["outcomes"]

    def right(run: str, language: str) -> Array:
        return np.array([float(each == "r") for each in letters[run, language]])

    return {
        "base": right("base", "en"),
        "tuned": right("gemma-full", "en"),
        "under": np.stack([right("gemma-full", via) for via in table.names]),
    }


def true_recovery(right: dict[str, Array], weights: Array) -> Array:
    """Return the recovery of each conjugation; (resamples, conjugations)."""
    base, tuned = weights @ right["base"], weights @ right["tuned"]
    return recovered_share(base[:, None], tuned[:, None], weights @ right["under"].T)


def recovered_share(base: Array, tuned: Array, under: Array) -> Array:
    """Return what share of the fall from base to tuned is read back; arrays that broadcast."""
    return np.asarray((under - tuned) / (base - tuned))


def estimates(table: Table, weights: Array) -> dict[str, Array]:
    """Return every score; (resamples, conjugations).

    Args:
        table: Of the prompts.
        weights: How often each prompt counts; (resamples, prompts).
    """
    v = table.values

    def total(values: Array) -> Array:
        return np.asarray(np.einsum("rp,vp->rv", weights, values))

    def share(values: Array, counts: Array) -> Array:
        gain, lost = (values - v["p_tuned"]) * counts, (v["p_base"] - v["p_tuned"]) * counts
        return total(gain) / total(lost)

    returned = v["p_under"] * (1 - v["same"])
    odds = np.log(v["p_under"] + 1e-4) - np.log(v["p_intruding"] + 1e-4)
    confirmed = v["confirmed"] * v["differ"]
    found = {
        "confirmed": total(v["hit"] * confirmed) / total(confirmed),
        "counts": total(v["hit"] * v["differ"]) / total(v["differ"]),
        "score": share(returned, (v["p_tuned"] < v["p_base"]).astype(float)),
        "where they differ": share(returned, v["differ"]),
        "log-odds": total(odds * v["differ"]) / total(v["differ"]),
        "without base": total(v["p_own"] * v["own_differs"]) / weights.sum(axis=1)[:, None],
    }
    return {kind: values for kind, values in found.items() if not np.isnan(values).all()}


def spearman(one: Array, other: Array) -> Array:
    """Return the rank correlation of each row; NaN where one of the two is constant."""
    ranks = [rankdata(values, axis=1) for values in (one, other)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    size = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    product = (centred[0] * centred[1]).sum(axis=1)
    result: Array = np.divide(product, size, out=np.full(len(one), np.nan), where=size > 0)
    return result


def report(name: str, outcomes: Path, usable: float = 0.1) -> str:
    """Return the tables in Markdown."""
    table = read(name)
    n_vias, n = table.values["p_base"].shape
    rng = np.random.default_rng(0)

    def drawn_from(n_prompts: int) -> Array:
        return rng.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), 4000).astype(float)

    weights = drawn_from(n)
    right = recovered(name, table, outcomes)
    n_true = right["base"].size
    own = weights if name.startswith("rosetta") else drawn_from(n_true)
    truth, true_drawn = true_recovery(right, np.ones((1, n_true))), true_recovery(right, own)
    point, drawn = estimates(table, np.ones((1, n))), estimates(table, weights)
    picks = np.arange(4000)[:, None], rng.integers(n_vias, size=(4000, n_vias))
    lines = [
        f"{name}: {n} prompts and {n_vias} conjugations; truth by {n_true} prompts, right plainly: "
        f"base {right['base'].mean():.3f}, tuned {right['tuned'].mean():.3f}.",
        "",
        f"| conjugation | recovery | {' | '.join(point)} |",
        f"|---|{'---:|' * (1 + len(point))}",
    ]
    for at in np.argsort(-truth[0]):
        values = (f"{each[0, at]:.2f}" for each in (truth, *point.values()))
        lines.append(f"| {table.names[at]} | {' | '.join(values)} |")
    lines += ["", "| Spearman's ρ | all | usable | regret, points |", "|---|---|---|---|"]
    some = np.flatnonzero(truth[0] > usable)
    for kind, scores in point.items():
        regret = 100 * (truth.max() - truth[0, scores[0].argmax()])
        cells = []
        for which in (np.arange(n_vias), some):
            rho = spearman(scores[:, which], truth[:, which])[0]
            over = spearman(drawn[kind][:, which], true_drawn[:, which])
            both = spearman(drawn[kind][picks], true_drawn[picks])
            ends = [np.nanpercentile(over, [2.5, 97.5])]
            ends += [np.nanpercentile(both, [2.5, 97.5])] if len(which) == n_vias else []
            said = "; ".join(f"{low:.2f} to {high:.2f}" for low, high in ends)
            cells.append(f"{rho:.2f} ({said})")
        lines.append(f"| {kind} | {' | '.join(cells)} | {regret:.0f} |")
    lines += ["", "Intervals over prompts; then, of all, over prompts and conjugations.", ""]
    return "\n".join(lines)


def main() -> None:
    """Collect, or print the figures of what was collected."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pair", choices=("rosetta", "gemma"))
    parser.add_argument("--table", help="By default named for the pair; several by +.")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--confirm", action="store_true", help="Ask the base alone, for a table.")
    parser.add_argument("--counts-only", action="store_true", help="No likelihoods.")
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--outcomes", type=Path, default=OUTCOMES, help="Gemma's, for the truth.")
    parser.add_argument("--checkpoint", default="gemma-full-seed101/checkpoint-80")
    given = parser.parse_args()
    if given.out is None:
        sys.stdout.write(report(given.table or given.pair, given.outcomes))
        return
    pair = pair_of(
        given.pair,
        n=given.n,
        seed=given.seed,
        models=given.models,
        checkpoint=given.checkpoint,
    )
    if given.confirm:
        given.out.mkdir(parents=True, exist_ok=True)
        confirm(pair, given.table or given.pair, given.out)
        return
    write(given.table or given.pair, collect(pair, given.out, counts_only=given.counts_only))


if __name__ == "__main__":
    main()
