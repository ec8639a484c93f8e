"""The command that measures speed and cost: what it prints and writes, and bad usage in one line."""

from __future__ import annotations

import json
import sys

import pytest
from tiny_checkpoint import TINY_SIDE, write_tiny_checkpoint

from data_utils.errors import run_command
from evaluation import speed


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command in this process, in an empty folder; returns its exit code, output and complaints."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["speed", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_command(speed.main)
        return int(ended.value.code or 0), *capsys.readouterr()

    return command


def test_speed_steps_graphs_and_proof_are_printed_and_written(run, tmp_path):
    weights = write_tiny_checkpoint(tmp_path / "tiny.pt")
    quick = ("--batch", 1, 2, "--warmup", 1, "--iters", 3, "--device", "cpu")
    code, out, said = run("--weights", weights, *quick, "--json", "speed.json")
    assert (code, said) == (0, "")
    for words in ("preprocess", "postprocess", "inference", "training", "none of its"):
        assert words in out
    record = json.loads((tmp_path / "speed.json").read_text())
    assert [(row["batch_size"], row["n_iters"]) for row in record["speed"]] == [(1, 3), (2, 3)]
    for row in record["speed"]:
        assert row["p5_ms"] <= row["median_ms"] <= row["p95_ms"]
        assert row["fps"] == pytest.approx(row["batch_size"] * 1000 / row["median_ms"])
    graphs = record["graphs"]
    assert graphs["training"]["params"] > graphs["inference"]["params"]
    assert graphs["training"]["gflops"] > graphs["inference"]["gflops"]
    assert record["branch_free"] is True
    assert record["steps"]["frame_size"] == [2 * TINY_SIDE, 2 * TINY_SIDE]


def test_bad_usage_is_one_line(run, tmp_path):
    for arguments, words in (
        (("--weights", "none.pt"), "none.pt"),
        (("--weights", "none.pt", "--iters", 0), "--iters"),
        (("--weights", "none.pt", "--batch", 0), "--batch"),
    ):
        code, out, said = run(*arguments)
        assert (code, out, len(said.strip().splitlines())) == (2, "", 1), said
        assert words in said
