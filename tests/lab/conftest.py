from collections.abc import Iterator

import pytest
from jaxtyping import config, install_import_hook
from tests.lab import typechecker

# Every function of the laboratory is checked against the shapes that it declares. This has to come
# before the first import of the laboratory.
install_import_hook("palimpsest.lab", f"{typechecker.__name__}.typechecker")


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Leave mistakes in shapes to the laboratory's own checks, as outside the tests."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
