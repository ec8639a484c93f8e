"""Overlapping work: order, bounds on memory, errors, early ends."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator

import pytest

from deployment.pipeline import Behind, overlapped, read_ahead


@pytest.mark.parametrize("threads", [1, 3])
def test_order_is_kept_whatever_takes_long(threads: int):
    def work(k: int) -> int:
        time.sleep(0.003 * (k % 3))
        return k * k

    assert list(overlapped(range(20), work, threads)) == [(k, k * k) for k in range(20)]


def test_several_are_under_way_at_once():
    meeting = threading.Barrier(2, timeout=5)
    assert len(list(overlapped(range(4), lambda _: meeting.wait(), 2))) == 4  # would break with one at a time


def test_reading_and_working_overlap():
    second_read, worked = threading.Event(), []

    def items() -> Iterator[int]:
        yield 0
        second_read.set()
        yield 1

    def work(item: int) -> None:
        worked.append(second_read.wait(5))

    list(overlapped(items(), work, 1))
    assert worked == [True, True]


def test_no_more_is_read_than_is_needed():
    read = []

    def items() -> Iterator[int]:
        for k in itertools.count():
            read.append(k)
            yield k

    results = overlapped(items(), lambda k: k, 2)
    for _ in range(10):
        next(results)
    time.sleep(0.05)
    assert len(read) < 10 + 12
    results.close()  # pyright: ignore[reportAttributeAccessIssue] - a generator
    length = len(read)
    time.sleep(0.05)
    assert len(read) == length
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("read", "detect"))]


@pytest.mark.parametrize("where", ["reading", "working"])
def test_errors_come_after_the_results_before_them(where: str):
    def items() -> Iterator[int]:
        yield from range(3)
        if where == "reading":
            raise OSError("torn")
        yield 3

    def work(k: int) -> int:
        if k == 3:
            raise OSError("torn")
        return k

    seen = []
    with pytest.raises(OSError, match="torn"):
        collect(overlapped(items(), work, 2), seen)
    assert seen == [0, 1, 2]


def collect(results: Iterable[tuple[int, int]], into: list[int]) -> None:
    for k, _ in results:
        into.append(k)


def test_an_empty_source_gives_nothing():
    assert list(read_ahead([], 2)) == []


def test_jobs_behind_are_done_in_order_and_finished_on_leaving():
    done = []
    with Behind(2) as behind:
        for k in range(9):
            behind.do(lambda k=k: done.append(k))
    assert done == list(range(9))


def test_a_failed_job_is_met_by_the_next_call_and_ends_the_rest():
    done = []

    def fail() -> None:
        raise OSError("disk full")

    def write() -> None:
        with Behind(2) as behind:
            behind.do(fail)
            for k in range(50):
                behind.do(lambda k=k: done.append(k))
                time.sleep(0.001)

    with pytest.raises(OSError, match="disk full"):
        write()
    assert done == []


def test_a_failure_of_the_last_job_is_not_lost():
    with pytest.raises(OSError, match="disk full"), Behind(4) as behind:
        behind.do(lambda: (_ for _ in ()).throw(OSError("disk full")))
