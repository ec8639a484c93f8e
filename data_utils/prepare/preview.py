"""The preview page: for each score its distribution, the threshold on it, and the frames just on both sides.

One HTML file without scripts or anything from a network, so that it can be mailed, printed and kept with the data. It
holds pictures of the frames: handle it as the frames themselves.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from data_utils.config.sections import FilterSection
from data_utils.imaging.images import BgrImage, UnreadableImage, read_bgr
from data_utils.imaging.quality import HASH_BITS, SATURATED_GREY, FrameScores, Reason
from data_utils.pages import Picture, environment, jpeg_picture, write_page
from data_utils.prepare.preview_chart import Axis, Bar, Chart, score_chart
from data_utils.prepare.preview_template import STYLE, TEMPLATE

# What the preview page knows of a frame, and what it says of each score: meaning, unit, keys of thresholds, axis.


# Where on the page a reason's score is shown.
SECTION_OF_KIND = {
    "blurred": "sharpness",
    "dark": "brightness",
    "blown out": "brightness",
    "glare": "glare",
    "border": "border",
    "tiny": "bytes",
    "near-duplicate": "near-duplicate",
    "unreadable": "unreadable",
}
MOST_DECIMALS = 12


@dataclass(frozen=True)
class PreviewFrame:
    """One frame of the raw set and what was decided about it.

    filename: path below the raw folder. scores: None for an unreadable frame. duplicate_bits: in how many bits the
    perceptual hash differs from the nearest frame of its group kept before it; None where there is nothing to compare
    with. nearest_path: that frame's file, shown beside this one if given.
    """

    filename: str
    image_path: Path
    scores: FrameScores | None
    reasons: tuple[Reason, ...]
    duplicate_bits: int | None
    nearest_path: Path | None = None

    @property
    def is_excluded(self) -> bool:
        """Whether prepare leaves the frame out."""
        return self.scores is None or bool(self.reasons)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the frame is excluded for, each kind once, in alphabetical order."""
        kinds = {reason.kind for reason in self.reasons}
        return tuple(sorted(kinds or ({"unreadable"} if self.scores is None else set())))


def precise(value: float, digits: int = 6) -> str:
    """Return a finite number with up to `digits` digits, thousands parted by commas, never with an exponent."""
    if value == 0:
        return "0"
    decimals = min(max(0, digits - 1 - math.floor(math.log10(abs(value)))), MOST_DECIMALS)
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


@dataclass(frozen=True)
class Setting:
    """One key of dataset.filter: its value as in YAML, its rule in words, and the threshold line's label."""

    key: str
    value: str
    rule: str
    label: str


@dataclass(frozen=True)
class ScoreTest:
    """One score and its thresholds.

    section: the anchor on the page. unit: in words, "%" for a share in [0, 1]; short_unit: after single scores.
    score: None for a frame without one. low_key, high_key: keys of dataset.filter below or above which a frame is
    excluded; empty for none. excludes_equal: a score equal to the low threshold is excluded too. is_of_detail: a
    thumbnail does not show it, so a cut-out at full resolution stands beside it. picture_note: what the two pictures
    of a frame are.
    """

    section: str
    title: str
    unit: str
    meaning: str
    low_looks: str
    high_looks: str
    score: Callable[[PreviewFrame], float | None]
    axis: Axis
    low_key: str = ""
    high_key: str = ""
    excludes_equal: bool = False
    short_unit: str = ""
    is_of_detail: bool = False
    picture_note: str = ""

    def cuts(self, thresholds: FilterSection) -> tuple[float | None, float | None]:
        """Return (low, high): a score < low or > high is excluded; None where a threshold is off."""
        low = getattr(thresholds, self.low_key) if self.low_key else None
        high = getattr(thresholds, self.high_key) if self.high_key else None
        # Bits are whole numbers: "up to 5 bits" is "below 5.5".
        return low + 0.5 if low is not None and self.excludes_equal else low, high

    def settings(self, thresholds: FilterSection) -> list[Setting]:
        """Return what dataset.filter says about this score, one entry for each key."""
        found = []
        for key, end in ((self.low_key, "low"), (self.high_key, "high")):
            if not key:
                continue
            value = getattr(thresholds, key)
            if value is None:
                found.append(Setting(key, "null", f"off: no frame is excluded for a {end} score", ""))
                continue
            text = precise(value, 12).replace(",", "")
            sign = "of at most" if self.excludes_equal else "below" if end == "low" else "above"
            shown = self.exact(value)
            rule = f"a score {sign} {shown} excludes a frame"
            found.append(Setting(key, text, rule, f"{key}: {text}" + (f" ({shown})" if self.unit == "%" else "")))
        return found

    def label(self, score: float, digits: int = 3) -> str:
        """Return the score for people, a share in percent."""
        return f"{precise(100 * score, digits)}\u00a0%" if self.unit == "%" else precise(score, digits)

    def exact(self, score: float) -> str:
        """Return the score with as many digits as the filter log gives, and its short unit."""
        return self.label(score, 6) + (f"\u00a0{self.short_unit}" if self.short_unit else "")

    def interval(self, bar: Bar) -> tuple[str, str]:
        """Return the scores that a bar holds: from, to; of whole numbers the first and the last."""
        if self.axis.bar_step:
            return self.label(math.ceil(bar.low)), self.label(math.ceil(bar.high) - 1)
        return self.label(bar.low, 4), self.label(bar.high, 4)


