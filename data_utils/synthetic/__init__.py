"""The demo data: a seeded, larynx-like data set with exact boxes, written as raw frames for the usual preparation.

    python -m data_utils.synthetic --out data/demo/raw

writes images/*.jpg, labels/*.txt (YOLO; an empty file is a healthy frame), metadata.csv, and synthetic.json, the stamp
by which a second run sees that nothing is left to do. How the scene is drawn: scene.py, frame.py and plan.py.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_utils.errors import InputError

if TYPE_CHECKING:
    from data_utils.synthetic.plan import FramePlan

N_PATIENTS, N_FRAMES, SIZE = 60, 240, 640
MIN_SIZE = 128  # pixels; smaller frames cannot hold a large lesion
JPEG_QUALITY = 95
STAMP = "synthetic.json"
METADATA = "metadata.csv"
METADATA_COLUMNS = ("filename", "patient_id", "dataset_source", "modality", "has_lesion")
SERIAL_PIXELS = 5_000_000  # to draw; for less, starting processes costs more than it saves


def make_dataset(
    out_dir: str | Path,
    n_patients: int = N_PATIENTS,
    n_frames: int = N_FRAMES,
    size: int = SIZE,
    seed: int = 0,
    *,
    workers: int | None = None,
    progress: bool = False,
) -> dict[str, int]:
    """Draw the data set into `out_dir`, unless it is there already with the same settings; return what it holds.

    `size` is the side of the square frames in pixels. The files depend on the first five arguments alone, never on
    `workers` (processes; by default one for each core). The counts: patients, frames, lesion_frames, healthy_frames,
    planted_rejects (frames the filter must exclude), lesions, and lesions by size (small, medium, large; frame pixels).
    Raises InputError for impossible numbers, or when `out_dir` holds files that this function did not make.
    """
    _check(n_patients, n_frames, size, seed)
    out_dir = Path(out_dir)
    settings = {"n_patients": n_patients, "n_frames": n_frames, "size": size, "seed": seed, "drawing": _drawing_hash()}
    stamp = _read_stamp(out_dir)
    if stamp.get("settings") == settings and _is_complete(out_dir, stamp):
        return stamp["counts"]
    _clear(out_dir, stamp)
    _write_stamp(out_dir, {"settings": settings})  # without counts: begun, not finished
    plans, areas = _draw_all(out_dir, settings, workers, progress)
    _write_metadata(out_dir / METADATA, plans, areas)
    counts = _count(plans, areas)
    _write_stamp(out_dir, {"settings": settings, "counts": counts})
    return counts


def _check(n_patients: int, n_frames: int, size: int, seed: int) -> None:
    if n_patients < 1 or n_frames < n_patients:
        raise InputError(f"--patients {n_patients} --frames {n_frames}: needs 1 patient or more, and a frame for each")
    if size < MIN_SIZE or size % 2:
        raise InputError(f"--size {size}: allowed are even numbers from {MIN_SIZE} pixels up")
    if seed < 0:
        raise InputError(f"--seed {seed}: allowed are whole numbers from 0 up")


def _drawing_hash() -> str:
    """Hash the drawing code: a changed drawing is a changed setting."""
    sources = [Path(__file__), *sorted((Path(__file__).parent / "larynx").glob("*.py"))]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]


def _read_stamp(out_dir: Path) -> dict:
    try:
        stamp = json.loads((out_dir / STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{out_dir / STAMP}: unreadable ({error}); delete the folder and run again") from None
    if not isinstance(stamp, dict) or "settings" not in stamp:
        raise InputError(f"{out_dir / STAMP}: not a stamp of this command; name another folder with --out")
    return stamp


def _write_stamp(out_dir: Path, stamp: dict) -> None:
    from data_utils.files import write_text

    write_text(out_dir / STAMP, json.dumps(stamp, indent=1) + "\n")


def _is_complete(out_dir: Path, stamp: dict) -> bool:
    if "counts" not in stamp or not (out_dir / METADATA).is_file():
        return False
    found = (sum(1 for _ in (out_dir / part).glob("*")) for part in ("images", "labels"))
    return all(number == stamp["counts"]["frames"] for number in found)


def _clear(out_dir: Path, stamp: dict) -> None:
    """Make way for a new drawing; only a folder that carries our stamp is ever emptied."""
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f"{out_dir}: is a file; name a folder with --out")
    if not stamp and out_dir.is_dir() and any(out_dir.iterdir()):
        raise InputError(f"{out_dir}: holds files this command did not make; name an empty folder with --out")
    for part in ("images", "labels"):
        if (out_dir / part).exists():
            shutil.rmtree(out_dir / part)
        (out_dir / part).mkdir(parents=True)


def _draw_all(
    out_dir: Path, settings: dict, workers: int | None, progress: bool
) -> tuple[list[FramePlan], list[list[float]]]:
    """Draw every frame, in processes where that pays; return the plans and each frame's box areas (square pixels)."""
    import contextlib
    from functools import partial

    from tqdm import tqdm

    from data_utils.processes import available_cores, map_in_processes
    from data_utils.synthetic.plan import plan_frames

    size, n_frames = settings["size"], settings["n_frames"]
    plans = plan_frames(settings["n_patients"], n_frames, size, settings["seed"])
    draw = partial(_draw_to_files, out_dir)
    bar = partial(tqdm, total=n_frames, desc="drawing", unit="frame", disable=not progress or None)
    workers = workers or available_cores()
    if workers == 1 or n_frames * size * size < SERIAL_PIXELS:
        return plans, list(bar(map(draw, plans)))
    with contextlib.closing(map_in_processes(draw, plans, workers=workers, chunk=2)) as drawn:
        return plans, list(bar(drawn))


