"""What a section of the report is made of. The template draws each part by its `kind`; every text in it is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from data_utils.pages.picture import Picture
from evaluation.reporting.line_chart import LineChart


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
