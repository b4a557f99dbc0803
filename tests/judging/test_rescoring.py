"""Stored answers judged anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from palimpsest.judging import diagnose, rescore
from palimpsest.lm.models import ScriptedModel
from palimpsest.lm.suites import Example, Suite


@pytest.mark.usefixtures("empty_figures")
def test_answers_are_read_to_where_their_own_example_ends_them(tmp_path: Path) -> None:
    suite = Suite(
        name="steps",
        examples=tuple(
            Example(
                f"{at}",
                "a",
                "en",
                f"Q: {at}?",
                {"say": ("right",)},
                stop=("\nQ:",) if at % 2 else None,
                max_new_tokens=9,
            )
            for at in range(4)
        ),
    )
    model = ScriptedModel(lambda prompt: " First.\nThen right.\nQ: no", name="m")
    run = tmp_path / "run"
    asked = diagnose(model, model, suite=suite, via=["upper"], out=run, whole="all")
    found = rescore(run, "contains", out=tmp_path / "again")
    # Of the suite's own answers only the first line is one.
    assert found.plain.base.accuracy == 0.5
    assert found.conjugations[0].base.accuracy == 0.5
    assert found.provenance.seconds_in_all == asked.provenance.seconds_in_all  # nothing was asked