def _from_scores(score: Callable[[FrameScores], float]) -> Callable[[PreviewFrame], float | None]:
    return lambda frame: None if frame.scores is None else float(score(frame.scores))


TESTS = (
    ScoreTest(
        section="sharpness",
        title="Sharpness",
        unit="variance of the Laplacian",
        meaning="How much fine detail the grey frame holds, at its original size. It grows with noise and shrinks with "
        "resolution and compression, so a threshold fits one camera and one data set only.",
        low_looks="out of focus, moved, behind fog or mucus",
        high_looks="crisp edges and vessels; very high: noise, text or a test pattern",
        score=_from_scores(lambda scores: scores.sharpness),
        axis=Axis(log_from=1.0),
        low_key="blur_thresh",
        is_of_detail=True,
        picture_note="Left the whole frame, right its centre at full resolution: reduced frames all look sharp.",
    ),
    ScoreTest(
        section="brightness",
        title="Brightness",
        unit="mean grey, 0 to 255",
        meaning="The mean of all grey values. A black surround counts too: a small round field scores low.",
        low_looks="dark: light off, lens against tissue, start or end of a recording",
        high_looks="washed out, light reflected straight into the lens",
        score=_from_scores(lambda scores: scores.brightness),
        axis=Axis(from_floor=True, ceiling=255.0),
        low_key="bright_min",
        high_key="bright_max",
    ),
    ScoreTest(
        section="glare",
        title="Glare",
        unit="%",
        meaning=f"The share of pixels with a grey value of {SATURATED_GREY} or more, where nothing can be seen.",
        low_looks="no reflections, or small ones",
        high_looks="large white reflections over the tissue",
        score=_from_scores(lambda scores: scores.saturated),
        axis=Axis(from_floor=True, log_from=1e-4, least_span=0.001),
        high_key="glare_max",
    ),
    ScoreTest(
        section="border",
        title="Black border",
        unit="%",
        meaning="The share of the black area that touches the frame's edge: the surround of a round field.",
        low_looks="the picture fills the frame",
        high_looks="a small field in a black frame, or a dark frame altogether",
        score=_from_scores(lambda scores: scores.border),
        axis=Axis(from_floor=True, least_span=0.01),
        high_key="border_max",
    ),
    ScoreTest(
        section="bytes",
        title="File size",
        unit="bytes",
        meaning="The size of the file as it is stored; it depends on the format and on the compression.",
        low_looks="an almost even picture, strong compression, or a failed export",
        high_looks="much detail or noise, or weak compression",
        score=_from_scores(lambda scores: scores.n_bytes),
        axis=Axis(log_from=1.0),
        low_key="min_bytes",
        short_unit="bytes",
    ),
    ScoreTest(
        section="side",
        title="Shorter side",
        unit="pixels",
        meaning="The smaller of width and height as displayed.",
        low_looks="thumbnails and cut-outs, in which small lesions are lost",
        high_looks="full frames of the camera",
        score=_from_scores(lambda scores: min(scores.width, scores.height)),
        axis=Axis(bar_step=1.0, least_span=20.0),
        low_key="min_side",
        short_unit="px",
    ),
    ScoreTest(
        section="near-duplicate",
        title="Near-duplicates",
        unit=f"differing bits of {HASH_BITS}",
        meaning="In how many bits the perceptual hash differs from the most similar frame of the same group that was "
        "kept before; nearly always an even number. A group's first frame has nothing to be compared with, and a "
        "frame excluded for other reasons is not compared.",
        low_looks="a repeat: the same picture again, recompressed, or a video that stands still",
        high_looks=f"another picture; unrelated ones differ in about {HASH_BITS // 2} bits",
        score=lambda frame: None if frame.duplicate_bits is None else float(frame.duplicate_bits),
        axis=Axis(floor=-0.5, from_floor=True, ceiling=HASH_BITS + 0.5, bar_step=1.0, n_bars=HASH_BITS // 2 + 1),
        low_key="near_duplicate_bits",
        excludes_equal=True,
        short_unit="bits",
        picture_note="Left the frame, right the one kept before it that it is most like, where that is known.",
    ),
)


__all__ = ["PreviewFrame", "write_preview"]

THUMBNAIL_SIDE = 160  # pixels of a thumbnail's longer side, and of the cut-out at full resolution
N_LISTED = 200  # unreadable frames on the page; the filter log has them all
PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)


