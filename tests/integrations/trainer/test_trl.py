"""The same with TRL's SFTTrainer, which has metrics, a forward and a log of its own."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from tests.integrations.trainer.test_callback import theirs
from tests.integrations.trainer.tuning import (
    SUITE,
    arguments,
    assert_same_to_the_bit,
    documents,
    network,
    tokenizer,
    weights,
)

from palimpsest.integrations.trainer import ForgettingCallback, read_measurements

pytestmark = [
    pytest.mark.slow,  # importing TRL alone takes seconds
    # TRL 1.16 sets what transformers 5.23 has given another name.
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning"),
]


def new_trainer(folder: Path, **changes: Any) -> Any:
    import datasets

    trl: Any = importlib.import_module("trl")  # it exports lazily, so that its types are unknown

    rows = [{"prompt": one.prompt, "completion": one.completion} for one in documents()]
    return trl.SFTTrainer(
        model=network(),
        args=trl.SFTConfig(**arguments(folder, max_length=None, **changes)),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer(),
    )


@pytest.mark.parametrize("changes", [{"bf16": False}, {"bf16": True, "logging_steps": 3}])
def test_weights_and_metrics_are_the_same_with_and_without_the_callback(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    plain = new_trainer(tmp_path / "plain", **changes)
    plain.train()
    watched = new_trainer(tmp_path / "watched", **changes)
    watched.add_callback(
        ForgettingCallback(watched, SUITE, via=["leet"], every=1, limit=2, max_share=None)
    )
    watched.train()
    rows = read_measurements(tmp_path / "watched" / "forgetting")
    assert [row.step for row in rows] == list(range(7))
    assert rows[0].plain.base.accuracy > 0.9  # docs/rosetta.md: the base is right on 99 %
    assert_same_to_the_bit(weights(plain), weights(watched))
    assert theirs(watched) == theirs(plain)
    assert any("mean_token_accuracy" in entry for entry in theirs(watched))
