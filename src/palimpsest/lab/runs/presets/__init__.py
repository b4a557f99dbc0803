"""The presets: whole configurations that come with the package, as TOML files to copy from."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

__all__ = ["PRESETS", "preset", "preset_text"]

PRESETS = {
    "tiny": "shows forgetting and its recovery, in half a minute on two cores",
    "small": "larger in every way, a few minutes on two cores",
    "published": "the paper's transformer and recipe, for a GPU",
}
"""Name to what it is for."""


def preset_text(name: str) -> str:
    """Return the TOML file of a preset."""
    return files("palimpsest.lab.runs.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8")


def preset(name: str) -> dict[str, Any]:
    """Return the values of a preset; every call makes them anew.

    Example:
        >>> preset("tiny")["problem"]["n_dims"]
        4
    """
    return tomllib.loads(preset_text(name))
