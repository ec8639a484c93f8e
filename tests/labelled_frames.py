"""A prepared data set as far as lists, labels and manifest go: its images are empty files, for tests that open none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conftest import REPO_ROOT

from data_utils.config.loading import load_config
from data_utils.config.sections import Config
from data_utils.manifest import ManifestRow, write_manifest

Box = tuple[int, float, float]  # class, width and height as shares of the frame


def labelled_config(folder: Path, names: Sequence[str], *overrides: str) -> Config:
    """Settings of the set in `folder`: LR 320 px."""
    return load_config(REPO_ROOT / "configs" / "train.yaml", [
        f"dataset.processed='{folder / 'processed'}'", f"dataset.splits='{folder / 'splits'}'",
        f"run.results_dir='{folder / 'results'}'", "imgsz_lr=320", "imgsz_hr=640", "dataset.name=drawn",
        f"dataset.nc={len(names)}", f"dataset.names=[{', '.join(names)}]", *overrides,
    ])  # fmt: skip


def write_frames(folder: Path, frames: Sequence[Sequence[Box]], *, size: tuple[int, int] = (640, 480)) -> list[Path]:
    """Write frame i, `size` pixels as recorded, with boxes frames[i] near its centre; all go into split1/train."""
    images, labels = folder / "processed/lr/images", folder / "processed/lr/labels"
    for path in (images, labels, folder / "splits/split1"):
        path.mkdir(parents=True, exist_ok=True)
    paths, rows = [], []
    for index, boxes in enumerate(frames):
        stem = f"f{index:04}"
        paths.append(images / f"{stem}.jpg")
        paths[-1].touch()
        lines = (  # equal boxes stand beside each other: readers drop a second one in the same place
            f"{box[0]} {0.5 - 0.002 * boxes[:n].count(box):.6f} 0.5 {box[1]:.6f} {box[2]:.6f}\n"
            for n, box in enumerate(boxes)
        )
        (labels / f"{stem}.txt").write_text("".join(lines))
        rows.append(ManifestRow(stem, f"{stem}.jpg", "p", "p", "s", "WL", *size, "native", len(boxes), "0" * 32))
    (folder / "splits/split1/train.txt").write_text("".join(f"{path}\n" for path in paths))
    write_manifest(folder / "processed/manifest.csv", rows)
    return paths
