"""Work in processes keeps its order, hands errors on, and says when a process died."""

from __future__ import annotations

import os

import pytest

from data_utils.errors import InputError, ResumableError
from data_utils.processes import available_cores, loader_processes, map_in_processes


def doubled(value: int) -> int:
    if value == 13:
        raise InputError("thirteen")
    if value == 99:
        os._exit(9)
    return 2 * value


def test_results_come_in_order() -> None:
    assert list(map_in_processes(doubled, range(10), workers=2)) == list(range(0, 20, 2))


def test_errors_are_handed_on() -> None:
    with pytest.raises(InputError, match="thirteen"):
        list(map_in_processes(doubled, [1, 13], workers=1))


def test_a_dead_process_is_said() -> None:
    with pytest.raises(ResumableError, match="a worker process died"):
        list(map_in_processes(doubled, [99], workers=1))


def test_there_is_a_core() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)


def test_loader_processes_are_as_asked_or_fit_machine_and_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_utils.processes.available_cores", lambda: 4)
    assert loader_processes(11, n_batches=3) == 11
    assert loader_processes(0, n_batches=3) == 0
    assert [loader_processes("auto", n_batches) for n_batches in (1, 3, 100)] == [1, 3, 4]
    monkeypatch.setattr("data_utils.processes.available_cores", lambda: 64)
    assert loader_processes("auto", 100) == 8
