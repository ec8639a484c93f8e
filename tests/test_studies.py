"""The committed measurements keep the bounds the project promises, and docs say what they say."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def page(repo_root: Path, name: str = "studies") -> str:
    """Return a page of docs/ with its prose on one line: where a sentence is broken does not matter."""
    lines = (repo_root / "docs" / f"{name}.md").read_text(encoding="utf-8").splitlines()
    return "".join(f"\n{line}" if line.startswith(("|", "#")) or not line else f" {line}" for line in lines)


def test_preparing_and_auditing_stay_within_their_bounds(repo_root: Path) -> None:
    figures = json.loads((repo_root / "results/studies/preparation/benchmark.json").read_text())
    told = page(repo_root)
    assert figures["ratio"] <= 1.25
    assert figures["audit_ratio"] <= 2.3
    assert figures["peak_mb_of_a_process"] < 500
    assert f"{figures['ratio']:.2f} times" in told
    assert f"{figures['audit_ratio']:.2f} times as long" in told
    assert f"more than {figures['peak_mb_of_a_process']} MB" in told


def test_planted_copies_are_found_and_distinct_frames_are_not(repo_root: Path) -> None:
    rows = rows_of(repo_root / "results/studies/audit/recall.csv")
    copies = [row for row in rows if not row["planted"].startswith(("nothing", "every"))]
    sure = [row for row in copies if "cropped" not in row["planted"]]
    assert {row["dataset"] for row in sure} == {"bccd", "vocalfolds"}
    assert {row["share"] for row in sure} == {"1.0"}
    assert min(float(row["share"]) for row in copies) >= 0.99
    assert max(float(row["share"]) for row in rows if row["planted"].startswith("nothing")) <= 0.01


def test_the_docs_have_the_denoisers_figures(repo_root: Path) -> None:
    told = page(repo_root)
    rows = rows_of(repo_root / "results/studies/denoise/vocalfolds_256.csv")
    for noise in {(row["looks"], row["grain"]) for row in rows}:
        measured = [row for row in rows if (row["looks"], row["grain"]) == noise]
        assert [row["method"] for row in measured] == ["noisy input", "median 3x3", "non-local means", "denoiser"]
        shown = " | ".join(f"{float(row['psnr']):.1f} / {float(row['ssim']):.2f}" for row in measured)
        assert f"| {measured[0]['n_frames']} | {shown} |" in told


def test_the_docs_have_the_branchs_cost(repo_root: Path) -> None:
    told = page(repo_root, "training")
    rows = rows_of(repo_root / "results/studies/branch_price/branch_costs_640.csv")
    whole = [row for row in rows if row["window"] == "1.0" and row["checkpointing"] == "False"]
    named = sorted({(row["decoder"], row["upsampler"], row["width"]) for row in whole} - {("deep", "narrowing", "32")})
    assert len(named) == 5
    for decoder, upsampler, width in named:
        own = [row for row in whole if (row["decoder"], row["upsampler"], row["width"]) == (decoder, upsampler, width)]
        costs = {row["fusion_stride"]: row for row in own}
        shown = " | ".join(
            f"{int(costs[stride]['branch_params']) / 1e6:.2f} M, {float(costs[stride]['branch_gflops']):.1f}"
            for stride in "248"
        )
        assert f"| {'-' if decoder == 'light' else upsampler} | {width} | {shown} |" in told


def test_the_docs_have_the_training_speeds(repo_root: Path) -> None:
    told = page(repo_root)
    folder = repo_root / "results/studies/training_speed"
    for row in rows_of(folder / "speed_cpu.csv"):
        median, lowest, highest = (float(row[name]) for name in ("images_per_s", "lowest", "highest"))
        digits = 0 if median > 100 else 1
        assert f"| {median:.{digits}f} ({lowest:.{digits}f}, {highest:.{digits}f}) |" in told
    ratios = {row["ratio"]: float(row["of_medians"]) for row in rows_of(folder / "speed_cpu_ratios.csv")}
    assert ratios["ours / bare"] >= 0.8
    assert ratios["loader / ours"] >= 4
    assert f"{ratios['ours / ultralytics']:.2f} times ultralytics as it comes" in told
    assert f"{ratios['ours / ultralytics, our threads']:.2f} times with as many threads" in told
    newer = {row["ratio"]: row for row in rows_of(folder / "speed_cpu_avx512_ratios.csv")}
    bare, theirs = newer["ours / bare"], newer["ours / ultralytics"]
    share, low, high = (float(bare[name]) for name in ("of_medians", "lowest", "highest"))
    assert f"{share:.2f} ({low:.2f} to {high:.2f}) of the bare steps" in told
    assert f"{float(theirs['of_medians']):.2f} times ultralytics as it sets itself up" in told


def test_the_docs_have_the_branches_curves(repo_root: Path) -> None:
    told = page(repo_root)
    rows = rows_of(repo_root / "results/studies/branch_price/branch_curves_cuda.csv")
    for variant in {row["variant"] for row in rows} - {"none"}:
        validated = [(float(row["epoch"]), row) for row in rows if row["variant"] == variant and row["ap50"]]
        first, last = (
            [row for epoch, row in validated if low <= epoch <= high] for low, high in ((18, 34), (36, 50))
        )
        psnr = [statistics.median(float(row["psnr"]) for row in part) for part in (first, last)]
        ap50 = [statistics.median(float(row[name]) for row in last) for name in ("ap50", "ap50_small")]
        assert f"| {psnr[0]:.1f} | {psnr[1]:.1f} | {ap50[0]:.3f} | {ap50[1]:.3f} |" in told


def test_the_docs_have_the_branches_at_the_end_of_a_schedule(repo_root: Path) -> None:
    told = page(repo_root)
    folder = repo_root / "results/studies/branch_price"
    rows = rows_of(folder / "branch_study_cpu_64.csv")
    deep = next(float(row["psnr"]) for row in rows if row["variant"] == "deep")
    for row in (row for row in rows if row["variant"] not in ("deep", "none")):
        psnr, gain, ap50 = (float(row[name]) for name in ("psnr", "psnr_gain_of_last_fifth", "ap50"))
        assert f"| {psnr:.2f} | {deep - psnr:.2f} | {gain:.2f} | {ap50:.3f} |" in told
        assert float(row["ap50_small"]) == 0
    curve = [row for row in rows_of(folder / "branch_curves_cpu_64.csv") if row["variant"] == "deep" and row["psnr"]]
    late = [float(row["psnr"]) for row in curve if float(row["epoch"]) >= 24]
    assert min(late) > 25.0
    assert max(late) < 25.7
    within = {row["variant"] for row in rows if row["psnr_behind_deep"] and 0 < float(row["psnr_behind_deep"]) <= 0.5}
    assert within == {"direct-8-thin"}
    price = {row["upsampler"]: row for row in rows_of(folder / "branch_price_cpu.csv")}
    assert float(price["direct"]["step_ratio"]) <= 2.0
    for row in price.values():
        ends = [float(row[f"step_ratio{end}"]) for end in ("", "_lowest", "_highest")]
        assert "{:.2f} ({:.2f} to {:.2f}) times".format(*ends) in " ".join(told.split())
    costs = [f"{float(row['step_ratio']):.2f}" for row in rows_of(folder / "branch_price_cpu_wide.csv")]
    assert f"cheaper, {' and '.join(reversed(costs))} (0.35, 0.45;" in told


def test_the_docs_have_the_ledger_of_every_shape(repo_root: Path) -> None:
    told = page(repo_root)
    rows = rows_of(repo_root / "results/studies/branch_price/branch_ledger_cpu_96.csv")
    whole = {(row["decoder"], row["fusion_stride"]) for row in rows if row["window"] == "1.0"}
    assert whole == {(decoder, stride) for decoder in ("deep", "light") for stride in "248"}
    for row in rows:
        ratios = [float(row[f"step_ratio{end}"]) for end in ("", "_lowest", "_highest")]
        speed = "{:.2f} ({:.2f}, {:.2f})".format(*ratios)
        psnr = f"{float(row['psnr']):.1f}" if row["psnr"] else "-"
        grads = [f"{float(row[name]):.1e}" if row[name] else "-" for name in ("grad_shallow", "grad_deep")]
        cells = f"| {float(row['images_per_s']):.1f} | {float(row['peak_mib']):.0f} | {psnr} | {', '.join(grads)} |"
        assert f"| {speed} {cells}" in told


def test_training_is_as_accurate_as_beside_ultralytics(repo_root: Path) -> None:
    told = page(repo_root)
    rows = rows_of(repo_root / "results/studies/training_speed/accuracy_cpu.csv")
    means: dict[str, list[float]] = {}
    for side, shown in (("ours", "ours"), ("ultralytics", "ultralytics 8.4")):
        runs = [row for row in rows if row["side"] == side and row["seed"] != "mean"]
        assert [row["seed"] for row in runs] == ["0", "1", "2"]
        parts = [[float(row[name]) for row in runs] for name in ("val_ap50", "test_ap50")]
        means[side] = [statistics.mean(part) for part in parts]
        cells = [f"{', '.join(f'{ap50:.3f}' for ap50 in part)} | {statistics.mean(part):.3f}" for part in parts]
        assert f"| {shown} | {' | '.join(cells)} |" in told
    for ours, theirs in zip(means["ours"], means["ultralytics"], strict=True):
        assert abs(ours - theirs) < 0.01


def test_the_docs_have_the_robustness_figures(repo_root: Path) -> None:
    told = page(repo_root)
    rows = {(r["name"], r["severity"]): r for r in rows_of(repo_root / "results/studies/robustness/bccd160_val.csv")}
    clean = rows.pop(("clean", "0"))
    assert f"| clean | {float(clean['ap50']):.2f} | | | | {float(clean['fp_per_frame']):.1f} |" in told
    kinds = {kind for kind, _ in rows}
    assert len(kinds) == 7
    for kind in kinds:
        at = " | ".join(f"{float(rows[kind, severity]['ap50']):.2f}" for severity in "135")
        third = {name: float(rows[kind, "3"][name]) for name in ("change_ap50", "change_ap50_low", "change_ap50_high")}
        change = "{change_ap50:+.2f} [{change_ap50_low:.2f}, {change_ap50_high:.2f}]".format(**third)
        alarms = f"{float(rows[kind, '3']['fp_per_frame']):.1f}"
        assert f"| {kind.replace('_', ' ')} | {at} | {change} | {alarms} |" in told
    falling = [kind for kind in kinds if float(rows[kind, "5"]["recall"]) < float(clean["recall"])]
    assert len(falling) == 7  # what the page says of false alarms


def test_the_docs_have_the_backends_figures(repo_root: Path) -> None:
    told = page(repo_root)
    folder = repo_root / "results/studies/deployment"
    measured = [row for row in rows_of(folder / "backends.csv") if row["fps"]]
    reference = next(float(row["ap50"]) for row in measured if (row["backend"], row["precision"]) == ("torch", "fp32"))
    for row in measured:
        times = f"{float(row['median_ms']):.0f}, {float(row['p95_ms']):.0f} | {float(row['fps']):.1f}"
        same = f"{float(row['ap50']):.4f} | {float(row['agreement']):.3f}"
        assert f"| {row['backend']} {row['precision']} | {times} | {float(row['mb']):.1f} | {same} |" in told
        assert abs(float(row["ap50"]) - reference) <= 0.005
    assert (folder / "backends.png").is_file()


def test_the_docs_have_the_ratios_to_ultralytics(repo_root: Path) -> None:
    told = page(repo_root)
    folder = repo_root / "results/studies/deployment"
    ratios = rows_of(folder / "beside_ultralytics_ratios.csv")
    for row in rows_of(folder / "beside_ultralytics.csv"):
        own = [f"{float(ratio['ratio']):.2f}" for ratio in ratios if ratio["ours"] == row["side"]]
        if own:
            assert f"| {row['side']} | {float(row['fps']):.2f} | {' | '.join(own)} |" in told


def test_inference_with_the_branch_takes_the_bare_detectors_time(repo_root: Path) -> None:
    told = page(repo_root)
    figures = json.loads((repo_root / "results/studies/evaluation/branch_time.json").read_text())
    beside = figures["beside_detector"]
    assert figures["graphs"]["training"]["params"] > figures["graphs"]["inference"]["params"]  # there is a branch
    assert beside["low"] <= 1 <= beside["high"]
    assert "{ratio:.4f} [{low:.4f}, {high:.4f}] over {n_pairs} pairs".format(**beside) in told


def test_intervals_cover_what_they_promise_and_equal_models_are_rarely_called_different(repo_root: Path) -> None:
    told = page(repo_root)
    rows = rows_of(repo_root / "results/studies/evaluation/coverage.csv")
    assert len(rows) == 7
    for row in rows:
        bca, percentile, different = (float(row[key]) for key in ("bca_cover", "percentile_cover", "called_different"))
        assert f"| {100 * bca:.1f} % | {100 * percentile:.1f} % | {100 * different:.1f} % |" in told
        assert int(row["studies"]) == 500
        assert 0.92 <= bca <= 0.97 + 2 * float(row["monte_carlo_se"]), row["measure"]
        assert different <= 0.07, row["measure"]
        assert float(row["monte_carlo_se"]) <= 0.0095


def test_scoring_is_as_fast_as_promised(repo_root: Path) -> None:
    told = page(repo_root)
    figures = json.loads((repo_root / "results/studies/evaluation/scoring_speed.json").read_text())
    ap, study = figures["ap"], figures["bootstrap"]
    assert (ap["n_detections"], ap["n_frames"], study["n_frames"], study["n_resamples"]) == (100_000, 5000, 171, 2000)
    assert ap["pycocotools_over_ours"] >= 2
    assert ap["seconds"]["ours"] < 5
    assert study["seconds"] < 10
    assert ap["ap50_difference"] < 1e-6
    ratio = ap["pycocotools_over_ours"]
    assert f"takes {ap['seconds']['ours']:.1f} s, {ratio:.2f} times less than pycocotools" in told
    assert f"all headline numbers, {study['seconds']:.1f} s" in told


def interval_of(row: dict[str, str]) -> str:
    """Return a difference as the page writes it."""
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(
        *(float(row[key]) for key in ("difference", "difference_low", "difference_high"))
    )


def shows_the_study(text: str, trainings: Path) -> dict[str, str]:
    """Hold a table of runs against the study's files; return what it says of small objects, by run that was made."""
    trained = rows_of(trainings)
    rows = [row for row in rows_of(trainings.with_name("questions.csv")) if row["mean"]]
    for row in rows:
        shown = f"{float(row['mean']):.3f}" + (f" ± {float(row['sd']):.3f}" if row["sd"] else "")
        if row["difference"]:
            shown += f" | {interval_of(row)}"
        line = next(line for line in text.splitlines() if f"(`{row['run']}`)" in line)
        assert shown in line, row
        column = {"ap50": "test_ap50", "small": "test_small"}[row["measure"]]
        seeds = [float(each[column]) for each in trained if each["run"] == row["run"]]
        assert len(seeds) == int(row["seeds"])
        assert abs(statistics.mean(seeds) - float(row["mean"])) < 1e-3
    return {row["run"]: row["shows"] for row in rows if row["measure"] == "small"}


