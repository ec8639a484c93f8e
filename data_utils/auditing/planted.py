"""Plant copies in real sets and count how many the audit finds, and how often it cries wolf.

    python -m data_utils.auditing.planted --config configs/bccd.yaml configs/vocalfolds.yaml

Copies of raw frames go through the resize that `prepare` does, copies of prepared frames do not. All frames of a set
train, the copies test. False alarms are counted between the 8 parts to which groups (dataset.group) are dealt, with the
pairs of dataset.audit.known_pairs, which somebody looked at, left out. The column edge_likeness is the lowest of the
pairs found, and for distinct frames the highest. Nothing but the CSV file is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from data_utils.errors import run_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from data_utils.audit.likeness import Fingerprint
    from data_utils.audit.report import FramePair
    from data_utils.config.sections import Config

    Image = NDArray[np.uint8]

COLUMNS = ("dataset", "lr_side", "planted", "level", "frames", "found", "share", "edge_likeness", "pairs")
OUT = "results/studies/audit/recall.csv"
COPIES, FOLDS = 120, 8
HELD_OUT = 5  # every fifth frame, where a video is cut through
LOW_QUALITY, HIGH_QUALITY = 40, 95


def kinds() -> dict[str, Callable[[Image], Image]]:
    """Return what is done to a frame, uint8 [H, W, 3] BGR, to make each kind of copy."""
    import cv2
    import numpy as np

    from data_utils.imaging.images import encode_image

    def recompressed(bgr: Image) -> Image:
        encoded = np.frombuffer(encode_image(bgr, ".jpg", LOW_QUALITY), np.uint8)
        return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), dtype=np.uint8)

    def halved(bgr: Image) -> Image:
        size = (bgr.shape[1] // 2, bgr.shape[0] // 2)
        return np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)

    def cropped(bgr: Image, top: float, bottom: float, left: float, right: float) -> Image:
        height, width = bgr.shape[:2]
        low, high = round(height * top), round(height * bottom)
        return bgr[low : height - high, round(width * left) : width - round(width * right)]

    return {
        "recompressed at quality 40": recompressed,
        "resized by half": halved,
        "resized by half, recompressed": lambda bgr: recompressed(halved(bgr)),
        "flipped left-right": lambda bgr: bgr[:, ::-1],
        "flipped top-bottom": lambda bgr: bgr[::-1],
        "flipped both ways": lambda bgr: bgr[::-1, ::-1],
        "cropped by 5 % of each side": lambda bgr: cropped(bgr, 0.025, 0.025, 0.025, 0.025),
        "cropped by 5 % at each edge": lambda bgr: cropped(bgr, 0.05, 0.05, 0.05, 0.05),
        "cropped by 5 % at the left edge": lambda bgr: cropped(bgr, 0, 0, 0.05, 0),
        "cropped by 5 % at a corner": lambda bgr: cropped(bgr, 0.05, 0, 0.05, 0),
        "flipped, cropped at each edge, halved, recompressed": lambda bgr: recompressed(
            halved(cropped(bgr, 0.05, 0.05, 0.05, 0.05)[:, ::-1])
        ),
    }


def measure(config: Config, *, copies: int = COPIES, seed: int = 0) -> Iterator[dict[str, object]]:
    """Yield one row (COLUMNS) for each kind of copy and level, for distinct frames, and for videos that are cut."""
    import cv2
    import numpy as np

    from data_utils.audit.likeness import describe_bytes
    from data_utils.formats import read_raw_set
    from data_utils.imaging.images import encode_image, read_bgr
    from data_utils.prepare.frame_jobs import resized_pair

    cv2.setNumThreads(1)

    def prepared(bgr: Image) -> bytes:
        return encode_image(resized_pair(bgr, config.imgsz_lr, config.imgsz_hr)[0], ".jpg", HIGH_QUALITY)

    frames = read_raw_set(config.dataset).frames
    chosen = set(np.random.default_rng(seed).permutation(len(frames))[:copies].tolist())
    base: dict[str, Fingerprint] = {}
    planted: dict[tuple[str, str], dict[str, Fingerprint]] = {}
    for index, frame in enumerate(frames):
        raw = read_bgr(frame.image_path).bgr
        data = prepared(raw)
        base[frame.stem] = describe_bytes(data, frame.stem)
        if index in chosen:
            for kind_and_level, copy in _copies(raw, data, prepared):
                planted.setdefault(kind_and_level, {})[frame.stem] = describe_bytes(copy, frame.stem)
    about = {"dataset": config.dataset.name, "lr_side": config.imgsz_lr}
    for (kind, level), prints in planted.items():
        yield {**about, "planted": kind, "level": level, **recall(config, base, prints)}
    groups = {frame.stem: frame.group for frame in frames}
    yield {**about, "planted": "nothing: distinct frames", "level": "raw", **false_alarms(config, base, groups)}
    if len(set(groups.values())) < len(groups):
        yield {**about, "planted": "every 5th frame held out", "level": "raw", **cut_videos(config, base)}


def _copies(raw: Image, data: bytes, prepared: Callable[[Image], bytes]) -> Iterator[tuple[tuple[str, str], bytes]]:
    """Yield ((kind, level), bytes of the LR file) for every copy of one frame, given raw and as its LR file `data`."""
    import cv2
    import numpy as np

    from data_utils.imaging.images import encode_image

    def saved(bgr: Image) -> Image:
        return decoded(encode_image(np.ascontiguousarray(bgr), ".jpg", HIGH_QUALITY))

    def decoded(encoded: bytes) -> Image:
        return np.asarray(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR), dtype=np.uint8)

    yield ("renamed", "raw"), data
    for kind, change in kinds().items():
        yield (kind, "raw"), prepared(saved(change(raw)))  # a changed raw frame is saved once more, then prepared
        yield (kind, "prepared"), encode_image(np.ascontiguousarray(change(decoded(data))), ".jpg", HIGH_QUALITY)


def recall(config: Config, base: dict[str, Fingerprint], planted: dict[str, Fingerprint]) -> dict[str, object]:
    """Count the copies that are found together with the frame they were made of."""
    prints = {("train", stem): print_ for stem, print_ in base.items()}
    prints |= {("test", f"copy of {stem}"): print_ for stem, print_ in planted.items()}
    found: dict[str, float] = {}
    for pair in audited_pairs(config, prints):
        copy, original = sorted((pair.file_a, pair.file_b), key=lambda name: not name.startswith("copy of "))
        if copy == f"copy of {original}":
            found[original] = pair.likeness
    return _row(len(planted), len(found), len(found), min(found.values(), default=0.0))


def false_alarms(config: Config, base: dict[str, Fingerprint], groups: dict[str, str]) -> dict[str, object]:
    """Count the frames that are called copies of a frame of another group; groups are dealt out to FOLDS parts."""
    fold = {group: f"fold{index % FOLDS}" for index, group in enumerate(sorted(set(groups.values())))}
    prints = {(fold[groups[stem]], stem): print_ for stem, print_ in base.items()}
    pairs = [pair for pair in audited_pairs(config, prints) if not pair.accepted]
    flagged = {file for pair in pairs for file in (pair.file_a, pair.file_b)}
    return _row(len(base), len(flagged), len(pairs), max((pair.likeness for pair in pairs), default=0.0))


def cut_videos(config: Config, base: dict[str, Fingerprint]) -> dict[str, object]:
    """Count the held-out frames that are found to have a look-alike among the others of their video, or elsewhere."""
    parts = {stem: "val" if index % HELD_OUT == 0 else "train" for index, stem in enumerate(sorted(base))}
    pairs = audited_pairs(config, {(parts[stem], stem): print_ for stem, print_ in base.items()})
    flagged = {file for pair in pairs for file in (pair.file_a, pair.file_b) if parts[file] == "val"}
    held_out = sum(part == "val" for part in parts.values())
    return _row(held_out, len(flagged), len(pairs), min((pair.likeness for pair in pairs), default=0.0))


def audited_pairs(config: Config, prints: dict[tuple[str, str], Fingerprint]) -> Sequence[FramePair]:
    """Run the audit's search for leaks over {(part, name): fingerprint}."""
    from pathlib import Path

    from data_utils.audit.frames import AuditedSplit, AuditFrame
    from data_utils.audit.leaks import find_leaks
    from data_utils.audit.likeness import view

    frames = [AuditFrame(Path(name), part, None) for part, name in prints]
    by_path = {Path(name): print_ for (_, name), print_ in prints.items()}
    views = {path: view(print_.thumbnail) for path, print_ in by_path.items() if print_.thumbnail is not None}
    return find_leaks(AuditedSplit("planted", frames, (), ()), config.dataset, by_path, views).pairs