@dataclass(frozen=True)
class ShownFrame:
    """One frame in a row of the page; `problem` is said instead of `pictures` that cannot be had."""

    filename: str
    score: str
    fate: str
    pictures: tuple[Picture, ...]
    problem: str


@dataclass(frozen=True)
class Row:
    """Frames under one heading; `key` and `is_inside` name the threshold and its side, empty and None for extremes."""

    heading: str
    frames: tuple[ShownFrame, ...]
    key: str = ""
    is_inside: bool | None = None


@dataclass(frozen=True)
class ScorePart:
    """The part of the page about one score. chart: None when no frame has the score; n_without: frames without it."""

    test: ScoreTest
    settings: tuple[Setting, ...]
    chart: Chart | None
    percentiles: tuple[tuple[int, str], ...]
    rows: tuple[Row, ...]
    n_without: int


def write_preview(
    path: Path, title: str, frames: Sequence[PreviewFrame], thresholds: FilterSection, n_shown: int = 6
) -> None:
    """Write the preview page of `frames` to `path`, whole or not at all; the same input gives the same bytes.

    `n_shown` is the number of frames in each of a score's two rows; a score with two thresholds has four rows, each
    half as long. Only frames shown are read, one at a time; one that cannot be read is named in words. Raises OSError
    when the page cannot be written.
    """
    album = Album()
    template_language = environment()
    template_language.filters["precise"] = precise
    n_excluded = sum(frame.is_excluded for frame in frames)
    unreadable = [frame for frame in frames if frame.scores is None]
    write_page(
        path,
        template_language.from_string(TEMPLATE),
        style=STYLE.strip(),
        title=title,
        n_read=len(frames),
        n_kept=len(frames) - n_excluded,
        n_excluded=n_excluded,
        reasons=count_reasons(frames),
        sections=SECTION_OF_KIND,
        parts=[_score_part(test, frames, thresholds, n_shown, album) for test in TESTS],
        n_unreadable=len(unreadable),
        unreadable=[(frame.filename, _why_unreadable(frame)) for frame in unreadable[:N_LISTED]],
    )


def count_reasons(frames: Iterable[PreviewFrame]) -> list[tuple[str, int, int]]:
    """Return (kind, frames excluded for it, those of them excluded for nothing else), the most frequent first."""
    frames_of: Counter[str] = Counter()
    alone: Counter[str] = Counter()
    for frame in frames:
        frames_of.update(frame.kinds)
        if len(frame.kinds) == 1:
            alone.update(frame.kinds)
    return sorted(((kind, n, alone[kind]) for kind, n in frames_of.items()), key=lambda row: (-row[1], row[0]))


class Album:
    """Reads the frames that are shown and makes their pictures, each once however often it is shown."""

    def __init__(self) -> None:
        self._pictures: dict[tuple[Path, bool], Picture] = {}

    def picture(self, path: Path, alt: str, *, full_resolution: bool = False) -> Picture:
        """Return the frame reduced, or its centre at full resolution. Raises UnreadableImage."""
        if (path, full_resolution) not in self._pictures:
            bgr = read_bgr(path).bgr
            self._pictures[path, False] = jpeg_picture(_reduced(bgr), "")
            if full_resolution:
                self._pictures[path, True] = jpeg_picture(_centre(bgr), "")
        return replace(self._pictures[path, full_resolution], alt=alt)


