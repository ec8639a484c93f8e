"""configs/ablations.yaml: the published runs with their numbers, and the open questions."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from data_utils.config.ablations import nearest, read_registry
from data_utils.errors import InputError

REGISTRY = "configs/ablations.yaml"
# Published AP50 by table, sorted.
PUBLISHED = {
    4: [0.71, 0.72, 0.75, 0.77],
    5: [0.70, 0.71, 0.77, 0.77],
    6: [0.80, 0.82],
    7: [0.80, 0.82],
    8: [0.72, 0.79, 0.80, 0.82, 0.82],
    10: [0.77, 0.79, 0.81, 0.82, 0.82, 0.83],
}
COSTS = {"pretrain_coco": (8.2, 58.8), "yolov5s": (15.8, 46.7), "yolov5n": (4.1, 64.9), "yolov8s": (28.6, 37.9),
         "sr_layers_48": (8.2, 58.8)}  # fmt: skip
EXTERNAL = {  # small, medium: Table 9, then splits 2 and 3 of Table 10
    "pretrain_coco": (0.66, 0.80), "sr_light": (0.82, 0.77), "sr_layers_26": (0.74, 0.82), "sr_layers_48": (0.80, 0.82),
    "plain_split2": (0.82, 0.82), "plain_split3": (0.86, 0.85), "sre_yolo_split2": (0.95, 0.85),
    "sre_yolo_split3": (0.88, 0.84),
}  # fmt: skip


def test_the_published_numbers_are_those_of_the_paper() -> None:
    runs = read_registry(REGISTRY)
    for table, published in PUBLISHED.items():
        assert sorted(run.paper["ap50"] for run in runs.values() if table in run.tables) == published
    assert {n: (run.paper["gflops"], run.paper["fps"]) for n, run in runs.items() if "fps" in run.paper} == COSTS
    external = {name: run.paper for name, run in runs.items() if "ext_small" in run.paper}
    assert {name: (paper["ext_small"], paper["ext_medium"]) for name, paper in external.items()} == EXTERNAL
    assert len([run for run in runs.values() if run.group == "paper"]) == 14
    assert all("architecture" in (runs[name].note or "") for name in ("yolov5n", "yolov5s"))


def test_every_published_run_has_a_tolerance_and_every_comparison_a_partner() -> None:
    runs = read_registry(REGISTRY)
    for run in runs.values():
        assert set(run.paper) - {"fps"} <= set(run.tolerance)
    assert {run.against for run in runs.values()} == {None, "plain", "branch", "c1_0"}
    assert [run.c1 for run in runs.values() if 3 in run.figures] == [0, 0.01, 0.1, 0.5, 1, 5]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bad": {"papr": {}}}, "run 'bad': unknown key 'papr', did you mean 'paper'"),
        ({"bad": {"tables": ["four"]}}, "run 'bad': tables.0: "),
        ({"../bad": {}}, "run '../bad': name: "),
        ({"bad": {"against": "plan"}, "plain": {}}, "run 'bad': against = plan: no such run, did you mean 'plain'"),
        ({}, "lists no runs"),
        ({"bad": {"overrides": ["epochs=50"]}}, r"run 'bad': overrides: epochs=50: write epochs_times"),
        ({"bad": {"overrides": ["seed=1"]}}, r"run 'bad': overrides: seed=1: .*--seeds"),
        ({"bad": {"overrides": ["run.precision=fp32"]}}, "run 'bad': overrides: run.precision=fp32: settings of place"),
        ({"bad": {"overrides": "c1=0"}}, "run 'bad': overrides: "),
        ({"bad": {"input_times": float("inf")}}, "run 'bad': input_times: "),
        ({"bad": {"epochs_times": 1e308}}, "run 'bad': epochs_times: "),
        ({"bad": [1]}, "run 'bad': its value: "),
        ({"bad": {"tables": [3]}}, "run 'bad': tables.0: "),
        ({"bad": {"figures": [3]}}, "run 'bad': figures: 3 is drawn over c1, .*; c1 is missing"),
        ({"a": {"figures": [3], "c1": 1}, "b": {"figures": [3], "c1": 1}}, "run 'a': figures: .* c1 = 1 .* a and b"),
        ({"bad": {"against": "bad"}}, "run 'bad': against = bad: a run is not compared with itself"),
        ({"plan": {}}, "run 'plan': name: taken by a file of the runner's own"),
        ({"a": {}, "a.json": {}}, "run 'a.json': name: taken"),
        ({"A": {}, "a": {}}, "run 'a' stands twice"),
        ({"bad": {"paper": {"ap50": 77}}}, "run 'bad': paper: ap50 = 77: a share of 1 is meant"),
        ({"bad": {"tolerance": {"ext_small": 3}}}, "run 'bad': tolerance: ext_small = 3: a share"),
        ({"bad": {"paper": {"ap75": 0.5}}}, "run 'bad': paper.ap75: "),
        ({"bad": {"c1": 0.5, "overrides": ["c1=5"]}}, "run 'bad': c1 = 0.5, but its overrides say c1=5"),
        ({"b" * 201: {}}, "name: 201 letters"),
        ({1: {}, "1": {}}, "run '1' stands twice"),
    ],
)
def test_a_bad_entry_is_named(tmp_path: Path, values: dict, message: str) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"runs": values}))
    with pytest.raises(InputError, match=message):
        read_registry(tmp_path / "a.yaml")


def test_an_unknown_key_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("run: {a: {}}\n")
    with pytest.raises(InputError, match="unknown key 'run', did you mean 'runs'"):
        read_registry(tmp_path / "a.yaml")


def test_a_runs_own_tolerance_is_laid_over_the_common_one(tmp_path: Path) -> None:
    text = "tolerance: {ap50: 0.03, gflops: 0.2}\nruns: {a: {tolerance: {ap50: 0.1}}, b: null}\n"
    (tmp_path / "a.yaml").write_text(text)
    runs = read_registry(tmp_path / "a.yaml")
    assert runs["a"].tolerance == {"ap50": 0.1, "gflops": 0.2}
    assert runs["b"].tolerance == {"ap50": 0.03, "gflops": 0.2}


def test_a_bad_common_tolerance_is_not_blamed_on_a_run(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("tolerance: {ap5: 0.03}\nruns: {a: {}}\n")
    with pytest.raises(InputError, match=r"a\.yaml: tolerance\.ap5"):
        read_registry(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("tolerance:\nruns: {a: {note: 2026-11-26}}\n")
    assert read_registry(tmp_path / "a.yaml")["a"].note == "2026-11-26"  # a date for YAML


def test_what_stands_in_lists_is_one_line_and_large_costs_are_none_of_a_share(tmp_path: Path) -> None:
    text = 'runs: {a: {note: "one\\n two", needs: "x\\ny", c1: 5, overrides: [c1=5.0], paper: {gflops: 8.2, ap50: 1}}}'
    (tmp_path / "a.yaml").write_text(text)
    run = read_registry(tmp_path / "a.yaml")["a"]
    assert (run.note, run.needs) == ("one two", "x y")


def test_the_nearest_name() -> None:
    assert nearest("PLAIN", ["branch", "plain", "Plane"]) == ", did you mean 'plain'?"
    assert nearest("plian", ["plain", "branch"]) == ", did you mean 'plain'?"
    assert nearest("xyz", ["plain", "branch"]) == "; known: plain, branch"
