import gc
import os
import signal
from collections.abc import Iterator

import pytest
from tests.tiers import Tiers

# The tests run in two processes on two cores: one thread each. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No translation is kept for the next run of the tests, nor taken from the user's.
os.environ["PALIMPSEST_CACHE"] = "off"

# A shell that starts the tests in the background has them ignore Ctrl-C, which the processes under
# test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Tiers(config), "tiers")


@pytest.fixture(autouse=True, scope="session")
def no_full_collections() -> Iterator[None]:
    """Spare the tests the full garbage collections that others force: little once, minutes here.

    Ours when a model is closed, accelerate's when a training starts, statsmodels' at every Holm.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda *_: 0)
        yield


@pytest.fixture(scope="module")
def empty_figures() -> Iterator[None]:
    """Leave the figures of reports empty where a test is about something else.

    To draw them takes three quarters of the time of a diagnosis with a scripted model.
    """
    from matplotlib.figure import Figure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "palimpsest.report.figure.Drawing.figure",
            lambda drawing, width: Figure((width, 1)),
        )
        yield
