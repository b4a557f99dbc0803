"""A training that is measured and stopped, in a few seconds; the other files have the rest."""

from pathlib import Path

import pytest

from palimpsest.integrations.trainer import read_measurements


@pytest.mark.slow
def test_a_training_is_measured_and_stopped_once_more_is_forgotten_than_the_limit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Imported by the process that runs this test alone: the Trainer takes seconds to load.
    from tests.integrations.trainer.tuning import SUITE, new_trainer

    from palimpsest.integrations.trainer import ForgettingCallback

    trainer = new_trainer(tmp_path, name="tuned")
    callback = ForgettingCallback(
        trainer,
        SUITE,
        max_share=None,
        base="rosetta:base",
        via=["leet"],
        limit=10,
        stop_at_forgetting=0.5,
    )
    trainer.add_callback(callback)
    trainer.train()
    # The tuned model is right on 7 % of what the base is right on: docs/rosetta.md.
    assert trainer.state.global_step == 1
    assert "the limit is 0.5" in caplog.text
    start, *_ = read_measurements(tmp_path / "forgetting")
    assert start.plain.forgetting > 0.5
    assert [found.name for found in start.conjugations] == ["leet"]
