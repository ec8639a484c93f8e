"""The flag that Ctrl-C and SIGTERM raise."""

from __future__ import annotations

import signal
import threading

import pytest

from data_utils.stop import StopSignal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_raises_the_flag_the_second_stops(number: signal.Signals):
    previous = signal.signal(number, signal.default_int_handler)  # so that the second one can be seen, and does no more
    try:
        with StopSignal() as stop:
            assert not stop
            signal.raise_signal(number)
            assert stop
            assert stop.number == number
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
    finally:
        signal.signal(number, previous)


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignal():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_it_does_nothing_outside_the_main_thread():
    failures: list[BaseException] = []

    def use() -> None:
        try:
            with StopSignal() as stop:
                assert not stop
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert not failures
