"""How many examples a law meets."""

from hypothesis import settings


def examples(n: int) -> settings:
    """Return the setting for ``n`` examples where all tiers are run.

    By default it is a tenth of them, and five at least.
    """
    return settings(max_examples=max(5, n * _default().max_examples // 100))


def _default() -> settings:
    assert settings.default is not None
    return settings.default
