"""The flag that Ctrl-C and SIGTERM raise."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from data_utils.errors import StopSignal

TWO_SIGNALS = """
import signal, sys
from data_utils.errors import StopSignal

number = signal.Signals(int(sys.argv[1]))
signal.signal(number, signal.default_int_handler)
with StopSignal() as stop:
    assert not stop
    signal.raise_signal(number)
    assert stop and stop.number == number
    print("went on", flush=True)
    try:
        signal.raise_signal(number)
    except KeyboardInterrupt:
        print("stopped")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_raises_the_flag_the_second_stops(number: signal.Signals, repo_root: Path):
    """In a process of its own, since what stops it must not reach the tests."""
    command = [sys.executable, "-c", TWO_SIGNALS, str(int(number))]
    ended = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (0, "went on\nstopped\n"), ended.stderr


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
