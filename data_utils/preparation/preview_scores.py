"""What the preview page knows of a frame, and what it says of each score: meaning, unit, keys of thresholds, axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data_utils.dataset_section import FilterSection
from data_utils.imaging.perceptual import HASH_BITS
from data_utils.preparation.preview_chart import Axis, Bar
from data_utils.quality import SATURATED_GREY, FrameScores, Reason

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
