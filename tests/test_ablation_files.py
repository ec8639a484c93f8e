"""What the runner left, read back: damage is named or counts as missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from data_utils.errors import InputError
from data_utils.files import finite
from evaluation.paper.results import has_numbers, plan_path, read_plan, read_result

RUN = {"key": "k", "seeds": {"0": "one/seed0"}, "split": 1, "config": "c", "dataset": "d", "imgsz": 64, "epochs": 1}


def write_plan(folder: Path, text: str) -> None:
    plan_path(folder).parent.mkdir(parents=True, exist_ok=True)
    plan_path(folder).write_text(text)


def test_a_plan_is_read_back_and_before_the_first_there_is_none(tmp_path: Path) -> None:
    assert read_plan(tmp_path) == {}
    write_plan(tmp_path, json.dumps({"version": 1, "runs": {"one": RUN | {"of": "a later version"}}}))
    run = read_plan(tmp_path)["one"]
    assert (run.folders, run.overrides, run.needs) == ({0: "one/seed0"}, None, None)


def test_a_plan_of_a_later_layout_is_not_taken_for_one_of_this(tmp_path: Path) -> None:
    write_plan(tmp_path, json.dumps({"version": 2, "runs": {"one": RUN}}))
    with pytest.raises(InputError, match=r"plan\.json: of version 2, this project reads version 1; use the one"):
        read_plan(tmp_path)


def test_seeds_stand_in_order_whichever_was_asked_for_first(tmp_path: Path) -> None:
    write_plan(tmp_path, json.dumps({"runs": {"one": RUN | {"seeds": {"10": "b", "2": "a"}}}}))
    assert list(read_plan(tmp_path)["one"].folders.items()) == [(2, "a"), (10, "b")]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{", "torn"),
        ("[]", "torn"),
        ('{"runs": []}', "torn"),
        (json.dumps({"runs": {"one": 3}}), "one"),
        (json.dumps({"runs": {"one": RUN | {"epochs": "1"}}}), "one.epochs"),
        (json.dumps({"runs": {"one": RUN | {"seeds": {"0": None}}}}), "one.seeds.0"),
    ],
)
def test_a_damaged_plan_is_named_with_what_is_wrong(tmp_path: Path, text: str, where: str) -> None:
    write_plan(tmp_path, text)
    with pytest.raises(InputError, match=rf"plan\.json: not a plan .*\({where}\); move it away"):
        read_plan(tmp_path)


def test_a_result_is_whole_or_none(tmp_path: Path) -> None:
    result = {"key": "k", "evaluations": {"test": "runs/x/eval_test.json"}}
    for files, whole in (({"test": "x.json"}, True), ({"test": 1}, False), (["test"], False), (None, False)):
        (tmp_path / "result.json").write_text(json.dumps(result | {"evaluations": files}))
        assert bool(read_result(tmp_path)) == whole
    (tmp_path / "result.json").write_text('{"key": "k')
    assert read_result(tmp_path) == {}


@pytest.mark.parametrize(
    ("value", "number"),
    [(1, 1.0), (0.5, 0.5), (True, None), ("1", None), (None, None), (float("nan"), None), (float("inf"), None)],
)
def test_numbers(value: Any, number: float | None) -> None:
    assert finite(value) == number
    others = dict.fromkeys(("fps", "gflops", "epochs_trained"), 1)
    assert has_numbers({"ap50": value, **others}) == (number is not None or value is None)
    assert not has_numbers(others)
