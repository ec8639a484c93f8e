"""What the audit keeps of each prepared frame: a hash of its file and a thumbnail, made on all cores and cached.

The cache is one JSON line a frame, keyed by the hash of the file's bytes and the version of this description, so a
changed file is described anew and a line that is torn, or of another version, is passed over. Losing it costs time.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.atomic import write_text
from data_utils.auditing.likeness import SIDE
from data_utils.imaging.decoder_log import captured_stderr
from data_utils.imaging.image_header import parse_header
from data_utils.imaging.images import UnreadableImage, file_hash
from data_utils.processes import available_cores, map_in_processes

FILE_NAME = "audit_cache.jsonl"
VERSION = 1  # raise when the thumbnail changes
MIN_FRAMES_FOR_POOL = 400  # to describe; for fewer, starting processes costs more than it saves
CHUNK = 32  # frames a process takes at a time
REDUCED = {8: cv2.IMREAD_REDUCED_GRAYSCALE_8, 4: cv2.IMREAD_REDUCED_GRAYSCALE_4, 2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
           1: cv2.IMREAD_GRAYSCALE}  # fmt: skip

Thumbnail = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """One file. file_hash: of its bytes. thumbnail: uint8 [64, 64] grey, None for a file that cannot be decoded, and
    then `problem` says why."""

    file_hash: str
    thumbnail: Thumbnail | None
    problem: str = ""


def fingerprints(
    paths: Sequence[Path], cache_file: Path, workers: int | None = None, *, write: bool = True
) -> dict[Path, Fingerprint]:
    """Describe the files at `paths`, each once. `workers` is the number of processes, by default all cores.

    `cache_file` is read, and with `write` rewritten when something in it is missing or stale. A cache that cannot be
    written costs time alone. Raises ResumableError when a process dies.
    """
    workers = workers or available_cores()
    known = read_cache(cache_file)
    with ThreadPoolExecutor(workers) as threads:  # hashing frees the interpreter
        hashes = list(threads.map(_hash_or_problem, paths))
    found: dict[Path, Fingerprint] = {}
    missing: list[Path] = []
    for path, (digest, problem) in zip(paths, hashes, strict=True):
        if problem:
            found[path] = Fingerprint("", None, problem)
        elif digest in known:
            found[path] = Fingerprint(digest, known[digest])
        else:
            missing.append(path)
    found.update(zip(missing, _described(missing, workers), strict=True))
    if write:
        used = {f.file_hash: f.thumbnail for f in found.values() if f.thumbnail is not None}
        if missing or used.keys() != known.keys():
            _write_cache(cache_file, used)
    return found


def describe(path: Path) -> Fingerprint:
    """Describe one file."""
    try:
        return describe_bytes(path.read_bytes(), path)
    except OSError as error:
        return Fingerprint("", None, f"{path}: cannot be read ({error.strerror})")


def describe_bytes(data: bytes, where: str | Path) -> Fingerprint:
    """Hash a file's bytes and make its thumbnail, decoding no more than that needs; `where` is named in problems."""
    try:
        header = parse_header(data, where)
        shrink = next(n for n in REDUCED if n == 1 or min(header.displayed_size) // n >= SIDE)
        with captured_stderr() as complaints:
            grey = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED[shrink])
    except (UnreadableImage, cv2.error) as error:
        return Fingerprint("", None, " ".join(str(error).split()))
    if grey is None or any("remature end" in line for line in complaints):
        return Fingerprint("", None, f"{where}: truncated or damaged; run `python -m data_utils.prepare` again")
    thumbnail = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()  # as images.file_hash
    return Fingerprint(digest, np.asarray(thumbnail, dtype=np.uint8))


def read_cache(path: Path) -> dict[str, Thumbnail]:
    """Read {hash of a file: its thumbnail}; lines that say nothing of use are passed over."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    return dict(parsed for parsed in map(_parsed, text.split("\n")) if parsed is not None)


def _write_cache(path: Path, thumbnails: dict[str, Thumbnail]) -> None:
    lines = (
        json.dumps(
            {"version": VERSION, "file_hash": digest, "thumbnail": base64.b64encode(thumbnail.tobytes()).decode()}
        )
        for digest, thumbnail in sorted(thumbnails.items())
    )
    try:
        write_text(path, "".join(line + "\n" for line in lines))
    except OSError:
        return  # a read-only data set is audited all the same, only never faster


def _parsed(line: str) -> tuple[str, Thumbnail] | None:
    try:
        record = json.loads(line)
        if record["version"] != VERSION or not isinstance(record["file_hash"], str):
            return None
        pixels = np.frombuffer(base64.b64decode(record["thumbnail"], validate=True), np.uint8)
        return record["file_hash"], pixels.reshape(SIDE, SIDE)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _hash_or_problem(path: Path) -> tuple[str, str]:
    try:
        return file_hash(path), ""
    except OSError as error:
        return "", f"{path}: cannot be read ({error.strerror})"


def _described(paths: Sequence[Path], workers: int) -> Iterable[Fingerprint]:
    if workers == 1 or len(paths) < MIN_FRAMES_FOR_POOL:
        return list(map(describe, paths))
    return list(map_in_processes(describe, paths, workers=workers, chunk=CHUNK))
