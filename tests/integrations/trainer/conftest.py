import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def _cheap_trainers() -> Iterator[None]:
    """Accelerate collects all garbage whenever a training starts, which takes a second here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda *_: 0)
        yield
