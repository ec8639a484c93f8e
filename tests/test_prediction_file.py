"""Stored predictions: what goes in comes out, patients hidden, and every kind of damage is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluation_samples import frame_result, random_results

from data_utils.errors import InputError
from evaluation.passes.stored import _hash, load, prediction_path, require_origin, store, truth_path

HEAD = {
    "data": "test",
    "label": "set_split1_test",
    "split": 1,
    "list_sha256": "l",
    "imgsz": 320,
    "conf_thresh": 0.001,
    "results_dir": "results",
    "scoring": {"names": ["a", "b"], "iou_thresh": 0.5, "conf_thresh": 0.001, "imgsz": 320, "eval": {}},
    "weights": "best.pt",
    "weights_sha256": "w",
    "epoch": 3,
}


@pytest.fixture
def stored(tmp_path):
    results = random_results(np.random.default_rng(0), n_frames=6, nc=2, n_patients=3)
    return results, store(prediction_path(tmp_path, "best_set"), results, HEAD)


def test_what_is_stored_is_read_back_to_the_last_bit(stored):
    results, (path, truth) = stored
    again = load(path)
    assert (again.about["data"], again.about["n_frames"], again.notes) == ("test", 6, ())
    for ours, theirs in zip(results, again.results, strict=True):
        assert (ours.detections.boxes_xyxy == theirs.detections.boxes_xyxy).all()
        assert (ours.detections.scores == theirs.detections.scores).all()
        assert (ours.truth_xyxy == theirs.truth_xyxy).all()
        assert (ours.truth_class_ids == theirs.truth_class_ids).all()
        assert (ours.original_size, ours.input_size, ours.source) == (
            theirs.original_size,
            theirs.input_size,
            theirs.source,
        )
    assert truth == truth_path(path)


def test_patients_keep_apart_and_their_ids_stay_home(stored):
    results, (path, truth) = stored
    again = load(path).results
    assert len({result.patient_id for result in again}) == len({result.group for result in again}) == 3
    lines = [json.loads(line) for file in (path, truth) for line in file.read_text().splitlines()[1:]]
    assert not {line["patient"] for line in lines} & {result.patient_id for result in results}


def test_empty_frames_and_an_empty_set(tmp_path):
    path, _ = store(tmp_path / "predictions_x.jsonl", [frame_result()], HEAD)
    assert (len(load(path).results[0].detections), len(load(path).results[0].truth_xyxy)) == (0, 0)
    path, _ = store(tmp_path / "predictions_y.jsonl", [], HEAD)
    assert load(path).results == []


@pytest.mark.parametrize("which", ["predictions", "truth"])
def test_a_torn_last_line_is_left_out_and_named(stored, which):
    path = stored[1][0] if which == "predictions" else stored[1][1]
    path.write_text(path.read_text()[:-20])
    again = load(stored[1][0])
    assert [result.stem for result in again.results] == [f"f{index}" for index in range(5)]
    assert f"{path.name}: the last line is torn" in again.notes[0]
    assert "1 frames are missing" in again.notes[1]


def test_a_file_cut_at_the_end_of_a_line_is_torn_too(stored):
    path = stored[1][0]
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert "5 frames" in load(path).notes[1]


def line(frame: str, **changed) -> str:
    values = {"frame": frame, "size": [9, 9], "input": [9, 9], "boxes": [[0, 0, 1, 1]], "scores": [0.5], "classes": [0]}
    return json.dumps(values | changed)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{broken", ":3: "),
        ('{"frame": "f1"}', ":3: lacks size"),
        (line("f1", scores=[2]), ":3: scores must lie"),
        (line("f1", boxes=[[0, 0, 1, float("nan")]]), ":3: .*NaN"),
        (line("f1", classes=[]), "1 boxes, 0 classes"),
        (line("f0"), "stands twice"),
        (line("f1", size=[0, 9]), ":3: size must be two whole numbers"),
        (line("f1", input=None), ":3: input must be"),
        (line("f1", boxes=[[5, 0, 1, 1]]), ":3: a box ends before it begins"),
        (line("f1", boxes=[[0, 0, 1e200, 1]]), ":3: .*absurd"),
        (line("f1", classes=[0.5]), ":3: class ids must be whole"),
        (line("f1", classes=[2]), "frame 2 holds class 2, but only 2 are named"),
        (line("other"), r"a frame is not in truth_best_set.jsonl \(other\)"),
    ],
)
def test_damage_in_the_middle_is_refused_by_file_and_line(stored, line, message):
    path = stored[1][0]
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[3:]]) + "\n")
    with pytest.raises(InputError, match=message):
        load(path)


def test_what_is_not_a_prediction_file_is_refused(stored, tmp_path):
    path, truth = stored[1]
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "predictions_none.jsonl")
    for text in ("", '{"kind": "other"}\n', "[]\n"):
        (tmp_path / "predictions_bad.jsonl").write_text(text)
        with pytest.raises(InputError, match=":1:"):
            load(tmp_path / "predictions_bad.jsonl")
    (tmp_path / "predictions_bad.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        load(tmp_path / "predictions_bad.jsonl")
    truth.write_text(truth.read_text().replace('"A"', '"C"'))
    with pytest.raises(InputError, match="not the truth"):
        load(path)


def test_a_line_lost_in_the_middle_is_no_torn_end(stored):
    path = stored[1][0]
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], *lines[4:]]))
    with pytest.raises(InputError, match=r"1 frames of truth_best_set\.jsonl are missing"):
        load(path)


@pytest.mark.parametrize("key", ["n_frames", "scoring", "data", "weights_sha256", "results_dir"])
def test_a_first_line_that_lacks_something_is_refused(stored, key):
    path = stored[1][0]
    head, _, rest = path.read_text().partition("\n")
    values = json.loads(head)
    del values[key]
    path.write_text(json.dumps(values) + "\n" + rest)
    with pytest.raises(InputError, match=":1: "):
        require_origin(load(path))


@pytest.mark.parametrize(
    ("key", "value"), [("names", 5), ("eval", {"resamples": "many"}), ("eval", [1]), ("iou_thresh", "x")]
)
def test_settings_that_cannot_be_meant_are_refused(stored, key, value):
    path = stored[1][0]
    head, _, rest = path.read_text().partition("\n")
    values = json.loads(head)
    values["scoring"][key] = value
    path.write_text(json.dumps(values) + "\n" + rest)
    with pytest.raises(InputError, match=":1: not the settings"):
        load(path)


def test_what_other_programs_write_is_read(stored):
    results, (path, truth) = stored
    for file in (path, truth):
        lines = [json.dumps(dict(reversed(json.loads(line).items()))) for line in file.read_text().splitlines()]
        file.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", newline="")
    head = json.loads(path.read_text(encoding="utf-8-sig").split("\n")[0])
    head["truth_sha256"] = _hash(truth.read_text(encoding="utf-8"))
    rest = path.read_text(encoding="utf-8-sig").split("\n")[1:]
    path.write_text("\n".join([json.dumps(head), *rest]))
    assert [r.stem for r in load(path).results] == [r.stem for r in results]
