"""The headline numbers: equal to what each module gives alone, and paired with weights of patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import frame_result, random_results, small_config

from evaluation.scoring.ap import average_precision
from evaluation.scoring.operating_points import at_threshold
from evaluation.statistics.bootstrap import units_of
from evaluation.statistics.headline import Scoring, headline_intervals, headline_statistics

BOX, FAR = (10, 10, 60, 60), (300, 300, 350, 350)


def scoring(**section) -> Scoring:
    return Scoring.of(small_config(*(f"eval.{key}={value}" for key, value in section.items())))


def test_values_are_those_of_the_modules_they_come_from():
    results = random_results(np.random.default_rng(1), n_frames=20, nc=2, n_patients=7)
    headline, n_units = headline_intervals(results, scoring(resamples=50), 0.4)
    scored, point = average_precision(results, 2), at_threshold(results, 0.5, 0.4)
    assert n_units == 7
    assert headline["ap50"].value == pytest.approx(scored.ap)
    assert headline["ap50_area"].value == pytest.approx(scored.ap_area)
    assert headline["map50_95"].value == pytest.approx(scored.map50_95)
    for size, value in scored.ap_by_size.items():
        assert headline[f"ap50_{size}"].value == (None if value is None else pytest.approx(value))
    assert [headline[f"ap50[{name}]"].value for name in ("lesion", "polyp")] == pytest.approx(scored.ap_by_class)
    for name in ("precision", "recall", "f1"):
        assert headline[name].value == pytest.approx(getattr(point, name))
    for count in (1, 10, 100):
        assert headline[f"ar_{count}"].value == pytest.approx(scored.recall_at[count])
    for name in ("ap50", "ar_10", "recall", "froc_1", "fp_per_frame"):
        assert headline[name].low <= headline[name].value <= headline[name].high


def test_a_patient_drawn_twice_gives_the_recall_of_frames_that_stand_twice():
    results = random_results(np.random.default_rng(3), n_frames=12, nc=2, n_patients=4)
    units, _ = units_of(results)
    again = [replace(r, stem=f"{r.stem} again") for r, unit in zip(results, units, strict=True) if unit == 0]
    statistics = headline_statistics(results, scoring(), 0.4, units)
    scored = average_precision([*results, *again], 2).recall_at
    for count in (1, 10, 100):
        assert statistics[f"ar_{count}"](np.array([[2.0, 1, 1, 1]])) == pytest.approx(scored[count])


def test_patients_and_healthy_frames_by_hand():
    # Patient p: two lesion frames, one found. Patient q: missed. A healthy frame with an alarm, one without.
    results = [
        frame_result([(*BOX, 0)], [(*BOX, 0, 0.9)], stem="a"),
        frame_result([(*FAR, 0)], [(*BOX, 0, 0.8)], stem="b"),
        frame_result([(*FAR, 0)], [], stem="c"),
        frame_result(found=[(*BOX, 0, 0.7), (*FAR, 0, 0.6)], stem="d"),
        frame_result(found=[(*BOX, 0, 0.2)], stem="e"),
    ]
    patients = ("p", "p", "q", "r", "r")
    results = [replace(r, patient_id=p, group=p) for r, p in zip(results, patients, strict=True)]
    values = {name: one.value for name, one in headline_intervals(results, scoring(resamples=0), 0.5)[0].items()}
    assert (values["recall"], values["patient_sensitivity"]) == (pytest.approx(1 / 3), 0.5)
    assert (values["fp_per_frame"], values["healthy_fp_per_frame"], values["healthy_clean"]) == (0.6, 1.0, 0.5)
    assert values["precision"] == pytest.approx(1 / 4)
    units, _ = units_of(results)
    without_p = headline_statistics(results, scoring(), 0.5, units)["precision"](np.array([[0.0, 1, 1]]))
    assert without_p.tolist() == [0.0]


def test_a_patient_with_two_sequences_counts_once():
    frames = [frame_result([(*BOX, 0)], [(*BOX, 0, 0.9)], stem="a"), frame_result([(*BOX, 0)], stem="b")]
    frames = [replace(r, patient_id="p", group=group) for r, group in zip(frames, ("s1", "s2"), strict=True)]
    assert headline_intervals(frames, scoring(resamples=0), 0.5)[0]["patient_sensitivity"].value == 1.0


def test_no_best_so_many_detections_are_counted_twice_over():
    many = [(x, 0, x + 9, 9, 0) for x in range(0, 4000, 10)]
    frame = frame_result(many, [(*box, 0.9) for box in many], original=(4000, 40))
    settings = scoring(max_det=350, resamples=0)
    assert headline_intervals([frame], settings, 0.5)[0]["recall"].value == pytest.approx(350 / 400)
    assert at_threshold([frame], 0.5, 0.5, 350).tp == 350


def test_nothing_is_defined_without_frames_and_zero_without_detections():
    assert {one.value for one in headline_intervals([], scoring(), 0.5)[0].values()} == {None}
    values = {
        name: one.value for name, one in headline_intervals([frame_result([(*BOX, 0)])], scoring(), 0.5)[0].items()
    }
    assert (values["ap50"], values["precision"], values["f1"], values["froc_8"]) == (0.0, 0.0, 0.0, 0.0)
    assert values["healthy_clean"] is None
    healthy = {name: one.value for name, one in headline_intervals([frame_result()], scoring(), 0.5)[0].items()}
    assert (healthy["ap50"], healthy["precision"], healthy["healthy_clean"]) == (None, None, 1.0)


def test_settings_survive_json():
    import json

    settings = scoring(size_reference="hr", size_cutoffs="[16,32,64]")
    assert Scoring.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings
    names = headline_statistics([], settings, 0.5, np.zeros(0, dtype=np.int64))
    assert {"ap50_below 16 px", "ap50_16-32 px", "ap50_from 64 px"} <= set(names)
