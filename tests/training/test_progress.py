from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from palimpsest.errors import Terminated
from palimpsest.training.progress import noticed_interrupts, sigterm_raises


@pytest.fixture
def plain_sigterm() -> Iterator[None]:
    """Take away what others have left in the process: Ray keeps a handler of its own."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("plain_sigterm")
@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_the_first_signal_is_noted_and_the_second_obeyed(
    number: signal.Signals, error: type[BaseException]
) -> None:
    with sigterm_raises():
        with noticed_interrupts() as interrupts:
            signal.raise_signal(number)
            assert interrupts.pressed
            assert interrupts.error is error
            with pytest.raises(error):
                signal.raise_signal(number)
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.usefixtures("plain_sigterm")
def test_signals_of_two_kinds_are_one_wish_to_end() -> None:
    with sigterm_raises(), noticed_interrupts() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)  # of a parent that was told, too
        assert interrupts.error is Terminated


def test_what_others_do_on_a_signal_is_left_alone() -> None:
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with sigterm_raises(), noticed_interrupts() as interrupts:
            signal.raise_signal(signal.SIGTERM)
            assert not interrupts.pressed
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_outside_the_main_thread_nothing_is_noted() -> None:
    found = []

    def work() -> None:
        with sigterm_raises(), noticed_interrupts() as interrupts:
            found.append(interrupts.pressed)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
