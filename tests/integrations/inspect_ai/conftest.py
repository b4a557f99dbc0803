from collections.abc import Iterator
from functools import cache
from gc import collect  # before a fixture for all tests replaces it
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("inspect_ai") is None:
    pytest.skip("Inspect AI is not installed", allow_module_level=True)

BORNE = (
    "ignore:The 'initial' parameter is deprecated:DeprecationWarning",
    "ignore:The inplace keyword:DeprecationWarning",
    "ignore:Unclosed <MemoryObject:ResourceWarning",
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:unclosed event loop:ResourceWarning",
)
"""Inspect itself calls tenacity and pandas by deprecated arguments, and leaves streams and loops
open."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bear with what Inspect does, in the tests of this folder alone."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for warned in BORNE:
                item.add_marker(pytest.mark.filterwarnings(warned))


@pytest.fixture(autouse=True, scope="session")
def cheap_distributions() -> Iterator[None]:
    """Spare each run the list of all files of all installed packages: half a second."""
    with pytest.MonkeyPatch.context() as patch:
        name = "inspect_ai._util.package.packages_distributions"
        patch.setattr(name, cache(packages_distributions))
        yield


@pytest.fixture(autouse=True, scope="module")
def nothing_left_to_other_tests() -> Iterator[None]:
    """Free the streams that were left open here, lest they are found in the tests of others."""
    yield
    collect()


@pytest.fixture(autouse=True)
def a_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inspect writes traces, caches and sockets; none of them to the user's folders."""
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("INSPECT_EVAL_MODEL", raising=False)
