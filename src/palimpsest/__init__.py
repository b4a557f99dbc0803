"""Palimpsest: tell forgotten abilities of fine-tuned language models from hidden ones."""

from __future__ import annotations

__version__ = "0.1.0"