def test_the_docs_have_the_study_of_the_branch_from_random_weights(repo_root: Path) -> None:
    told = page(repo_root)
    folder = repo_root / "results/studies/bccd_random"
    shows = shows_the_study(told, folder / "trainings.csv")
    without = {"plain_longer", "plain_larger_input", "plain_p2"}
    branches = {"branch", "branch_taps_2_4", "random_target", "hr_geometry_none", "light", "deep"}
    assert shows == {
        "plain": "", **dict.fromkeys(branches, "no evidence of a difference"), **dict.fromkeys(without, "higher")
    }  # fmt: skip
    small = {row["run"]: row for row in rows_of(folder / "questions.csv") if row["measure"] == "small" and row["mean"]}
    assert all(interval_of(small[run]) in told for run in ("branch", *without))
    trained = rows_of(folder / "trainings.csv")
    for run in ("plain", "branch", *without):
        seconds = statistics.mean(float(row["seconds"]) for row in trained if row["run"] == run and row["seconds"])
        assert f"{seconds:.0f} s" in told
    gflops = {row["run"]: f"{float(row['gflops']):.2f}" for row in trained}
    assert "{} and {} GFLOPs a frame".format(*(gflops[run] for run in ("plain_p2", "plain_larger_input"))) in told
    assert f"where the others take {gflops['plain']};" in told
    search = {row["run"]: f"{float(row['ap50_small']):.3f}" for row in rows_of(folder / "search.csv")}  # the last epoch
    assert f"small AP50 {search['plain']} without, {search['branch']} with the branch at c1 5" in told
    assert f"{search['branch_c1_20']} at c1 20 and {search['branch_taps_2_4']} at c1 5 with taps 2 and 4" in told
    assert max(search, key=lambda run: float(search[run])) == "branch_taps_2_4"


