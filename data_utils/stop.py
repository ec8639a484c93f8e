"""Stopping at the edge of a frame or a batch, so that what is being written can be finished."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self


class StopSignal:
    """Within this block the first Ctrl-C or SIGTERM only sets `number`; a second one stops hard."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there alone
            self._previous = {number: signal.signal(number, self._raised) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def __bool__(self) -> bool:
        return self.number is not None

    def _raised(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        self.__exit__()
