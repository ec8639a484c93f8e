"""The command: killed, out of room, given bad input; and the real sample sets through it."""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from image_samples import WARNED_OF
from small_raw_set import (
    SMALL,
    add_frame,
    config_for,
    snapshot,
)

from data_utils.config.loading import load_config, override_config
from data_utils.errors import InputError, run_command
from data_utils.formats import read_raw_set
from data_utils.imaging.images import WARNED
from data_utils.manifest import read_manifest
from data_utils.prepare import frame_jobs, prepare
from data_utils.prepare.__main__ import main
from data_utils.prepare.folders import FILE_NAME, read_state
from data_utils.preprocess import check_pairs
from data_utils.splits.predefined import predefined_split
from data_utils.splits.search import SplitItem, check_split


@pytest.mark.integration
def test_a_killed_command_goes_on_where_it_was(raw: Path, repo_root: Path) -> None:
    for i in range(40):
        add_frame(raw, f"more{i}.png", f"P{i % 6}", side=400, seed=i)
    overrides = [f"dataset.{key}={value}" for key, value in (
        ("raw", raw), ("processed", raw.parent / "out"), ("splits", raw.parent / "splits"),
        ("filter_log", raw.parent / "log.csv"),
    )]  # fmt: skip
    command = [sys.executable, "-m", "data_utils.prepare", "--workers", "2", *overrides, "imgsz_lr=320", "imgsz_hr=640"]
    process = subprocess.Popen(command, cwd=repo_root, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    state = raw.parent / "out" / FILE_NAME
    deadline = time.monotonic() + 60
    while (not state.exists() or len(state.read_bytes()) < 1000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(read_state(state))
    assert 0 < done < 52
    assert not (raw.parent / "out/manifest.csv").exists()
    finished = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert f"{done} reused" in finished.stdout
    assert "next: python train.py --config configs/train.yaml --split 1" in finished.stdout
    assert check_pairs(raw.parent / "out/lr/images", raw.parent / "out/hr/images") == []
    assert not list((raw.parent / "out").rglob(".tmp-*"))


@pytest.mark.integration
def test_bad_input_is_one_line_and_exit_2(tmp_path: Path, repo_root: Path) -> None:
    command = [sys.executable, "-m", "data_utils.prepare", f"dataset.raw={tmp_path}/nothing"]
    result = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "nothing" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_help_needs_no_heavy_import(repo_root: Path) -> None:
    code = (
        "import sys\nfrom data_utils.prepare.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'numpy', 'cv2', 'torch', 'pydantic', 'yaml'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=repo_root, capture_output=True, text=True, timeout=60)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


def test_workers_below_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--workers", "0"])
    assert stopped.value.code == 2
    assert "--workers 0: at least 1" in capsys.readouterr().err


@pytest.mark.integration
def test_bccd_keeps_its_own_split(shared_data: Path, tmp_path: Path, repo_root: Path) -> None:
    overrides = [f"dataset.raw={shared_data / 'bccd'}", f"dataset.processed={tmp_path}/out", *SMALL]
    overrides += [f"dataset.splits={tmp_path}/splits", f"dataset.filter_log={tmp_path}/log.csv"]
    report = prepare(load_config(repo_root / "configs/bccd.yaml", overrides), progress=False)
    assert (report.n_kept, report.n_excluded, report.n_native) == (364, 0, 364)
    assert [(row["part"], row["frames"]) for row in report.split_rows] == [("train", 205), ("val", 87), ("test", 72)]
    assert report.read_counts["boxes dropped: without area"] == 2
    assert any("NOT patient-independent" in note for note in report.notes)


@pytest.mark.integration
def test_vocalfolds_keeps_sequences_whole(shared_data: Path, repo_root: Path) -> None:
    raw = shared_data / "vocalfolds"
    dataset = load_config(repo_root / "configs/vocalfolds.yaml", [f"dataset.raw={raw}"]).dataset
    items = [
        SplitItem(
            frame.stem,
            frame.image_path.relative_to(raw).as_posix(),
            frame.patient_id,
            frame.group,
            has_lesion=len(frame.annotation) > 0,
        )
        for frame in read_raw_set(dataset).frames
    ]
    assert dataset.split.predefined is not None
    split, notes = predefined_split(items, dataset.split.predefined, raw)
    check_split(split, dataset.group)
    assert notes == []
    counts = [(len(part), sum(item.has_lesion is True for item in part)) for part in split.values()]
    assert counts == [(265, 30), (34, 28), (48, 0)]


def test_a_disk_that_fills_up_midway_ends_with_75(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_for(raw)

    def full(path: Path, *_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(frame_jobs, "write_image", full)
    with pytest.raises(SystemExit) as stopped:
        run_command(lambda: prepare(config, workers=1, progress=False) and 0)
    assert stopped.value.code == 75


def arguments(raw: Path, *more: str) -> list[str]:
    """The command line that prepares `raw` into its parent folder."""
    paths = {"raw": raw, "processed": raw.parent / "out", "splits": raw.parent / "splits",
             "filter_log": raw.parent / "results/log.csv"}  # fmt: skip
    return [*SMALL, *(f"dataset.{key}={path}" for key, path in paths.items()), "dataset.filter.min_bytes=0",
            "--config", str(Path(__file__).parents[1] / "configs/train.yaml"), "--workers", "1", *more]  # fmt: skip


def test_a_device_whose_jpegs_decoders_warn_of_prepares_with_a_count(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (data, _) in enumerate(WARNED_OF.values()):
        add_frame(raw, f"phone{number}.png", f"P{number % 6}", lesion=False).unlink()
        (raw / f"images/phone{number}.JPE").write_bytes(data)
    with (raw / "metadata.csv").open("a") as stream:
        stream.writelines(f"phone{number}.JPE,P{number % 6},S1,NBI\n" for number in range(len(WARNED_OF)))
    assert main(arguments(raw, "dataset.filter.blur_thresh=0")) == 0
    assert f"{len(WARNED_OF)} {WARNED}" in capsys.readouterr().out
    rows = read_manifest(raw.parent / "out/manifest.csv").values()
    assert sum(WARNED in row.notes for row in rows) == len(WARNED_OF)


def test_preview_is_written_beside_the_filter_log(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(raw, "--preview", "dataset.filter.bright_max=239")) == 0
    page = raw.parent / "results/log.html"
    assert f"preview    {page}" in capsys.readouterr().out
    assert "dataset.filter.bright_max" in page.read_text(encoding="utf-8")


def test_preview_is_there_when_nothing_is_left(raw: Path) -> None:
    with pytest.raises(InputError, match="all 12 frames were excluded"):
        main(arguments(raw, "--preview", "dataset.filter.bright_min=239"))
    assert (raw.parent / "results/log.html").is_file()


def test_a_zipped_raw_set_is_prepared_as_it_is(raw: Path) -> None:
    archive = shutil.make_archive(str(raw.parent / "export"), "zip", raw)
    main(arguments(raw.parent / "export.zip"))
    manifest = (raw.parent / "out/manifest.csv").read_bytes()
    labels = snapshot(raw.parent / "out/lr/labels")
    assert Path(archive).is_file()
    shutil.rmtree(raw.parent / "out")
    main(arguments(raw))
    assert (raw.parent / "out/manifest.csv").read_bytes() == manifest
    assert {name: data for name, (data, _) in labels.items()} == {
        name: data for name, (data, _) in snapshot(raw.parent / "out/lr/labels").items()
    }


def test_the_metadata_of_a_zipped_set_may_lie_beside_it(raw: Path) -> None:
    (raw / "metadata.csv").rename(raw.parent / "metadata.csv")
    shutil.make_archive(str(raw.parent / "export"), "zip", raw)
    assert main(arguments(raw.parent / "export.zip")) == 0


def test_frames_that_nobody_labelled_are_prepared_without_a_label(raw: Path, tmp_path: Path) -> None:
    """Labels in the folder, even bad ones, are not looked at, and those of an earlier preparation go."""
    config = load_config(
        "configs/train.yaml",
        [
            *(f"dataset.{key}='{tmp_path / key}'" for key in ("processed", "splits", "filter_log")),
            *(f"dataset.raw='{raw}'", "dataset.group=image", "dataset.filter={blur_thresh: null, min_bytes: null}"),
            *("dataset.split={ratios: [60, 20, 20], n_splits: 1}", "imgsz_lr=64", "imgsz_hr=128"),
        ],
    )
    labelled = prepare(config, workers=1, progress=False)
    assert labelled.n_boxes > 0
    for label in raw.rglob("labels/*.txt"):
        label.write_text("no label at all\n")
    report = prepare(override_config(config, ["dataset.labelled=false"]), workers=1, progress=False)
    assert (report.n_read, report.n_kept, report.n_boxes) == (labelled.n_read, labelled.n_kept, 0)
    assert report.n_written == 0
    assert not list((tmp_path / "processed").rglob("*.txt"))
    assert any("no label was read" in note for note in report.notes)
