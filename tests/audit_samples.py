"""A prepared set of distinct, textured frames, written at once, for the tests of the audit to plant faults in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from conftest import REPO_ROOT

from data_utils.config.loading import load_config
from data_utils.config.sections import Config
from data_utils.imaging.images import encode_image, file_hash, write_image
from data_utils.manifest import ManifestRow, read_manifest, write_manifest

LR = 128
PARTS = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}
BOX = "0 0.5 0.5 0.2 0.2\n"


def texture(seed: int, side: int = LR) -> np.ndarray:
    """Smooth random blobs, uint8 [side, side, 3]; no two seeds look alike."""
    noise = np.random.default_rng(seed).normal(size=(LR // 4, LR // 4, 3)).astype(np.float32)
    smooth = cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 45 * smooth, 0, 255).astype(np.uint8)


def row(stem: str, path: Path, patient: str = "", **more: object) -> ManifestRow:
    """A manifest line; the source's hash is that of the LR file unless told otherwise."""
    patient = patient or f"patient of {stem}"
    given = ManifestRow(stem, f"{stem}.jpg", patient, patient, "clinic", "WLI", LR, LR, "native", 1, file_hash(path))
    return replace(given, **more)  # type: ignore[arg-type]


def add_frame(processed: Path, stem: str, bgr: np.ndarray, patient: str = "", **more: object) -> Path:
    """Write a frame's LR and HR copies, labels and manifest line; returns the LR path."""
    path = processed / "lr" / "images" / f"{stem}.jpg"
    write_image(path, cv2.resize(bgr, (LR, LR)) if bgr.shape[:2] != (LR, LR) else bgr)
    write_image(processed / "hr" / "images" / path.name, cv2.resize(bgr, (2 * LR, 2 * LR)))
    label = processed / "lr" / "labels" / f"{stem}.txt"
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text(BOX)
    manifest = processed / "manifest.csv"
    rows = read_manifest(manifest) if manifest.exists() else {}
    write_manifest(manifest, {**rows, stem: row(stem, path, patient, **more)}.values())
    return path


def write_list(folder: Path, part: str, stems: Sequence[str], split: int = 1) -> Path:
    """Write one split list of a set made by `make_set`."""
    path = folder / "splits" / f"split{split}" / f"{part}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{folder / 'out' / 'lr' / 'images' / stem}.jpg\n" for stem in stems))
    return path


def make_set(folder: Path, parts: Mapping[str, Sequence[int]] = PARTS) -> Config:
    """Ten distinct frames f0..f9 of ten patients: six train, two validate, two test. Returns the config."""
    for part, seeds in parts.items():
        for seed in seeds:
            add_frame(folder / "out", f"f{seed}", texture(seed))
        write_list(folder, part, [f"f{seed}" for seed in seeds])
    return config_of(folder)


def config_of(folder: Path, *overrides: str) -> Config:
    """The config of a set made by `make_set`."""
    return load_config(REPO_ROOT / "configs" / "train.yaml", [*settings_of(folder), *overrides])


def settings_of(folder: Path) -> list[str]:
    """The overrides that describe a set made by `make_set`."""
    return [
        f"imgsz_lr={LR}", f"imgsz_hr={2 * LR}", "dataset.name=textures", f"dataset.processed='{folder / 'out'}'",
        f"dataset.splits='{folder / 'splits'}'", f"run.results_dir='{folder / 'results'}'",
    ]  # fmt: skip


def recompressed(bgr: np.ndarray, quality: int = 40) -> np.ndarray:
    """The frame after a lossy save."""
    return cv2.imdecode(np.frombuffer(encode_image(bgr, ".jpg", quality), np.uint8), cv2.IMREAD_COLOR)


def cropped(bgr: np.ndarray, share: float = 0.05) -> np.ndarray:
    """The frame without `share` of its side at each edge."""
    cut = round(len(bgr) * share)
    return bgr[cut:-cut, cut:-cut]


def halved(bgr: np.ndarray) -> np.ndarray:
    """The frame at half its size."""
    return cv2.resize(bgr, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
