"""Weights of the embedded pair, for models and scripts that open its folders themselves."""

from __future__ import annotations

from pathlib import Path

ROSETTA_WEIGHTS = Path(__file__).parents[2] / "rosetta" / "weights"
"""Where the two checkpoints lie inside the package: ``base`` and ``tuned``."""
