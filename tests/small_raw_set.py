"""A raw YOLO set of twelve small frames with spaces and umlauts in its paths, and how the tests prepare it."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from data_utils.config.loading import load_config
from data_utils.config.sections import Config
from data_utils.prepare import prepare
from data_utils.prepare.steps import PrepareReport

LESION = "0 0.5 0.25 0.1 0.2\n"
N_PATIENTS = 6
SMALL = ("imgsz_lr=32", "imgsz_hr=64")


def noise(side: int, seed: int) -> np.ndarray:
    """Sharp frame uint8 [side, side, 3] BGR."""
    return np.random.default_rng(seed).integers(0, 200, (side, side, 3), dtype=np.uint8)


def save(path: Path, bgr: np.ndarray) -> None:
    """Write a frame, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), bgr)


def add_frame(raw: Path, name: str, patient: str, *, lesion: bool = True, side: int = 60, seed: int = 0) -> Path:
    """Add a sharp frame, its label file and its metadata line to a raw set."""
    save(raw / "images" / name, noise(side, seed))
    label = (raw / "labels" / name).with_suffix(".txt")
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text(LESION if lesion else "")
    metadata = raw / "metadata.csv"
    if not metadata.exists():
        metadata.write_text("filename,patient_id,dataset_source,modality\n")
    with metadata.open("a", encoding="utf-8") as stream:
        stream.write(f"{name},{patient},S1,NBI\n")
    return raw / "images" / name


def make_raw_set(folder: Path) -> Path:
    """Six patients with a lesion frame and a healthy one each; patient 0's frames are large enough for a native HR."""
    for p in range(N_PATIENTS):
        for i in range(2):
            add_frame(folder, f"p{p} {i}.png", f"P{p}", lesion=i == 0, side=64 if p == 0 else 60, seed=10 * p + i)
    return folder


def config_for(raw: Path, *overrides: str) -> Config:
    """The published config at LR 32 / HR 64, with every output in the raw folder's parent."""
    root = raw.parent
    return load_config(
        Path(__file__).parents[1] / "configs/train.yaml",
        [*SMALL, f"dataset.raw={raw}", f"dataset.processed={root}/out", "dataset.filter.min_bytes=0",
         f"dataset.splits={root}/splits", f"dataset.filter_log={root}/results/log.csv", *overrides],
    )  # fmt: skip


def run_prepare(raw: Path, *overrides: str, workers: int = 1) -> PrepareReport:
    """Prepare `raw` in this process, unless told otherwise."""
    return prepare(config_for(raw, *overrides), workers=workers, progress=False)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """{path below `folder`: (bytes, time of the last write)}."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def changed(before: dict[str, tuple[bytes, int]], after: dict[str, tuple[bytes, int]]) -> set[str]:
    """Copies and labels that appeared, vanished or were written anew."""
    return {n for n in before.keys() | after.keys() if before.get(n) != after.get(n) and n.startswith(("lr/", "hr/"))}


def exclusions(raw: Path) -> dict[str, str]:
    """{filename: reason} of the filter log."""
    with (raw.parent / "results/log.csv").open(newline="", encoding="utf-8") as stream:
        return {row["filename"]: row["reason"] for row in csv.DictReader(stream)}
