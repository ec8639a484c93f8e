"""Our inference beside ultralytics' `predict`: the same weights, the same video, annotated copies saved by both.

Each side annotates the whole clip in a process of its own, model opened and warmed up before the clock starts; sides
take turns, so that what else the machine does meets all alike.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_utils.errors import InputError
from data_utils.processes import available_cores
from evaluation.child_process import Report, in_a_child

CONF, IOU = 0.25, 0.45  # of both sides
LONGEST_SECONDS = 900  # of one side's turn
ULTRALYTICS = "ultralytics"


@dataclass(frozen=True)
class Side:
    """What annotates the clip.

    weights: our file, or with `rect` not None the checkpoint whose weights ultralytics gets. rect: whether it lets the
    input follow the frame's shape. threads: PyTorch's in ultralytics, None for the number it sets itself.
    """

    name: str
    weights: Path
    rect: bool | None = None
    threads: int | None = None


def sides_of(files: Sequence[tuple[str, Path]], checkpoint: Path) -> list[Side]:
    """List ours, by name and file, and ultralytics' four: square and rectangular, its own threads and all cores."""
    cores = available_cores()
    theirs = [
        Side(f"{ULTRALYTICS} {shape}, {'its own threads' if threads is None else f'{threads} threads'}", checkpoint,
             rect, threads)
        for shape, rect in (("square", False), ("rect", True))
        for threads in (None, cores)
    ]  # fmt: skip
    return [*(Side(name, path) for name, path in files), *theirs]


def compare_sides(sides: Sequence[Side], clip: Path, rounds: int) -> dict[str, list[float]]:
    """Return frames per second of each side in each round; raises InputError when a side fails."""
    fps: dict[str, list[float]] = {side.name: [] for side in sides}
    for turn in range(rounds):
        for side in sides if turn % 2 == 0 else reversed(sides):
            found, failure = in_a_child(_annotate, (side, clip), LONGEST_SECONDS)
            if failure:
                raise InputError(f"{side.name}: {failure}")
            fps[side.name].append(found["fps"])
    return fps


def ratio_rows(fps: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Return a row for each pair of ours and theirs: the ratio of the medians."""
    medians = {name: statistics.median(values) for name, values in fps.items()}
    theirs = [name for name in fps if name.startswith(ULTRALYTICS)]
    return [
        {"ours": ours, "theirs": other, "ratio": round(medians[ours] / medians[other], 3)}
        for ours in fps if ours not in theirs for other in theirs
    ]  # fmt: skip


def _annotate(job: tuple[Side, Path], report: Report) -> None:
    side, clip = job
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        measure = _ours if side.rect is None else _ultralytics
        n_frames, seconds = measure(side, clip, Path(scratch))
    report({"fps": n_frames / seconds, "frames": n_frames})


def _ours(side: Side, clip: Path, out_dir: Path) -> tuple[int, float]:
    from deployment.inference import InferenceRun, find_sources
    from deployment.runtimes.registry import open_backend
    from models.predictor import Predictor

    run = InferenceRun(Predictor(open_backend(side.weights, "cpu", throughput=True), CONF, IOU), out_dir)
    summary = run.run(find_sources(str(clip)))
    return summary.frames, summary.seconds


def _ultralytics(side: Side, clip: Path, out_dir: Path) -> tuple[int, float]:
    import torch

    from models.backbone import ultralytics_module
    from models.checkpoint import load_model

    model, config, _ = load_model(side.weights)
    detector: Any = model.backbone.detector
    detector.names = dict(enumerate(config.dataset.names))
    theirs = ultralytics_module("models.yolo.model").YOLO(detector.yaml["yaml_file"], task="detect")
    theirs.model = detector
    settings: dict[str, Any] = {
        "imgsz": config.imgsz_lr, "rect": side.rect, "conf": CONF, "iou": IOU, "device": "cpu", "save": True,
        "verbose": False, "project": str(out_dir), "stream": True, "exist_ok": True,
    }  # fmt: skip
    blank = np.zeros((720, 1280, 3), np.uint8)
    list(theirs.predict(blank, **settings))  # sets up and warms up, and sets the number of threads
    if side.threads is not None:
        torch.set_num_threads(side.threads)
    start = time.perf_counter()
    n_frames = sum(1 for _ in theirs.predict(str(clip), **settings))
    return n_frames, time.perf_counter() - start
