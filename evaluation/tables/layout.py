"""Tables as text: one laid-out table, written as Markdown and HTML; as LaTeX: latex.py."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

COLUMNS = ("published", "ours", "difference", "verdict")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 100rem; margin: 2rem auto; padding: 0 1rem; color: #1f2937 }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.5rem }
.wide { overflow-x: auto }
table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums; width: 100% }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #e5e7eb; white-space: nowrap }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 8rem; position: sticky; left: 0;
  background: #fff }
thead th { border-bottom: 2px solid #9ca3af; font-weight: 600 } thead tr:first-child th { border-bottom: 0 }
thead th[colspan] { text-align: center }
td small { color: #6b7280 } td { vertical-align: top }
td.within { background: #dcfce7 } td.outside { background: #fee2e2 } td.missing { color: #6b7280 }
ol.reasons { list-style: lower-alpha } ol, ul { font-size: .9rem; color: #4b5563; overflow-wrap: anywhere }
img { max-width: 100%; height: auto }
"""
_CLASSES = {"within": "within", "outsid": "outside", "not ru": "missing", "not me": "missing", "incomp": "missing",
            "other ": "missing"}  # fmt: skip


@dataclass(frozen=True)
class Laid:
    """A table ready to be written. groups: (heading, number of columns) above `columns`, beside the row labels.

    reasons: why cells are missing, in the order of the letters that cells point at. notes: what a reader must know.
    paper: the table's number in the paper, or None.
    """

    title: str
    groups: Sequence[tuple[str, int]]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    reasons: Sequence[str] = ()
    notes: Sequence[str] = ()
    first: str = ""  # heading of the row labels
    paper: int | None = None

    @property
    def heading(self) -> str:
        """Its title, after the paper's number of it."""
        return self.title if self.paper is None else f"Table {self.paper}: {self.title}"

    @property
    def caption(self) -> str:
        """Its title where the document has table numbers of its own."""
        return self.title if self.paper is None else f"{self.title} (Table {self.paper} of the paper)"

    @property
    def below(self) -> list[str]:
        """Reasons with their letters, then notes, each on one line."""
        lettered = (f"({letter(i)}) {why}" for i, why in enumerate(self.reasons))
        return [" ".join(note.split()) for note in (*lettered, *self.notes)]


@dataclass
class Reasons:
    """Collects reasons for missing cells; equal ones share a letter."""

    found: list[str] = field(default_factory=list)

    def mark(self, text: str, why: str) -> str:
        """Return `text` with the letter of `why` behind it; as it is where there is nothing to say."""
        if not why:
            return text
        if why not in self.found:
            self.found.append(why)
        return f"{text} ({letter(self.found.index(why))})"


def letter(index: int) -> str:
    """Return a, b ... z, aa, ab ... for 0, 1 ..."""
    text = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        text = chr(97 + rest) + text
    return text


def markdown(tables: Iterable[Laid], heading: str, legend: str) -> str:
    """Return the tables as Markdown; group headings are written into the column headings."""
    parts = [f"# {_without_tags(heading)}", _without_tags(legend)]
    for table in tables:
        spans = [name for name, width in table.groups for _ in range(width)]
        headers = [f"{name}: {column}" if name else column for name, column in zip(spans, table.columns, strict=True)]
        lines = [[table.first, *headers], ["---", *(["---:"] * len(headers))], *table.rows]
        body = "\n".join(f"| {' | '.join(map(_markdown_cell, line))} |" for line in lines)
        parts += [f"## {table.heading}", body, "\n".join(f"- {_without_tags(note)}" for note in table.below)]
    return "\n\n".join(part for part in parts if part) + "\n"


def page(tables: Iterable[Laid], heading: str, legend: str, figures: Sequence[tuple[str, str]] = ()) -> str:
    """Return the tables as one HTML page; figures: (caption, data URI)."""
    parts = [_html_table(table) for table in tables]
    parts += [
        f'<h2>{html.escape(caption)}</h2>\n<img alt="{html.escape(caption)}" src="{source}">'
        for caption, source in figures
    ]
    title = html.escape(heading)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    body = "\n".join([f"<h1>{title}</h1>", f"<p>{html.escape(legend)}</p>", *parts])
    head += f"<style>{STYLE}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def _markdown_cell(text: str) -> str:
    return _without_tags(text).replace("|", "\\|").replace("\n", " ")


def _without_tags(text: str) -> str:
    """Return `text` with the < that Markdown would read as a tag, and swallow, written out; in `code` it reads none."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if i % 2 else re.sub(r"<(?=[A-Za-z/!?])", "&lt;", piece) for i, piece in enumerate(pieces))


def _html_table(table: Laid) -> str:
    groups = "".join(f'<th colspan="{width}">{html.escape(name)}</th>' for name, width in table.groups)
    above = f"<tr><th></th>{groups}</tr>" if any(name for name, _ in table.groups) else ""
    columns = "".join(f"<th>{html.escape(column)}</th>" for column in (table.first, *table.columns))
    labelled = ((f"<td>{html.escape(label)}</td>", map(_html_cell, cells)) for label, *cells in table.rows)
    rows = "\n".join(f"<tr>{label}{''.join(cells)}</tr>" for label, cells in labelled)
    reasons, notes = ("".join(map(_html_item, texts)) for texts in (table.reasons, table.notes))
    return (
        f"<h2>{html.escape(table.heading)}</h2>\n<div class=wide><table>\n<thead>{above}<tr>{columns}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody></table></div>\n"
        + (f"<ol class=reasons>{reasons}</ol>\n" if reasons else "")
        + (f"<ul>{notes}</ul>" if notes else "")
    )


def _html_item(text: str) -> str:
    with_code = re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(text))
    return f"<li>{with_code}</li>"


def _html_cell(text: str) -> str:
    kind = _CLASSES.get(text[:6])
    shown = html.escape(text)
    if text.endswith(("]", "] at the edge")):  # an interval: on a line of its own
        shown = "{}<br><small>[{}</small>".format(*map(str.strip, shown.split("[", 1)))
    return f'<td class="{kind}">{shown}</td>' if kind else f"<td>{shown}</td>"