def _score_part(
    test: ScoreTest, frames: Sequence[PreviewFrame], thresholds: FilterSection, n_shown: int, album: Album
) -> ScorePart:
    scored = [(score, frame) for frame in frames if (score := test.score(frame)) is not None]
    low, high = test.cuts(thresholds)
    settings = tuple(test.settings(thresholds))
    n_without = len(frames) - len(scored)
    if not scored:
        return ScorePart(test, settings, None, (), (), n_without)
    scores = np.array([score for score, _ in scored], dtype=np.float64)
    percentiles = zip(PERCENTILES, np.percentile(scores, PERCENTILES).tolist(), strict=True)
    return ScorePart(
        test=test,
        settings=settings,
        chart=score_chart(scores, low, high, test.axis, test.label),
        percentiles=tuple((share, test.label(value)) for share, value in percentiles),
        rows=tuple(_rows(test, scored, thresholds, n_shown, album)),
        n_without=n_without,
    )


def _rows(
    test: ScoreTest,
    scored: Sequence[tuple[float, PreviewFrame]],
    thresholds: FilterSection,
    n_shown: int,
    album: Album,
) -> Iterable[Row]:
    """Yield the rows around each threshold; for one that is off, the frames at that end."""
    low, high = test.cuts(thresholds)
    limits = {key: cut for key, cut in ((test.low_key, low), (test.high_key, high)) if key}
    if not any(cut is not None for cut in limits.values()):
        limits = {"least": None, "most": None}
    n_row = -(-n_shown // 2) if len(limits) == 2 and any(cut is not None for cut in limits.values()) else n_shown

    def row(heading: str, chosen: Sequence[tuple[float, PreviewFrame]], key: str = "", side: bool | None = None) -> Row:
        shown = tuple(_show(test, score, frame, album) for score, frame in chosen[: max(n_row, 0)])
        return Row(heading, shown, key, side)

    ascending = sorted(scored, key=lambda pair: (pair[0], pair[1].filename))
    descending = sorted(scored, key=lambda pair: (-pair[0], pair[1].filename))
    all_equal = ascending[0][0] == ascending[-1][0]
    if "least" in limits and (all_equal or len(scored) <= n_row):
        yield row("Examples: all frames score the same" if all_equal else "All frames, lowest score first", ascending)
        return
    for key, cut in limits.items():
        is_low = key in (test.low_key, "least")
        if cut is None:
            yield row(f"{'Lowest' if is_low else 'Highest'} scores", ascending if is_low else descending)
            continue
        away, back = (ascending, descending) if is_low else (descending, ascending)
        kept = [(s, f) for s, f in away if (low is None or s >= low) and (high is None or s <= high)]
        yield row(f"Just inside {key}: kept by it, nearest first", kept, key, True)
        outside = [(s, f) for s, f in back if (s < cut if is_low else s > cut)]
        yield row(f"Just outside {key}: excluded by it, nearest first", outside, key, False)


def _show(test: ScoreTest, score: float, frame: PreviewFrame, album: Album) -> ShownFrame:
    text = test.exact(score)
    alt = f"{frame.filename}, {test.title.lower()} {text}"
    wanted: list[tuple[Path, str, bool]] = [(frame.image_path, alt, False)]
    if test.is_of_detail:
        wanted.append((frame.image_path, f"centre of {frame.filename} at full resolution", True))
    if test.excludes_equal and frame.nearest_path is not None:
        wanted.append((frame.nearest_path, f"the kept frame that {frame.filename} is most like", False))
    fate = f"excluded: {', '.join(frame.kinds)}" if frame.is_excluded else "kept"
    pictures: list[Picture] = []
    problem = ""
    for path, what, full_resolution in reversed(wanted):  # the cut-out first: its reading serves the whole frame too
        try:
            pictures.insert(0, album.picture(path, what, full_resolution=full_resolution))
        except UnreadableImage as error:
            problem = str(error)
    return ShownFrame(frame.filename, text, fate, tuple(pictures), problem)


def _why_unreadable(frame: PreviewFrame) -> str:
    details = (reason.detail.removeprefix(f"{frame.image_path}: ") for reason in frame.reasons)
    return "; ".join(details) or "no reason given"


def _reduced(bgr: BgrImage) -> BgrImage:
    height, width = bgr.shape[:2]
    scale = min(1.0, THUMBNAIL_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _centre(bgr: BgrImage) -> BgrImage:
    top, left = (max(0, (side - THUMBNAIL_SIDE) // 2) for side in bgr.shape[:2])
    return np.ascontiguousarray(bgr[top : top + THUMBNAIL_SIDE, left : left + THUMBNAIL_SIDE])
