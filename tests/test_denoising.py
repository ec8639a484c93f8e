"""Denoising methods beside each other: hand-computed measures, and what is said about the winner."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import PreparedSet

from data_utils.config.loading import override_config
from data_utils.errors import InputError
from models.denoiser import SpeckleDenoiser
from training.tasks.denoise import (
    INPUT,
    MEDIAN,
    NET,
    NLM,
    STRENGTHS,
    choose_strengths,
    compare,
    evaluate_denoiser,
    measure_name,
    median_3x3,
    non_local_means,
    quality,
    report,
    validate_denoiser,
)


def flat(value: int, side: int = 32) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def noisy_and_clean(n: int = 2) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    clean = np.repeat(np.tile(np.linspace(60, 180, 48), (48, 1))[..., None], 3, axis=2)
    noisy = [(clean + rng.normal(0, 20, clean.shape)).clip(0, 255).astype(np.uint8) for _ in range(n)]
    return [(each, clean.astype(np.uint8)) for each in noisy]


def test_quality_of_a_known_error() -> None:
    # A constant error of 51 grey values is 0.2 of the range: MSE 0.04, 13.98 dB.
    assert quality(flat(151), flat(100))[0] == pytest.approx(13.979, abs=1e-3)
    assert quality(flat(7), flat(7)) == (pytest.approx(100), pytest.approx(1))


def test_the_median_takes_a_single_spot_away() -> None:
    spotted = flat(90)
    spotted[10, 10] = 255
    assert np.array_equal(median_3x3(spotted), flat(90))


def test_non_local_means_smooths_and_keeps_colours_in_their_channels() -> None:
    noisy, clean = noisy_and_clean(1)[0]
    assert quality(non_local_means(noisy, 20, 20), clean)[0] > quality(noisy, clean)[0] + 5
    red = flat(0)
    red[..., 0] = 200
    assert np.abs(non_local_means(red, 5, 5).astype(int) - red).max() <= 2


def test_the_strengths_are_the_best_of_those_tried() -> None:
    best, tried = choose_strengths(noisy_and_clean(), (1, 20, 200))
    assert list(tried) == [(1, 1), (20, 20), (200, 200), (20, 10), (20, 5)]
    assert best[0] == 20
    assert tried[best] == max(tried.values())
    assert len(set(tried.values())) == 5


def test_every_method_sees_every_pair() -> None:
    # Frame 1: the input errs by 51 and by 25.5 after `half`; frame 2 the other way round.
    pairs = [(flat(151), flat(100)), (flat(100), flat(100))]
    rows = compare({"as is": lambda noisy: noisy, "minus 51": lambda noisy: noisy - 51}, pairs)
    assert [row["method"] for row in rows] == ["as is", "minus 51"]
    assert [row["best_on"] for row in rows] == [1, 1]
    assert rows[0]["psnr"] == pytest.approx((13.979 + 100) / 2, abs=1e-3)
    assert rows[1]["psnr"] == pytest.approx((100 + 13.979) / 2, abs=1e-3)
    assert all(row["n_frames"] == 2 for row in rows)
    with pytest.raises(ValueError, match="no frames"):
        compare({"as is": lambda noisy: noisy}, [])


def test_validation_measures_output_and_input() -> None:
    class Brighter(torch.nn.Module):
        def forward(self, noisy: torch.Tensor) -> torch.Tensor:
            return noisy + 0.1

    clean = torch.full((2, 3, 16, 16), 0.5)
    batches = [{"noisy": clean - 0.1, "clean": clean}, {"noisy": clean[:1] - 0.2, "clean": clean[:1]}]
    measured = validate_denoiser(Brighter(), batches, torch.device("cpu"))
    assert measured["psnr_noisy"] == pytest.approx((20 + 20 + 13.979) / 3, abs=1e-3)
    assert measured["psnr"] == pytest.approx((100 + 100 + 20) / 3, abs=1e-2)
    assert measured["ssim"] > measured["ssim_noisy"]


def record(**psnr: float) -> dict[str, Any]:
    names = {"noisy": INPUT, "median": MEDIAN, "nlm": NLM, "net": NET}
    rows = [{"method": names[k], "psnr": v, "ssim": 0.5, "best_on": 1, "n_frames": 4} for k, v in psnr.items()]
    noise = {"distribution": "gamma", "looks": 8, "grain": 0}
    nlm = {"strength": 20, "colour": 5, "n_frames": 8}
    return {"data": "d_split1_test", "side": 64, "methods": rows, "noise": noise, "nlm": nlm}


def test_the_report_says_plainly_who_wins() -> None:
    assert "the denoiser is 1.50 dB above the next best, median 3x3" in report(
        record(noisy=17, median=22, nlm=21, net=23.5)
    )
    worse = report(record(noisy=17, median=22, nlm=22.25, net=21))
    assert "the denoiser is 1.25 dB BELOW the next best, non-local means" in worse
    assert "edge of those tried" not in worse
    at_the_edge = record(noisy=17, median=22, nlm=22.25, net=21)
    at_the_edge["nlm"]["strength"] = STRENGTHS[-1]
    assert "edge of those tried" in report(at_the_edge)


def test_a_measure_under_other_noise_or_on_other_data_has_its_own_name(tiny_prepared: PreparedSet) -> None:
    trained = tiny_prepared.config
    assert measure_name(trained, trained) == "denoise"
    noisier = override_config(trained, ["denoise.eval_looks=2.5", "denoise.grain=1"])
    assert measure_name(noisier, trained) == "denoise_tiny_gamma_looks2.5_grain1"
    assert measure_name(override_config(trained, ["dataset.name=other"]), trained).startswith("denoise_other_gamma")


def test_an_evaluation_leaves_table_and_panel(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    config = override_config(tiny_prepared.config, ["denoise.eval_frames=3", "denoise.nlm_frames=1"])
    torch.manual_seed(0)
    text, files = evaluate_denoiser(SpeckleDenoiser(4, 1).eval(), config, {"weights": "w.pt"}, 1, tmp_path)
    assert [path.name for path in files] == [
        "denoise.json", "denoise.csv", "denoise_panel.npz", "denoise_panel.png"
    ]  # fmt: skip
    saved = json.loads(files[0].read_text())
    assert saved["weights"] == {"weights": "w.pt"}
    assert saved["noise"] == {"distribution": "gamma", "looks": 8.0, "grain": 0.0}
    with open(files[1], encoding="utf-8", newline="") as stream:
        rows = {row["method"]: row for row in csv.DictReader(stream)}
    assert list(rows) == [INPUT, MEDIAN, NLM, NET]
    assert {row["n_frames"] for row in rows.values()} == {"3"}
    assert rows[NET]["psnr"] == rows[INPUT]["psnr"]  # untrained, the net is the identity
    assert float(rows[NLM]["psnr"]) > float(rows[INPUT]["psnr"])
    assert "BELOW" in text
    with np.load(files[2], allow_pickle=False) as panel:
        assert list(panel) == [INPUT, MEDIAN, NLM, NET, "clean"]
        assert panel["clean"].shape == (3, 64, 64, 3)
    with pytest.raises(InputError, match="no such split list"):
        evaluate_denoiser(SpeckleDenoiser(4, 1), config, {}, 7, tmp_path)
