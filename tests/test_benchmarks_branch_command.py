"""The command line of the branch's price."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.benchmarks import branch_ledger
from training.benchmarks.branch_command import GROUPS, main, parser
from training.benchmarks.branch_ledger import SHAPES


def test_the_groups_offered_are_those_there_are() -> None:
    assert set(GROUPS) == set(SHAPES)


def test_the_ledger_gets_its_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict = {}
    monkeypatch.setattr(branch_ledger, "run_ledger", lambda *where, **options: given.update(where=where, **options))
    monkeypatch.setenv("GOMP_SPINCOUNT", "0")
    save = str(tmp_path)
    main(["ledger", "--device", "cpu", "--shapes", "cheaper", "--steps", "7", "--set", "seed=5", "--save", save])
    assert (given["steps"], given["shapes"], given["save"]) == (7, SHAPES["cheaper"], tmp_path)
    assert given["where"][0].seed == 5
    assert given["notes"]["device"] == "cpu"


def test_branches_are_asked_for_by_name() -> None:
    arguments = parser().parse_args(["branches", "--variants", "deep", "light", "--jobs", "3"])
    assert (arguments.variants, arguments.jobs, arguments.seeds) == (["deep", "light"], 3, [42])
    with pytest.raises(SystemExit):
        parser().parse_args(["branches", "--jobs", "-1"])
