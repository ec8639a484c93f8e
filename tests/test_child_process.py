"""Measurements in processes of their own."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
import torch

from data_utils.errors import InputError
from evaluation import child_process
from evaluation.child_process import TIME_IS_UP, Report, in_a_child


def behave(job: str, report: Report) -> None:
    """Stand for a measurement."""
    report({"threads": torch.get_num_threads(), "pid": os.getpid()})
    if job == "hangs":
        time.sleep(600)
    if job == "is killed":
        os._exit(9)
    if job == "has too little memory":
        raise torch.OutOfMemoryError("CUDA out of memory")
    if job == "is refused":
        raise InputError("key = 1: not so")
    report({"end": True})


@pytest.mark.integration
@pytest.mark.parametrize(("job", "reason"), [("works", ""), ("is killed", "exit code 9")])
def test_what_was_found_is_kept_and_the_end_is_named(job: str, reason: str) -> None:
    found, why = in_a_child(behave, job, 300, threads=1)
    assert why == reason
    assert found["threads"] == 1
    assert found["pid"] != os.getpid()
    assert found.get("end", False) == (job == "works")


class Sender(list):
    """Stands for the pipe to the parent."""

    def send(self, part: dict[str, Any]) -> None:
        self.append(part)

    def close(self) -> None:
        self.append("closed")


@pytest.mark.parametrize(
    ("job", "error"), [("has too little memory", "out of memory"), ("is refused", "key = 1: not so")]
)
def test_failures_of_a_known_kind_are_named(job: str, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "start_worker", lambda: None)
    sender = Sender()
    child_process._measure(behave, job, sender, torch.get_num_threads())  # type: ignore[arg-type]
    assert sender[1:] == [{"error": error}, "closed"]


@pytest.mark.integration
def test_a_child_that_takes_too_long_is_ended() -> None:
    started = time.monotonic()
    found, why = in_a_child(behave, "hangs", 0)
    assert why == TIME_IS_UP
    assert "end" not in found
    assert time.monotonic() - started < 200
