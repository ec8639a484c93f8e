"""Tables as LaTeX, for a paper: signs and letters that its own fonts print, no wider and no higher than a page."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from evaluation.tables.layout import Laid

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
