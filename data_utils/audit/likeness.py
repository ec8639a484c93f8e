"""How alike two frames are, whatever a copy went through: recompressed, resized, flipped, cropped or shifted a little.

All of it works on thumbnails, uint8 [64, 64] grey. Two numbers are taken of a pair:

- descriptors, 18 of the lowest cosine coefficients, tell which frames are worth a closer look. A mirrored frame has the
  same ones but for signs, so flipped copies are found by asking with flipped signs. A cropped copy has others, which in
  a crowd of similar frames would be lost: each frame also has those of a few crops of its own;
- the likeness, in [-1, 1], is the correlation of the two band-passed thumbnails after one was laid onto the other by
  an affine map near the identity. The band-pass takes away what all frames of an endoscope share, the bright centre.
  Distinct frames of one organ stay below 0.75, copies above 0.8 (`python -m data_utils.auditing.planted` measures it).
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

from data_utils.files import write_text
from data_utils.imaging.header import parse_header
from data_utils.imaging.images import UnreadableImage, captured_stderr, file_hash
from data_utils.processes import available_cores, map_in_processes

SIDE = 64  # pixels of a thumbnail
HALF = SIDE // 2
FLIPS = (0, 1, 2, 3)  # bit 0: left-right, bit 1: top-bottom
BAND = 5  # cosine coefficients (u, v) with 0 < u + v <= BAND, u, v < BAND make a descriptor
BLUR_SIGMA = 2.5  # thumbnail pixels; coarser structure is taken away
NOISE = 8.0  # squared grey values; structure fainter than this is not blown up
ENERGY_SIDE = 11  # thumbnail pixels over which contrast is evened out
SCALES = (1.0, 0.95, 0.9)  # how much smaller one frame's content may lie in the other; the map is refined from there
MARGIN = 5  # thumbnail pixels that contents may be shifted at equal scale
LEAST_ROUGH = 0.25  # rough likeness below which a pair is not looked at again; copies have 0.6 or more
MAX_CORNER_SHIFT = 12.0  # thumbnail pixels a corner may move: a fifth of the side
LEAST_OVERLAP = 0.7  # share of the thumbnail both frames must show
CROP = 0.05  # share of the side by which the crops described beside the whole frame lose an edge
FLAT = 0.05  # standard deviation of a band-passed thumbnail (about 1 where there is structure) without structure

Image = NDArray[np.float32]
_REFINING = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_COUNT, 20, 1e-3)
_WHOLE = np.full((SIDE, SIDE), 255, dtype=np.uint8)
_U, _V = np.mgrid[:BAND, :BAND]
_KEPT = (_U + _V > 0) & (_U + _V <= BAND)
N_DESCRIPTORS = int(_KEPT.sum())
_CUT = round(CROP * SIDE)
_ENDS = (slice(_CUT, SIDE), slice(0, SIDE - _CUT))  # without the first rows or columns, without the last
CROPS = ((slice(_CUT, SIDE - _CUT),) * 2, *((rows, columns) for rows in _ENDS for columns in _ENDS))


@dataclass(frozen=True, eq=False)
class View:
    """A thumbnail made ready for comparing. bands: float32 [64, 64], band-passed, contrast evened out; rough: the same
    at [32, 32]. descriptors: float64 [6, 18], of the frame and of CROPS. blank: nothing to be seen, so nothing to be
    compared."""

    bands: Image
    rough: Image
    descriptors: NDArray[np.float64]
    blank: bool

    def flipped(self, flip: int) -> View:
        """Mirror it: bit 0 of `flip` left-right, bit 1 top-bottom."""
        signs = flip_signs(flip)
        return View(_mirrored(self.bands, flip), _mirrored(self.rough, flip), self.descriptors * signs, self.blank)


def view(thumbnail: NDArray[np.uint8]) -> View:
    """Make a thumbnail, uint8 [64, 64], ready for comparing."""
    grey = thumbnail.astype(np.float32)
    descriptors = np.stack([_descriptor(grey), *(_descriptor(grey[rows, columns]) for rows, columns in CROPS)])
    detail = grey - cv2.GaussianBlur(grey, (0, 0), BLUR_SIGMA)
    energy = cv2.blur(detail * detail, (ENERGY_SIDE, ENERGY_SIDE))
    bands = np.asarray(detail / np.sqrt(energy + NOISE), dtype=np.float32)
    rough = np.asarray(cv2.resize(bands, (HALF, HALF), interpolation=cv2.INTER_AREA), dtype=np.float32)
    return View(bands, rough, descriptors, float(bands.std()) < FLAT)


def _descriptor(grey: Image) -> NDArray[np.float64]:
    """Return the lowest cosine coefficients [18] of a thumbnail or a part of it, their length 1."""
    whole = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) if grey.shape != (SIDE, SIDE) else grey
    coefficients = cv2.dct(np.ascontiguousarray(whole))[:BAND, :BAND][_KEPT].astype(np.float64)
    length = float(np.linalg.norm(coefficients))
    return coefficients / length if length > 0 else coefficients


def flip_signs(flip: int) -> NDArray[np.float64]:
    """Return the signs [18] by which mirroring multiplies a descriptor."""
    odd = (_V * (flip & 1) + _U * (flip >> 1))[_KEPT] % 2
    return 1.0 - 2.0 * odd


def likeness(a: View, b: View) -> float:
    """Return how well `a` laid onto `b` agrees with it, in [-1, 1]; 0 for frames that a rough look tells apart."""
    if a.blank or b.blank or _best_match(a.rough, b.rough, SCALES[::2], MARGIN // 2)[0] < LEAST_ROUGH:
        return 0.0
    _, swapped, affine = _best_match(a.bands, b.bands, SCALES, MARGIN)
    template, target = (b.bands, a.bands) if swapped else (a.bands, b.bands)
    best = _agreement(template, target, affine)
    try:
        _, refined = cv2.findTransformECC(template, target, affine.copy(), cv2.MOTION_AFFINE, _REFINING, _WHOLE, 1)
    except cv2.error:  # it did not converge: the grid's map stands
        return best
    return max(best, _agreement(template, target, np.asarray(refined, dtype=np.float32)))


def _mirrored(image: Image, flip: int) -> Image:
    return np.ascontiguousarray(image[:: -1 if flip & 2 else 1, :: -1 if flip & 1 else 1])


def _best_match(a: Image, b: Image, scales: tuple[float, ...], margin: int) -> tuple[float, bool, Image]:
    """Try shifts at each scale, both ways round; return (correlation, whether b lies in a, map [2, 3] of the inner
    frame's pixels to the outer one's)."""
    best = (-1.0, False, np.eye(2, 3, dtype=np.float32))
    side = len(a)
    for swapped, inner, outer in ((False, a, b), (True, b, a)):
        for scale in scales:
            if swapped and scale == 1:
                continue  # the same as the other way round
            small = round(side * scale)
            cut = margin if small == side else 1
            template = inner if small == side else cv2.resize(inner, (small, small), interpolation=cv2.INTER_AREA)
            template = np.ascontiguousarray(template[cut : small - cut, cut : small - cut])
            if cv2.meanStdDev(template)[1][0, 0] < FLAT:
                continue  # OpenCV calls any window equal to a flat template
            _, score, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(outer, template, cv2.TM_CCOEFF_NORMED))
            if score > best[0]:
                exact = small / side
                shift = (exact - 1) / 2  # pixel centres lie half a pixel in
                affine = np.array([[exact, 0, x - cut + shift], [0, exact, y - cut + shift]], dtype=np.float32)
                best = (float(score), swapped, affine)
    return best


def _agreement(template: Image, target: Image, affine: Image) -> float:
    """Correlate `template` with what `affine` [2, 3] lays it onto in `target`; 0 for a map far from the identity."""
    corners = np.array([[0, 0, 1], [SIDE - 1, 0, 1], [0, SIDE - 1, 1], [SIDE - 1, SIDE - 1, 1]], dtype=np.float32)
    if np.abs(corners @ affine.T - corners[:, :2]).max() > MAX_CORNER_SHIFT:
        return 0.0
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpAffine(target, affine, (SIDE, SIDE), flags=flags, borderValue=float("nan"))
    both = np.isfinite(warped)
    if both.mean() < LEAST_OVERLAP:
        return 0.0
    x, y = template[both], warped[both]
    x, y = x - x.mean(), y - y.mean()
    product = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / product if product > FLAT**2 * len(x) else 0.0


# What the audit keeps of each prepared frame: a hash of its file and a thumbnail, made on all cores and cached.
#
# The cache is one JSON line a frame, keyed by the hash of the file's bytes and the version of this description, so a
# changed file is described anew and a line that is torn, or of another version, is passed over. Losing it costs time.


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
