"""Your own videos -> frames every n seconds, ready to be labelled, and metadata.csv with whose they are.

    python -m data_utils.frames --source VIDEOS --out data/raw --every 1 --patient-pattern '(?P<patient>P[0-9]+)'

writes OUT/images/<video>/<video>_<frame number>.jpg, OUT/metadata.csv (lines of other frames stay) and the record
OUT/.frames.json, by which a second run sees which videos are done. The videos are only read.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_utils.errors import InputError
from data_utils.files import visible_files, write_text

LEAST_INTERVAL = 1e-6  # seconds
JPEG_QUALITY = 95
RECORD = ".frames.json"  # hidden, so that no reader takes it for labels
MAX_STEM_BYTES = 120  # it stands twice in a frame's path, and file systems allow 255 for a name
DIGEST_BYTES = 1 << 20  # of a video's start and of its end; whole videos take minutes to read


@dataclass(frozen=True)
class ExtractedFrames:
    """What came of one video. files: frame files, in order; counts: what was left out or assumed, by reason.

    n_decoded: frames of the video passed over or written. reused: an earlier run had done it. n_removed: frames of an
    earlier run, with other settings, that are no longer wanted.
    """

    files: tuple[Path, ...]
    counts: Counter[str] = field(default_factory=Counter)
    n_decoded: int = 0
    reused: bool = False
    n_removed: int = 0


def extract_frames(
    video: str | Path,
    out: str | Path,
    every_s: float,
    *,
    fps: float | None = None,
    image_format: str = "jpg",
    progress: Callable[[int, int | None], None] | None = None,
) -> ExtractedFrames:
    """Write the first good frame at or after 0, n, 2n... seconds of `video` to out/images/STEM/STEM_NUMBER.jpg.

    every_s: n in seconds; fps: the rate to believe instead of the file's timestamps; image_format: "jpg" (quality 95)
    or "png". The number is the frame's index in the video. A video done before with the same settings is not read
    again. progress: called with (frames decoded, their number or None). Raises InputError for a file that is no video
    or a folder with frames of another one.
    """
    from data_utils.frames.stills import StillReader
    from data_utils.imaging.images import write_image

    video, out = Path(video), Path(out)
    if not LEAST_INTERVAL <= every_s < float("inf") or image_format not in ("jpg", "png"):
        raise InputError(f"{video}: every {every_s} seconds as {image_format!r}: at least 1e-6 s; 'jpg' or 'png'")
    folder = out / "images" / _checked_stem(video)
    settings = {"video": video_digest(video), "every_s": every_s, "fps": fps, "format": image_format}
    records = _read_records(out)
    earlier = records.get(video.stem, {})
    _check_owner(folder, video, settings, earlier)
    old = {folder / name for name in earlier.get("files", ())}
    if earlier.get("settings") == settings and earlier.get("done") and all(path.is_file() for path in old):
        return ExtractedFrames(tuple(sorted(old)), Counter(earlier["counts"]), earlier["n_decoded"], reused=True)
    with StillReader(video, every_s, fps) as reader:
        _write_record(out, records, video.stem, {**earlier, "settings": settings, "done": False})
        files = []
        for still in reader:
            files.append(folder / f"{video.stem}_{still.index:06d}.{image_format}")
            write_image(files[-1], still.bgr, JPEG_QUALITY)
            if progress is not None:
                progress(reader.n_decoded, reader.n_frames)
    stale = [path for path in {*old, *_own_frames(folder)} - set(files) if path.is_file()]
    for path in stale:
        path.unlink()
    counts = +reader.counts
    names = [path.name for path in files]
    done = {"settings": settings, "done": True, "n_decoded": reader.n_decoded, "counts": dict(counts), "files": names}
    _write_record(out, records, video.stem, done)
    return ExtractedFrames(tuple(files), counts, reader.n_decoded, n_removed=len(stale))


def video_digest(video: Path) -> str:
    """Return a BLAKE2b digest of a file's size, start and end, 32 hex digits; raises InputError if it is unreadable."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with video.open("rb") as file:
            size = file.seek(0, 2)
            digest.update(str(size).encode())
            for start in (0, max(size - DIGEST_BYTES, 0)):
                file.seek(start)
                digest.update(file.read(DIGEST_BYTES))
    except OSError as error:
        raise InputError(f"{video}: cannot be read ({error.strerror or error})") from None
    return digest.hexdigest()


def find_videos(source: Path) -> list[Path]:
    """Return the video file `source`, or those below the folder `source`, sorted; raises InputError if there is none.

    Two videos with one name would share a folder of frames, so they are refused.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise InputError(f"--source {source}: no such file or folder")
    from data_utils.imaging.video import VIDEO_SUFFIXES  # here, so that --help does not wait for FFmpeg

    videos = visible_files(source, VIDEO_SUFFIXES)
    if not videos:
        raise InputError(f"--source {source}: no video there ({' '.join(sorted(VIDEO_SUFFIXES))})")
    seen: dict[str, Path] = {}
    for video in videos:
        other = seen.setdefault(unicodedata.normalize("NFC", video.stem).casefold(), video)
        if other != video:
            raise InputError(f"{video} and {other} have one name, and so would their frames; rename one")
    return videos


def _checked_stem(video: Path) -> str:
    from data_utils.formats.labels import breaks_line

    stem = video.stem
    if len(stem.encode("utf-8", "surrogateescape")) > MAX_STEM_BYTES or any(map(breaks_line, stem)):
        raise InputError(f"{str(video)!r}: the name is longer than {MAX_STEM_BYTES} bytes or holds a line break, "
                         "control or undecodable character; rename it")  # fmt: skip
    return stem


def _check_owner(folder: Path, video: Path, settings: Mapping[str, object], earlier: Mapping[str, Any]) -> None:
    """Raise InputError when `folder` holds files and the record does not say that they are frames of this video."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if earlier.get("settings", {}).get("video") != settings["video"]:
        whose = "frames of another video of that name" if earlier else "files this command did not write"
        raise InputError(f"{folder}: holds {whose}; rename {video.name}, or choose another --out")


def _own_frames(folder: Path) -> list[Path]:
    """Return the files of a video's folder that are named like its frames: what an interrupted run left, too."""
    pattern = re.compile(re.escape(folder.name) + r"_[0-9]{6,}\.(jpg|png)")
    return [path for path in folder.iterdir() if pattern.fullmatch(path.name)] if folder.is_dir() else []


def _read_records(out: Path) -> dict[str, Any]:
    path = out / RECORD
    try:
        records = json.loads(path.read_bytes()) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable record ({error}); remove it and the frames it speaks of") from None
    if not isinstance(records, dict) or not all(isinstance(record, dict) for record in records.values()):
        raise InputError(f"{path}: not a record of this command; remove it, or choose another --out")
    return records


def _write_record(out: Path, records: dict[str, Any], stem: str, record: dict[str, object]) -> None:
    records[stem] = record
    write_text(out / RECORD, json.dumps(records, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
