import pytest

from palimpsest.lm.network import is_loopback, retry_after
from palimpsest.serve.settings import ServeSettings


def test_loopback_is_recognised() -> None:
    names = ["127.0.0.1", "127.9.9.9", "localhost", "api.localhost", "::1", "[::1]"]
    assert all(map(is_loopback, names))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.0.1", "example.org", ""]))
    assert ServeSettings("x", host="0.0.0.0").allowed_hosts == frozenset()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("nan", None),
        ("inf", None),
        ("", None),
        ("Fri, 20 Nov 2026 00:00:10 GMT", 10.0),
        ("Thu, 19 Nov 2026 23:00:00 GMT", 0.0),
        ("Fri, 20 Nov 99999 00:00:10 GMT", None),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(header: str, seconds: float | None) -> None:
    midnight = 1_795_132_800.0  # of 20 November 2026, UTC
    assert retry_after(header, midnight) == seconds
