"""What a run of the tests leaves alone because of the tier that was chosen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet
from hypothesis import settings

OTHER_TIER = re.compile(
    r"^pytestmark = (\[\s*)?pytest\.mark\.(slow|browser|apertium|training)\b"
    r"|^from inspect_ai\b",
    re.M,
)
"""Found in the files that the default tier does not even import. Inspect takes seconds to load."""

# A deadline an example measures the machine, which may be busy with other things. The default tier
# meets other examples each time; a run that goes over all tiers meets ten times as many at once.
settings.register_profile("default tier", deadline=None, max_examples=10)
settings.register_profile("all tiers", deadline=None, max_examples=100)


def slow(value: object) -> ParameterSet:
    """Return a value of a parameter with which a test is slow."""
    return pytest.param(value, marks=pytest.mark.slow)


class Tiers:
    """Spares the imports of files with nothing to run; each process imports what it collects."""

    def __init__(self, config: pytest.Config) -> None:
        self._by_default = "not slow" in config.option.markexpr
        settings.load_profile("default tier" if self._by_default else "all tiers")

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Pass over files without a test or an example, and over those of another tier."""
        if collection_path.suffix != ".py":
            return None
        text = collection_path.read_text("utf-8")
        is_test = collection_path.name.startswith("test_")
        is_of_another = self._by_default and OTHER_TIER.search(text)
        return True if is_of_another or not (is_test or ">>>" in text) else None
