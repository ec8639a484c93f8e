"""The preview page: for each score its distribution, the threshold on it, and the frames just on both sides.

One HTML file without scripts or anything from a network, so that it can be mailed, printed and kept with the data. It
holds pictures of the frames: handle it as the frames themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from data_utils.dataset_section import FilterSection
from data_utils.imaging.images import BgrImage, UnreadableImage, read_bgr
from data_utils.pages.page import environment, write_page
from data_utils.pages.picture import Picture, jpeg_picture
from data_utils.preparation.preview_chart import Chart, score_chart
from data_utils.preparation.preview_scores import SECTION_OF_KIND, TESTS, PreviewFrame, ScoreTest, Setting, precise
from data_utils.preparation.preview_template import STYLE, TEMPLATE

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
