import gc

import pytest


@pytest.fixture(autouse=True)
def cheap_multipletests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare thousands of simulated analyses the full garbage collection that each Holm forces.

    ``multipletests`` of statsmodels calls ``gc.collect``: a fraction of a second once, minutes here.
    """
    monkeypatch.setattr(gc, "collect", lambda *_: 0)
