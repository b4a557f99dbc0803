"""Marks for tests that need a program that not every machine has."""

import shutil

import pytest

from palimpsest.lm.translators.modes import PACKAGES

_REASON = f"needs Apertium: apt-get install -y --no-install-recommends {PACKAGES}"


def needs_apertium(test):  # type: ignore[no-untyped-def]
    """Mark a test that runs Apertium's programs; it is skipped where they are not installed."""
    is_absent = shutil.which("apertium-wblank-mode") is None
    return pytest.mark.apertium(pytest.mark.skipif(is_absent, reason=_REASON)(test))