def _row(frames: int, found: int, pairs: int, lowest: float) -> dict[str, object]:
    share = round(found / frames, 4) if frames else 0.0
    return {"frames": frames, "found": found, "share": share, "edge_likeness": round(lowest, 3), "pairs": pairs}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_utils.auditing.planted",
        description=(__doc__ or "").splitlines()[0],
        epilog="example: python -m data_utils.auditing.planted --copies 40",
    )
    parser.add_argument("--config", nargs="+", default=["configs/bccd.yaml", "configs/vocalfolds.yaml"], metavar="FILE",
                        help="the sets to plant copies in (default: bccd and vocalfolds)")  # fmt: skip
    parser.add_argument("--copies", type=int, default=COPIES, help="frames copied in each set (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of frames (default: %(default)s)")
    parser.add_argument("--out", default=OUT, help="CSV file (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.copies < 1 or args.seed < 0:
        parser.error("--copies must be at least 1, --seed at least 0")

    from data_utils.command_line import format_table
    from data_utils.config.loading import load_config
    from data_utils.files import write_csv

    rows = [row for path in args.config for row in measure(load_config(path), copies=args.copies, seed=args.seed)]
    write_csv(args.out, COLUMNS, rows)
    print(format_table([{name: row[name] for name in COLUMNS} for row in rows]))  # pyright: ignore[reportArgumentType]
    print(f"written: {args.out}")
    return 0


if __name__ == "__main__":
    run_command(main)
