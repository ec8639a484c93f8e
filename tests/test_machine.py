"""What a figure was measured on."""

from __future__ import annotations

import pytest
import torch

from evaluation.cost import describe_machine


def test_the_machine_is_described(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.setattr("sys.argv", ["benchmark.py", "speed", "--out", "a folder"])
    record = describe_machine(torch.device("cpu"), "training.benchmark")
    assert record["command"] == "python -m training.benchmark speed --out 'a folder'"
    assert record["versions"]["torch"] == torch.__version__
    assert record["environment"]["GOMP_SPINCOUNT"] == "7"
    assert record["threads"] == torch.get_num_threads()
    assert record["processor"]
