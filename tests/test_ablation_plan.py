"""Jobs: which runs are one and the same, what each lacks, what must not be overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ablation_samples import base_config, registry, write_result
from conftest import PreparedSet

from data_utils.config.ablations import read_registry
from data_utils.config.loading import load_config
from data_utils.errors import InputError
from data_utils.files import read_saved_json
from evaluation.paper.results import read_plan
from training.ablations.job import Outcome, noted
from training.ablations.plan import Asked, job_key, make_plan, refuse_other_settings, write_plan


def test_runs_of_equal_settings_are_trained_once_whoever_asks() -> None:
    runs = read_registry("configs/ablations.yaml")
    everything = make_plan(runs, list(runs), Asked(seeds=(0, 1)))
    assert len(everything.jobs) < 2 * len(runs)
    assert len({(job.name, job.seed) for job in everything.jobs}) == len(everything.jobs)
    shared = {name: by_seed[0].name for name, by_seed in everything.cells.items() if by_seed[0].name != name}
    assert shared == {"c1_0": "pretrain_coco", "plain": "pretrain_coco", "c1_0.1": "sr_kaiming", "branch": "sr_kaiming",
                      "fusion_stride_2": "sr_kaiming", "branch_deep": "sr_kaiming"}  # fmt: skip
    alone = make_plan(runs, ["plain"], Asked())
    assert [job.name for job in alone.jobs] == ["pretrain_coco"]
    assert everything.cells["plain"][1] is everything.cells["pretrain_coco"][1]  # and so is its outcome
    assert everything.cells["pretrain_coco"][1].folder == Path("results/ablations/pretrain_coco/seed1")


def test_a_key_tells_what_is_computed_not_where() -> None:
    key = job_key(load_config("configs/train.yaml"), 1)
    for same in ("run.workers=3", "run.name=x", "dataset.processed=elsewhere", "seed=5",
                 "dataset.external={ext: {processed: x}}"):  # fmt: skip
        assert job_key(load_config("configs/train.yaml", [same]), 1) == key
    for other in ("c1=0.2", "epochs=3", "loss.sr_target=random", "dataset.names=[polyp]", "run.precision=fp32",
                  "run.val_every=5"):  # fmt: skip
        assert job_key(load_config("configs/train.yaml", [other]), 1) != key
    assert job_key(load_config("configs/train.yaml"), 2) != key


def test_what_a_run_lacks_is_said_before_it_is_begun(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    base = base_config(tiny_prepared, tmp_path)
    file = registry(tmp_path, here={}, other={"split": 2}, larger={"input_times": 1.5},
                    chain={"overrides": ["pretrain=coco+hyperkvasir"]})  # fmt: skip
    runs = read_registry(file)
    cells = make_plan(runs, list(runs), Asked(str(base))).cells
    needs = {name: by_seed[0].needs for name, by_seed in cells.items()}
    assert needs["here"] is None
    assert "split2/train.txt: no such split list" in str(needs["other"])
    assert "frames prepared at 96 px: `python -m data_utils.prepare --config" in str(needs["larger"])
    assert "imgsz_lr=96 imgsz_hr=192" in str(needs["larger"])
    assert "stage coco+hyperkvasir: " in str(needs["chain"])


def test_epochs_settings_and_seed_reach_the_config_and_the_runs_own_come_last(
    tiny_prepared: PreparedSet, tmp_path: Path
) -> None:
    base = base_config(tiny_prepared, tmp_path)
    runs = read_registry(registry(tmp_path, longer={"epochs_times": 2, "overrides": ["c2=3"]}))
    plan = make_plan(runs, ["longer"], Asked(str(base), ("c2=1", "c3=2"), epochs=5, seeds=(7,)))
    config = plan.jobs[0].config()
    assert (config.epochs, config.seed, config.c2, config.c3) == (10, 7, 3, 2)
    assert config.run.name == "ablation_longer_seed7"


def test_a_larger_input_leaves_external_sets_of_the_base_side_out(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    base = base_config(tiny_prepared, tmp_path, f"dataset.external={{ext: {{processed: '{tmp_path}'}}}}")
    runs = read_registry(registry(tmp_path, here={}, larger={"input_times": 1.5}))
    jobs = {job.name: job for job in make_plan(runs, list(runs), Asked(str(base))).jobs}
    assert [list(jobs[name].config().dataset.external) for name in ("here", "larger")] == [["ext"], []]


def test_an_unknown_override_is_named_with_the_nearest_key(tmp_path: Path) -> None:
    runs = read_registry(registry(tmp_path, bad={"overrides": ["lro=1"]}))
    with pytest.raises(InputError, match=r"run 'bad': .*did you mean 'lrf'"):
        make_plan(runs, ["bad"], Asked())


def test_a_folder_of_other_settings_is_refused(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    base = base_config(tiny_prepared, tmp_path)
    runs = read_registry(registry(tmp_path, one={}))
    before, now = (make_plan(runs, ["one"], Asked(str(base), epochs=epochs)).jobs for epochs in (1, 2))
    noted(before[0], Outcome("failed", "early"))
    refuse_other_settings(now)  # nothing was done there yet
    write_result(before[0])
    refuse_other_settings(before)
    with pytest.raises(InputError, match=r"seed0: holds this run with other settings \(epochs=1 then, epochs=2 now\)"):
        refuse_other_settings(now)


def test_another_split_is_named_and_a_lost_state_is_no_other_setting(
    tiny_prepared: PreparedSet, tmp_path: Path
) -> None:
    base = base_config(tiny_prepared, tmp_path)
    runs = read_registry(registry(tmp_path, one={}))
    (job,), (other,) = (make_plan(runs, ["one"], Asked(str(base), split=split)).jobs for split in (1, 2))
    write_result(job)
    refuse_other_settings([job])  # there is no state.json, and the result says enough
    with pytest.raises(InputError, match=r"with other settings \(--split 1 then, --split 2 now\)"):
        refuse_other_settings([other])
    (job.folder / "result.json").write_text('{"key": "a')
    with pytest.raises(InputError, match=r"no state\.json says with which settings .*ablation_one_seed0 was begun"):
        refuse_other_settings([job])


def test_a_damaged_plan_is_not_written_over(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    runs = read_registry(registry(tmp_path, one={}))
    asked = Asked(str(base_config(tiny_prepared, tmp_path)))
    plan = make_plan(runs, ["one"], asked)
    path = write_plan(plan, runs, asked, tmp_path / "results")
    torn = path.read_text()[:-20]
    path.write_text(torn)
    with pytest.raises(InputError, match=r"plan\.json: not a plan .*torn.*move it away"):
        write_plan(plan, runs, asked, tmp_path / "results")
    assert path.read_text() == torn


def test_the_plan_file_remembers_seeds_of_the_same_settings_alone(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    base = base_config(tiny_prepared, tmp_path)
    runs = read_registry(registry(tmp_path, one={}, two={}, three={"overrides": ["c2=1"]}))
    results = tmp_path / "results"
    asks = ((["one", "two"], (0, 1), 1), (["two"], (2,), 1), (["three"], (0,), 1), (["one"], (4,), 3))
    for names, seeds, epochs in asks:
        asked = Asked(str(base), seeds=seeds, epochs=epochs)
        path = write_plan(make_plan(runs, names, asked), runs, asked, results)
    noted_runs = read_saved_json(path)["runs"]
    assert noted_runs["two"]["seeds"] == {"0": "one/seed0", "1": "one/seed1", "2": "one/seed2"}
    assert noted_runs["one"]["seeds"] == {"4": "one/seed4"}
    assert [noted_runs["three"][key] for key in ("dataset", "imgsz", "split")] == ["tiny", 64, 1]
    assert json.loads(path.read_text())["version"] == 1


def test_the_plan_file_tells_what_the_command_asked_of_all_runs(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    base = str(base_config(tiny_prepared, tmp_path))
    runs = read_registry(registry(tmp_path, one={}, two={"epochs_times": 2}, three={}, four={}))
    place = f"run.results_dir={tmp_path / 'results'}"
    asks = (("one", 2, (place,)), ("two", 2, ()), ("three", 4, ()), ("four", 2, ("c1=5", place)))
    for name, epochs, settings in asks:
        asked = Asked(base, settings, epochs)
        write_plan(make_plan(runs, [name], asked), runs, asked, tmp_path / "results")
    planned = read_plan(tmp_path / "results")
    assert planned["two"].epochs == planned["three"].epochs == 4
    assert planned["one"].base == planned["two"].base  # twice the epochs of one command
    assert len({planned[name].base for name in ("one", "three", "four")}) == 3
    assert planned["four"].made_from == f"{base} c1=5"


def test_a_torn_file_reads_as_empty(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"key": "a')
    assert read_saved_json(tmp_path / "x.json") == read_saved_json(tmp_path / "none.json") == {}