def _draw_to_files(out_dir: Path, plan: FramePlan) -> list[float]:
    """Draw one frame, write its image and label files, and return the areas of its boxes in square pixels."""
    import numpy as np

    from data_utils.formats.yolo import write_labels
    from data_utils.imaging.images import write_image
    from data_utils.records import Annotation, area_xyxy, xyxy_to_cxcywhn
    from data_utils.synthetic.frame import draw_frame

    drawing = draw_frame(plan)
    boxes_xyxy = np.array(drawing.boxes_xyxy, dtype=np.float64).reshape(-1, 4)
    class_ids = np.zeros(len(boxes_xyxy), dtype=np.int64)
    annotation = Annotation(xyxy_to_cxcywhn(boxes_xyxy, plan.camera.side, plan.camera.side), class_ids)
    write_image(out_dir / "images" / f"{plan.stem}.jpg", drawing.bgr, JPEG_QUALITY)
    write_labels(out_dir / "labels" / f"{plan.stem}.txt", annotation)
    return area_xyxy(boxes_xyxy).tolist()


def _count(plans: Sequence[FramePlan], areas: Sequence[Sequence[float]]) -> dict[str, int]:
    sizes = Counter("small" if a < 32**2 else "medium" if a < 96**2 else "large" for frame in areas for a in frame)
    return {
        "patients": len({plan.patient_id for plan in plans}),
        "frames": len(plans),
        "lesion_frames": sum(bool(frame) for frame in areas),
        "healthy_frames": sum(not frame for frame in areas),
        "planted_rejects": sum(plan.defect is not None for plan in plans),
        "lesions": sum(map(len, areas)),
        **{size: sizes[size] for size in ("small", "medium", "large")},
    }


def _write_metadata(path: Path, plans: Sequence[FramePlan], areas: Sequence[Sequence[float]]) -> None:
    from data_utils.files import write_csv

    rows = [
        (f"{plan.stem}.jpg", plan.patient_id, plan.source, plan.modality, int(bool(frame)))
        for plan, frame in zip(plans, areas, strict=True)
    ]
    write_csv(path, METADATA_COLUMNS, [dict(zip(METADATA_COLUMNS, row, strict=True)) for row in rows])
