import gc
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# The tests run in two processes on two cores: one thread each. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No translation is kept for the next run of the tests, nor taken from the user's.
os.environ["PALIMPSEST_CACHE"] = "off"

# A shell that starts the tests in the background has them ignore Ctrl-C, which the processes under
# test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline an example measures the machine, which may be busy with other things.
settings.register_profile("palimpsest", deadline=None)
settings.load_profile("palimpsest")


@pytest.fixture(autouse=True, scope="session")
def no_full_collections() -> Iterator[None]:
    """Spare the tests the full garbage collections that others force: little once, minutes here.

    Ours when a model is closed, accelerate's when a training starts, statsmodels' at every Holm.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda *_: 0)
        yield