def test_the_docs_have_the_exploratory_run_on_vocalfolds(repo_root: Path) -> None:
    rows = rows_of(repo_root / "results/studies/vocalfolds/questions.csv")
    ap50 = {row["run"]: row for row in rows if row["measure"] == "ap50" and row["mean"]}
    shown = f"AP50 {float(ap50['plain']['mean']):.3f} without and {float(ap50['branch']['mean']):.3f} with the branch"
    assert f"{shown}, {interval_of(ap50['branch'])} over blocks" in page(repo_root)


def test_the_earlier_study_of_the_branch_and_its_controls_stands_beside_its_files(repo_root: Path) -> None:
    text = (repo_root / "results/studies/blood_cells.md").read_text(encoding="utf-8")
    small = shows_the_study(text, repo_root / "results/studies/bccd_controls/runs.csv")
    assert [small[run] for run in ("branch", "plain_longer")] == ["no evidence of a difference", "higher"]
    assert {"random_target", "hr_geometry_none", "light"} <= set(small)
    rows = rows_of(repo_root / "results/studies/bccd_controls/questions.csv")
    multi_scale = next(row for row in rows if (row["run"], row["measure"]) == ("plain_multi_scale", "small"))
    assert f"multi-scale training ({interval_of(multi_scale)}" in page(repo_root)
