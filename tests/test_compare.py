"""The compare command on stored passes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from test_score import results, write_pass

from data_utils.errors import InputError
from evaluation.compare import main
from evaluation.passes.stored import load


@pytest.fixture
def runs(tmp_path):
    """Two models on three splits: the second finds only what it is sure of."""
    for split in (1, 2, 3):
        frames = results(split)
        sure = [replace(r, detections=r.detections.above(0.7)) for r in frames]
        for name, found in (("a", frames), ("b", sure)):
            folder = tmp_path / f"{name}{split}"
            folder.mkdir()
            write_pass(folder, "test", found, weights=name)
            write_pass(folder, "val", found, weights=name)
    return tmp_path


def test_two_runs(runs, capsys):
    main([str(runs / "a1"), str(runs / "b1"), "--save", str(runs / "out.json")])
    out = capsys.readouterr().out
    assert "20 frames, 8 patients, 30 resamples of them, the same for both" in out
    assert "ap50: " in out
    assert "a difference of 0.02 would need about" in out
    verdicts = [line for line in out.splitlines() if line.startswith(("ap50", "froc_mean")) and ": " in line]
    assert verdicts
    assert all(line.endswith("(1 training a side)") for line in verdicts if "[" in line)
    assert "Each side is one training: what another seed would have given is in none of the intervals" in out
    (saved,) = json.loads((runs / "out.json").read_text())
    pair = saved["pairs"]["ap50"]
    assert pair["difference"]["value"] == pytest.approx(pair["second"]["value"] - pair["first"]["value"])
    assert f"{pair['difference']['value']:+.3f}" in out


def test_images_are_never_called_patients(runs, capsys):
    for name in ("a", "b"):
        write_pass(runs / f"{name}1", "test", results(1), weights=name, unit="image")
    main([str(runs / "a1"), str(runs / "b1")])
    table = capsys.readouterr().out.partition("\n\n")[2]
    assert "images for 0.02" in table
    assert "patients" not in table.replace("NOT patient", "")


def test_three_splits_say_that_wilcoxon_cannot_decide(runs, capsys):
    main([str(runs / "a{split}"), str(runs / "b{split}"), "--splits", "1", "2", "3", "--resamples", "20"])
    out = capsys.readouterr().out
    assert "over 3 splits cannot give a p below 0.25: it cannot show a difference at the 5 % level" in out
    assert out.count("20 resamples of them") == 3
    # The samples give all splits' passes the same weights: three repeats, one training.
    assert "It rests on 1 training a side, fewer than splits" in out


def test_repeats_say_how_many_trainings_they_rest_on(runs, capsys):
    for name in "ab":
        for number in (1, 2, 3):
            for part in ("test", "val"):
                write_pass(runs / f"{name}{number}", part, results(number), weights=f"{name}{number}")
    places = [str(runs / "a{seed}"), str(runs / "b{seed}")]
    main([*places, "--seeds", "1", "2", "3", "--resamples", "20"])
    assert "\nIt rests on 3 trainings a side.\n" in capsys.readouterr().out
    main([place.replace("seed", "split") for place in places] + ["--splits", "1", "2", "3", "--resamples", "20"])
    assert "It rests on 3 trainings a side, each with one seed: what another seed" in capsys.readouterr().out
    main([str(runs / "a1"), str(runs / "a1"), "--resamples", "20"])
    assert "A and B are the same weights" in capsys.readouterr().out


def test_the_least_p_is_that_of_the_measures_defined_on_every_split(runs, capsys):
    healthy = [replace(r, truth_xyxy=np.zeros((0, 4)), truth_class_ids=np.zeros(0, dtype=int)) for r in results(3)]
    for name in ("a", "b"):
        write_pass(runs / f"{name}3", "test", healthy, weights=name)
    main([str(runs / "a{split}"), str(runs / "b{split}"), "--splits", "1", "2", "3", "--resamples", "0"])
    assert "over 3 splits cannot give a p below 0.25" in capsys.readouterr().out


def test_one_resample_is_no_spread_of_nothing(runs, capsys):
    main([str(runs / "a1"), str(runs / "b1"), "--resamples", "1"])
    out = capsys.readouterr().out
    assert "without an interval" in out
    assert "the same in every resample" not in out


def test_what_cannot_be_compared_is_one_clear_line(runs):
    for arguments, message in (
        (["nowhere", str(runs / "b1")], "nowhere: no such run folder"),
        ([str(runs / "a1"), str(runs / "b2")], "different truth|not scored on the same frames"),
        ([str(runs / "a1"), str(runs / "b1"), "--data", "ext"], "needs one prediction file on ext, found none"),
        ([str(runs / "a1"), str(runs / "b1"), "--splits", "1"], r"the path needs \{split\}"),
        ([str(runs / "a{split}"), str(runs / "b{split}"), "--splits", "1", "1"], "a number stands twice"),
    ):
        with pytest.raises(InputError, match=message):
            main(arguments)


def test_other_rules_are_refused_and_inputs_of_other_sides_count_sizes_in_the_firsts_pixels(runs, capsys):
    scoring = load(runs / "a1" / "predictions_best_set_test.jsonl").about["scoring"]
    strict = scoring | {"eval": scoring["eval"] | {"nms_iou": 0.3}}
    write_pass(runs / "b1", "test", results(1), weights="b", scoring=strict)
    with pytest.raises(InputError, match=r"eval.nms_iou = 0.3, but 0.7 for the first"):
        main([str(runs / "a1"), str(runs / "b1")])
    in_input = scoring | {"eval": scoring["eval"] | {"size_reference": "input"}}
    larger = [replace(r, input_size=(9 * r.input_size[0], 9 * r.input_size[1])) for r in results(1)]
    write_pass(runs / "a1", "test", results(1), weights="a", scoring=in_input)
    write_pass(runs / "b1", "test", larger, weights="b", scoring=in_input | {"imgsz": 640})
    capsys.readouterr()
    main([str(runs / "a1"), str(runs / "b1")])
    out = capsys.readouterr().out
    assert "B's sizes, too, are counted in pixels of A's input" in out
    assert "ap50_small: +0.000, the same in every resample" in out
    assert "This list has been scored" in out
