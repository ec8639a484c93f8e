"""What a section of the report is made of. The template draws each part by its `kind`; every text in it is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data_utils.pages import Picture
from evaluation.report.charts import LineChart
from evaluation.report.text import NOT_DEFINED


@dataclass(frozen=True)
class Text:
    """Sentences of one paragraph; `is_warning` sets it off."""

    words: str
    is_warning: bool = False
    kind: str = field(default="text", init=False)


@dataclass(frozen=True)
class Points:
    """Sentences as a list."""

    items: Sequence[str]
    kind: str = field(default="points", init=False)


@dataclass(frozen=True)
class Table:
    """Cells as text under their headers; the first of a row names it. marked: (row, column) of cells set off."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: frozenset[tuple[int, int]] = frozenset()
    kind: str = field(default="table", init=False)

    def __post_init__(self) -> None:
        assert all(len(row) == len(self.headers) for row in self.rows), self.caption


@dataclass(frozen=True)
class Charts:
    """Charts side by side where there is room."""

    charts: Sequence[LineChart]
    kind: str = field(default="charts", init=False)


@dataclass(frozen=True)
class Shown:
    """Pictures under one caption; titles: one for each picture."""

    pictures: Sequence[Picture]
    caption: str
    titles: Sequence[str] = ()


@dataclass(frozen=True)
class Gallery:
    """Pictures under a heading; `is_wide` gives each `Shown` a row of its own."""

    heading: str
    shown: Sequence[Shown]
    is_wide: bool = False
    kind: str = field(default="gallery", init=False)


@dataclass(frozen=True)
class Folded:
    """Something long, shown when asked for: a table, or text as it stands."""

    summary: str
    table: Table | None = None
    text: str = ""
    kind: str = field(default="folded", init=False)


Part = Text | Points | Table | Charts | Gallery | Folded


@dataclass(frozen=True)
class Section:
    """One section: `anchor` on the page, and what stands in it."""

    anchor: str
    title: str
    parts: Sequence[Part]


# Numbers and counts in words. What is not defined reads "n/a", never NaN.


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share as per cent: "74.0 %"."""
    return NOT_DEFINED if value is None else f"{100 * value:.{digits}f}\u00a0%"


def counted(count: int, noun: str) -> str:
    """Write a count with its noun: "1 frame", "1,200 frames", "2 classes", "no frame"."""
    if count == 1:
        return f"1 {noun}"
    plural = noun + ("es" if noun.endswith(("s", "x")) else "s")
    return f"{count:,} {plural}" if count else f"no {noun}"


def between(interval: Mapping[str, Any] | None, as_percent: bool = False, kind: str = "bca_", digits: int = 3) -> str:
    """Write an interval: "0.766 to 0.853", in per cent if asked; empty where there is none. kind: "bca_" or ""."""
    low, high = (None, None) if interval is None else (interval[f"{kind}low"], interval[f"{kind}high"])
    if low is None or high is None:
        return ""
    if as_percent:
        return f"{100 * low:.1f} to {100 * high:.1f}\u00a0%"
    return f"{low:.{digits}f} to {high:.{digits}f}"


def object_noun(metrics: Mapping[str, Any]) -> str:
    """Return what a true box is called: "lesion" in a one-class detector, "object" among several classes."""
    return "lesion" if len(metrics["per_class"]) == 1 else "object"


def knows_patients(metrics: Mapping[str, Any]) -> bool:
    """Return whether frames are told apart by patient; else each frame stands for a patient of its own."""
    return metrics["unit"] in ("patient", "sequence")
