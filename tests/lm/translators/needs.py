"""Marks for tests that need a program that not every machine has."""

import shutil
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from palimpsest.lm.translators.apertium import PACKAGES

_REASON = f"needs Apertium: apt-get install -y --no-install-recommends {PACKAGES}"

Test = TypeVar("Test", bound=Callable[..., Any])


def needs_apertium(test: Test) -> Test:
    """Mark a test that runs Apertium's programs; it is skipped where they are not installed."""
    is_absent = shutil.which("apertium-wblank-mode") is None
    marked: Test = pytest.mark.apertium(pytest.mark.skipif(is_absent, reason=_REASON)(test))
    return marked
