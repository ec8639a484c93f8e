"""Tables as text: one laid-out table, written as Markdown and HTML; as LaTeX: latex.py."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from evaluation.paper.published import Source
from evaluation.paper.results import COSTS, Measured, Study

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


# A cell of the paper's tables: the published value, ours, the difference, and a verdict in words.


DIGITS = {"gflops": 1, "fps": 1}
WITHIN, OUTSIDE, NOT_RUN, INCOMPLETE = "within tolerance", "outside", "not run", "incomplete"
NOT_MEASURED = "not measured"  # it ran, but has no such box, or no such set
OTHER_DATA, OTHER_SIDE, OTHER_MACHINE = "other data", "other input side", "other machine"
ROUNDING = 1e-9  # 0.80 - 0.77 is a little more than 0.03


@dataclass(frozen=True)
class Cell:
    """One cell. why: what is missing, by seed. ran: whether there is any result, be it without this measure.

    on_paper_data, at_paper_side: whether ours was measured where the paper measured, and with an input of its side.
    """

    runs: tuple[str, ...]
    measure: str
    published: float | None
    mean: float | None
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    n_seeds: int = 0
    why: str = ""
    tolerance: float | None = None
    on_paper_data: bool = True
    at_paper_side: bool = True
    ran: bool = False

    @property
    def difference(self) -> float | None:
        """Ours minus the published value, or None."""
        return None if self.mean is None or self.published is None else self.mean - self.published

    @property
    def verdict(self) -> str:
        """How ours stands to the published value."""
        if self.mean is None:
            return INCOMPLETE if self.n_seeds else NOT_MEASURED if self.ran else NOT_RUN
        if self.measure == "fps":
            return OTHER_MACHINE
        if self.difference is None:
            return ""
        if self.measure == "gflops" and not self.at_paper_side:
            return OTHER_SIDE
        if self.measure != "gflops" and not self.on_paper_data:
            return OTHER_DATA
        if self.tolerance is None:
            return ""
        return WITHIN if abs(self.difference) <= self.tolerance + ROUNDING else OUTSIDE

    @property
    def ours(self) -> str:
        """Mean, SD over seeds and interval, as text."""
        if self.mean is None:
            return "-"
        digits = DIGITS.get(self.measure, 3)
        spread = "" if self.sd is None else f" ± {self.sd:.{digits}f}"
        interval = f" [{self.low:.{digits}f}, {self.high:.{digits}f}]" if self.low is not None else ""
        return f"{self.mean:.{digits}f}{spread}{interval}"

    @property
    def texts(self) -> tuple[str, str, str]:
        """Published, ours, difference."""
        digits = DIGITS.get(self.measure, 2)
        published = "-" if self.published is None else f"{self.published:.{digits}f}"
        difference = "" if self.difference is None else f"{self.difference:+.{DIGITS.get(self.measure, 3)}f}"
        return published, self.ours, difference


def cell_of(study: Study, source: Source) -> Cell:
    """Return the cell of one run and measure; of several, their mean, which is none while one is missing."""
    cells = [_single(study, run, measure) for run, measure in source]
    if len(cells) == 1:
        return cells[0]
    published = [cell.published for cell in cells if cell.published is not None]
    means = [cell.mean for cell in cells if cell.mean is not None]
    tolerances = [cell.tolerance for cell in cells if cell.tolerance is not None]
    return Cell(
        runs=tuple(dict.fromkeys(run for run, _ in source)),
        measure=source[0][1],
        published=fmean(published) if len(published) == len(cells) else None,
        mean=fmean(means) if len(means) == len(cells) else None,
        n_seeds=sum({cell.runs: cell.n_seeds for cell in cells}.values()),  # of one run once, however many its measures
        why="" if len(means) == len(cells) else "a mean of rows above, of which some are missing",
        tolerance=max(tolerances, default=None),
        on_paper_data=all(cell.on_paper_data for cell in cells),
        at_paper_side=all(cell.at_paper_side for cell in cells),
        ran=all(cell.ran for cell in cells),
    )


def _single(study: Study, run: str, measure: str) -> Cell:
    entry = study.registry.get(run)
    measured = study.measured(run, measure)
    return Cell(
        runs=(run,),
        measure=measure,
        published=entry.paper.get(measure) if entry else None,  # pyright: ignore[reportArgumentType] "small": never
        mean=measured.mean,
        sd=None if measure in COSTS else measured.sd,
        low=measured.low,
        high=measured.high if measured.low is not None else None,
        n_seeds=len(measured.by_seed),
        why=reason(run, measured),
        tolerance=entry.tolerance.get(measure) if entry else None,  # pyright: ignore[reportArgumentType]
        on_paper_data=study.on_paper_data(run),
        at_paper_side=study.at_paper_side(run),
        ran=measured.ran,
    )


def reason(run: str, measured: Measured) -> str:
    """Say which seeds are missing and why, beside the values of those that are there; nothing where none is."""
    if not measured.missing:
        return ""
    reasons = set(measured.missing.values())
    if not measured.by_seed and len(reasons) == 1:
        return reasons.pop()  # without the run's name, so that rows may share it
    there = ", ".join(f"seed {seed} has {value:.3f}" for seed, value in sorted(measured.by_seed.items()))
    gone = "; ".join(f"seed {seed}: {why}" for seed, why in sorted(measured.missing.items()))
    return f"{run}: {gone}" + (f"; {there}; no mean over fewer seeds than were asked for" if there else "")


# Tables as LaTeX, for a paper: signs and letters that its own fonts print, no wider and no higher than a page.


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$",
          ">": r"$>$", "|": r"$|$", "`": "'", "≤": r"$\le$", "≥": r"$\ge$", "≈": r"$\approx$", "−": "$-$",
          "μ": r"$\mu$", **{special: f"\\{special}" for special in "&%_#${}"}}  # fmt: skip
_LAST_LETTER = "\u017f"  # up to here LaTeX's own fonts have all letters but these; and, behind it, these signs
_UNKNOWN_LETTERS, _KNOWN_SIGNS = "«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ", "–—‘’“”…€←→•™"
_CONTINUED = ", continued"
_LATEX_ROWS = 40  # of a table: more do not fit on a page
_NEEDS = r"% Needs \usepackage{booktabs, graphicx}."
# A table wider than the text is made as wide as it; \width is that of what is resized.
_FITTED = r"\resizebox{\ifdim\width>\textwidth \textwidth\else\width\fi}{!}{%"
_BREAK = r"/\allowbreak{}"  # a line may end within a path


def latex(tables: Iterable[Laid]) -> str:
    """Return the tables as LaTeX, for \\input; they need the packages booktabs and graphicx."""
    return "\n".join([_NEEDS, *(_latex_table(part) for table in tables for part in _pages(table))])


def _pages(table: Laid) -> Iterator[Laid]:
    """Cut a table that is higher than a page into several; reasons and notes stand below the last."""
    while len(table.rows) > _LATEX_ROWS:
        yield replace(table, rows=table.rows[:_LATEX_ROWS], reasons=(), notes=())
        following = table.title.removesuffix(_CONTINUED) + _CONTINUED
        table = replace(table, title=following, rows=table.rows[_LATEX_ROWS:])
    yield table


def _latex_table(table: Laid) -> str:
    spans, at = [], 2
    for _, width in table.groups:
        spans.append((at, at + width - 1))
        at += width
    groups = " & ".join(
        rf"\multicolumn{{{width}}}{{c}}{{{_escaped(name)}}}" if name else " & " * (width - 1)
        for name, width in table.groups
    )
    rules = " ".join(rf"\cmidrule(lr){{{a}-{b}}}" for a, b in spans)
    above = [rf" & {groups} \\", rules] if any(name for name, _ in table.groups) else []
    lines = [
        r"\begin{table}",
        rf"\caption{{{_escaped(table.caption)}}}\smallskip",
        r"\footnotesize\raggedright",
        _FITTED,
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        *above,
        _latex_row([table.first, *table.columns]),
        r"\midrule",
        *map(_latex_row, table.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        *(rf"\par {_escaped(note).replace('/', _BREAK)}" for note in table.below),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(text: str) -> str:
    text = re.sub(r"(?<!\w)-(?=\d)", "−", text)
    escaped = "".join(_LATEX.get(character) or _in_its_fonts(character) for character in text)
    return re.sub(r"-(?=-)", "-{}", escaped)  # `--only` has two dashes, not a long one


def _in_its_fonts(character: str) -> str:
    """Return a character as it is, as its letter without marks, or as its number, whichever LaTeX can print."""
    if (character <= _LAST_LETTER and character not in _UNKNOWN_LETTERS) or character in _KNOWN_SIGNS:
        return character
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or f"(U+{ord(character):04X})"
