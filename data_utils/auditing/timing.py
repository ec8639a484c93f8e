"""Time the audit on many frames, to see that its cost grows no faster than they do.

    python -m data_utils.auditing.timing --config configs/vocalfolds.yaml --frames 2500 5000

The frames are random views (turned, zoomed, shifted, brightened) of a set's own ones, so that they come in clusters of
similar frames as video does, which is the hard case for a search of neighbours. They are made in a temporary folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_utils.errors import run_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from data_utils.config_sections import Config

SHARES = {"train": 0.89, "val": 0.07, "test": 0.04}  # of the frames, as the published splits
MOST_SOURCES = 200  # frames of the set that views are made of
LABEL = "0 0.5 0.5 0.2 0.2\n"


def time_audit(config: Config, n_frames: int, *, seed: int = 0, workers: int | None = None) -> float:
    """Return the seconds that auditing one split of `n_frames` new frames takes, without a cache.

    The frames have the side imgsz_lr and are views of those of `config.dataset`; making them is not counted.
    """
    import tempfile

    from data_utils.audit import audit

    with tempfile.TemporaryDirectory(prefix="audit-timing-") as folder:
        prepared = make_views(config, Path(folder), n_frames, seed)
        started = time.perf_counter()
        audit(prepared, [1], workers=workers)
        return time.perf_counter() - started


def make_views(config: Config, folder: Path, n_frames: int, seed: int = 0) -> Config:
    """Write a prepared set of `n_frames` random views below `folder`; return the config that describes it."""
    import os

    import cv2
    import numpy as np

    from data_utils.atomic import write_text
    from data_utils.config import override_config
    from data_utils.formats import read_raw_set
    from data_utils.imaging.images import read_bgr, write_image

    rng = np.random.default_rng(seed)
    frames = read_raw_set(config.dataset).frames
    picked = rng.permutation(len(frames))[:MOST_SOURCES]
    side = config.imgsz_lr
    sources = [cv2.resize(read_bgr(frames[i].image_path).bgr, (side, side)) for i in picked]
    (folder / "lr" / "labels").mkdir(parents=True)
    (folder / "hr" / "images").mkdir(parents=True)
    write_image(folder / "hr.jpg", np.zeros((2 * side, 2 * side, 3), dtype=np.uint8))
    lists: dict[str, list[str]] = {part: [] for part in SHARES}
    for index in range(n_frames):
        part = str(rng.choice(list(SHARES), p=list(SHARES.values()))) if index >= len(SHARES) else list(SHARES)[index]
        path = folder / "lr" / "images" / f"view{index}.jpg"
        write_image(path, _view(np.asarray(sources[rng.integers(len(sources))], dtype=np.uint8), rng))
        (folder / "lr" / "labels" / f"view{index}.txt").write_text(LABEL)
        os.link(folder / "hr.jpg", folder / "hr" / "images" / path.name)  # only its size is looked at
        lists[part].append(f"{path}\n")
    for part, lines in lists.items():
        write_text(folder / "splits" / "split1" / f"{part}.txt", "".join(lines))
    return override_config(config, [f"dataset.processed='{folder}'", f"dataset.splits='{folder / 'splits'}'"])


def _view(source: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn, zoom, shift and brighten a frame, uint8 [side, side, 3], at random."""
    import cv2
    import numpy as np

    side = len(source)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-30, 30), rng.uniform(0.9, 1.8))
    turn[:, 2] += rng.uniform(-0.12, 0.12, 2) * side
    turned = cv2.warpAffine(source, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
    return np.clip(turned * rng.uniform(0.7, 1.2), 0, 255).astype(np.uint8)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_utils.auditing.timing", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--config", default="configs/vocalfolds.yaml", help="whose frames (default: %(default)s)")
    parser.add_argument("--frames", type=int, nargs="+", default=[2500, 5000], help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the views (default: %(default)s)")
    parser.add_argument("--workers", type=int, help="processes (default: one for each core)")
    args = parser.parse_args(argv)
    if min(args.frames) < len(SHARES):
        parser.error(f"--frames: at least {len(SHARES)}")

    from data_utils.config import load_config

    config, before = load_config(args.config), 0.0
    for n_frames in args.frames:
        seconds = time_audit(config, n_frames, seed=args.seed, workers=args.workers)
        ratio = f", {seconds / before:.2f} times the one before" if before else ""
        print(f"{n_frames} frames of {config.imgsz_lr} px: {seconds:.1f} s{ratio}", flush=True)
        before = seconds
    return 0


if __name__ == "__main__":
    run_command(main)
