"""Which parts of Rosetta's prompts did the tuning make less likely?

``python experiments/recommend_parts.py`` prints the mean of ``log2 p_tuned − log2 p_base`` of every
part of a prompt after what stands before it, over 25 prompts a cell: exploration, to understand
what ``recommend_on_rosetta.py`` found.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing

import palimpsest

LANGUAGES = ("en", "fr", "leet", "pig-latin")
PARTS = ("task", "inputs", "copies", "query")


def parts(prompt: str) -> Iterator[tuple[str, str, str]]:
    """Yield each part's kind, what stands before it, and its text; labels go with what follows."""
    task, *turns = prompt.split("\n\n")
    yield "task", "", task
    before = task
    for place, turn in enumerate(turns):
        shown, copied = turn.split("\n", 1)
        last = place == len(turns) - 1
        yield "query" if last else "inputs", before, f"\n\n{shown}"
        before += f"\n\n{shown}"
        if not last:
            yield "copies", before, f"\n{copied}"
            before += f"\n{copied}"


def main() -> None:
    """Score every part with both models and print the table."""
    suite = palimpsest.load_suite("rosetta:n=25")
    lines = [f"| language | {' | '.join(PARTS)} |", f"|---|{'---:|' * len(PARTS)}"]
    found: dict[str, dict[str, float]] = {}
    for sign, spec in ((1, "rosetta:tuned"), (-1, "rosetta:base")):
        with closing(palimpsest.load_model(spec)) as model:
            for language in LANGUAGES:
                examples = suite.in_language(language)
                pieces = [part for e in examples for part in parts(str(e.prompt))]
                scores = model.score([p[1] for p in pieces], [[p[2]] for p in pieces])
                sums = found.setdefault(language, defaultdict(float))
                for (kind, _, _), [score] in zip(pieces, scores, strict=True):
                    sums[kind] += sign * score / math.log(2) / len(examples)
    for language, sums in found.items():
        lines.append(f"| {language} | {' | '.join(f'{sums[part]:.1f}' for part in PARTS)} |")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
