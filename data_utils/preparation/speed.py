"""The measurements behind `python -m data_utils.benchmark`."""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.audit import audit
from data_utils.config.loading import load_config
from data_utils.files import write_text
from data_utils.imaging.images import encode_image, list_images, read_bgr
from data_utils.prepare import prepare
from data_utils.processes import available_cores
from data_utils.synthetic import make_dataset

LR_SIDE, HR_SIDE, JPEG_QUALITY = 640, 1280, 95  # the published sizes
N_SCENES = 12  # drawn once; every frame is one of them, turned and shifted, with noise of its own
FRAMES_PER_PATIENT = 2
CHUNK = 4  # frames a process takes at a time, as `prepare` does
CONFIG = Path(__file__).parents[2] / "configs" / "train.yaml"


def run_benchmarks(
    n_frames: int,
    size: tuple[int, int],
    workers: int | None,
    repeats: int,
    n_audited: int,
    folder: Path | None,
    save: Path | None,
) -> None:
    """Measure, print, and save the figures as JSON if asked to; `size` is (width, height) in pixels."""
    workers = workers or available_cores()
    with tempfile.TemporaryDirectory(prefix="sre-yolo-benchmark-") as scratch:
        root = folder or Path(scratch)
        raw = draw_frames(root / "frames", n_frames, size)
        figures: dict[str, Any] = {"frames": n_frames, "size": list(size), "processes": workers}
        figures |= compare_preparing(raw, root, workers, repeats)
        if n_audited:
            figures |= compare_audits(root, n_audited, repeats)
    figures["peak_mb_of_a_process"] = round(_peak_bytes() / 1e6)
    print(json.dumps(figures, indent=2))
    if save:
        write_text(save, json.dumps(figures, indent=2) + "\n")


def compare_preparing(raw: Path, root: Path, workers: int, repeats: int) -> dict[str, Any]:
    """Time `prepare` of a raw set against bare OpenCV, in turn; the ratio is that of the medians."""
    seconds: dict[str, list[float]] = {"bare": [], "prepare": []}
    for turn in range(repeats):
        for side, work in (("bare", prepare_barely), ("prepare", prepare_fully)):
            target = root / f"{side}{turn}"
            seconds[side].append(_timed(partial(work, raw, target, workers)))
            shutil.rmtree(target)
    ratio = statistics.median(seconds["prepare"]) / statistics.median(seconds["bare"])
    return {**{f"{side}_s": _rounded(values) for side, values in seconds.items()}, "ratio": round(ratio, 3)}


def compare_audits(root: Path, n_frames: int, repeats: int) -> dict[str, Any]:
    """Time the first audit of `n_frames` frames and of twice as many, in turn."""
    seconds: dict[int, list[float]] = {n_frames: [], 2 * n_frames: []}
    configs = {}
    for n in seconds:
        folder = root / f"audited{n}"
        raw = draw_frames(folder / "frames", n, (320, 180))
        configs[n] = _config(raw, folder, "imgsz_lr=160", "imgsz_hr=320")
        prepare(configs[n], progress=False)
    for _ in range(repeats):
        for n, config in configs.items():
            for cache in Path(config.dataset.processed).glob("audit*"):
                cache.unlink()
            seconds[n].append(_timed(partial(audit, config, [1])))
    medians = {n: statistics.median(values) for n, values in seconds.items()}
    return {
        **{f"audit_{n}_s": _rounded(values) for n, values in seconds.items()},
        "audit_ratio": round(medians[2 * n_frames] / medians[n_frames], 3),
    }


def draw_frames(folder: Path, n_frames: int, size: tuple[int, int]) -> Path:
    """Draw a raw YOLO set of JPEG frames of `size` (width, height) pixels; a folder that holds them is used again."""
    images, labels = folder / "images", folder / "labels"
    if images.is_dir() and len(list_images(images)) == n_frames:
        return folder
    make_dataset(folder.with_name("scenes"), n_patients=6, n_frames=N_SCENES, size=512, seed=0)
    scenes = [read_bgr(path).bgr for path in list_images(folder.with_name("scenes") / "images")]
    images.mkdir(parents=True)
    labels.mkdir()
    lines = ["filename,patient_id,dataset_source"]
    for index in range(n_frames):
        frame = _variation(scenes[index % len(scenes)], size, np.random.default_rng(index))
        (images / f"{index:05}.jpg").write_bytes(encode_image(frame, ".jpg", 90))
        (labels / f"{index:05}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
        lines.append(f"{index:05}.jpg,P{index // FRAMES_PER_PATIENT},drawn")
    write_text(folder / "metadata.csv", "\n".join(lines) + "\n")
    return folder


def prepare_fully(raw: Path, target: Path, workers: int) -> None:
    """Prepare a raw set from nothing."""
    prepare(_config(raw, target), workers=workers, progress=False)


def prepare_barely(raw: Path, target: Path, workers: int) -> None:
    """Decode, resize twice and encode twice with OpenCV alone, in `workers` processes."""
    for name in ("lr", "hr"):
        (target / name).mkdir(parents=True)
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _one_thread) as pool:
        list(pool.map(partial(_copy_barely, target), list_images(raw / "images"), chunksize=CHUNK))


def _copy_barely(target: Path, path: Path) -> None:
    bgr = cv2.imread(str(path))
    assert bgr is not None, path
    for name, side, how in (("lr", LR_SIDE, cv2.INTER_LINEAR), ("hr", HR_SIDE, cv2.INTER_CUBIC)):
        image = cv2.resize(bgr, (side, side), interpolation=how)
        cv2.imwrite(str(target / name / path.name), image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def _one_thread() -> None:
    cv2.setNumThreads(1)


def _config(raw: Path, target: Path, *overrides: str) -> Any:
    paths = {"raw": raw, "processed": target / "processed", "splits": target / "splits"}
    settings = [f"dataset.{name}={path}" for name, path in paths.items()]
    limits = "dataset.filter={blur_thresh: null, bright_min: null, bright_max: null, glare_max: null, min_bytes: null}"
    return load_config(CONFIG, [*settings, f"dataset.filter_log={target / 'filter_log.csv'}", limits,
                                f"run.results_dir={target / 'results'}", *overrides])  # fmt: skip


def _variation(scene: NDArray[np.uint8], size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn, zoom and shift a scene, enlarge it to `size` (width, height), and add a sensor's noise."""
    side = scene.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(0, 360), rng.uniform(1.0, 1.6))
    matrix[:, 2] += rng.uniform(-side / 8, side / 8, 2)
    turned = cv2.warpAffine(scene, matrix, (side, side), borderMode=cv2.BORDER_REFLECT)
    large = cv2.resize(turned, size, interpolation=cv2.INTER_CUBIC)
    coarse = rng.normal(0, 6, (size[1] // 2, size[0] // 2, 1)).astype(np.float32)
    noise = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)[:, :, None]
    return np.clip(large + noise, 0, 255).astype(np.uint8)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _rounded(seconds: Sequence[float]) -> list[float]:
    return [round(value, 2) for value in seconds]


def _peak_bytes() -> int:
    """Return the largest resident memory of any process so far, this one and those it waited for."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
