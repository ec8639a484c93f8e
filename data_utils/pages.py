"""How a page is made and written: everything escaped, nothing loaded from outside, one file."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from data_utils.files import write_text
from data_utils.imaging.images import BgrImage, encode_image

# Up to and without the title. A browser told this loads nothing and runs nothing.
HEAD = """
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
"""

# Colours come from the page's :root: --ink, --soft, --page, --panel, --line.
BASE_STYLE = """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--page); overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.25rem; margin: 0 0 .25rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .5rem; }
p { margin: .4rem 0; } code { font-size: .92em; }
.soft { color: var(--soft); } .small { font-size: .875rem; font-weight: normal; }
.totals { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.totals div { flex: 1 1 7rem; background: var(--panel); border-radius: 8px; padding: .6rem .9rem; }
.totals b { display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
section { border-top: 1px solid var(--line); margin-top: 1.75rem; padding-top: 1.25rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem .2rem 0; text-align: right; border-bottom: 1px solid var(--line); font-weight: normal;
  white-space: nowrap; }
th { color: var(--soft); } th:first-child, td:first-child { text-align: left; }
caption { text-align: left; color: var(--soft); padding: .3rem 0; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.25rem; margin: .25rem 0 .75rem; }
.legend svg { width: 12px; height: 12px; margin-right: .4rem; }
figure { margin: 0; max-width: 100%; break-inside: avoid; }
figure img { display: block; border-radius: 4px; max-width: 100%; min-width: 0; height: auto; }
li { margin: .2rem 0; } summary { cursor: pointer; color: var(--soft); font-size: .875rem; margin-top: .5rem; }
footer { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: .75rem; }
"""


def environment() -> jinja2.Environment:
    """Return the environment of all templates: every value is escaped, and a name that is not there is an error."""
    return jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)


def write_page(path: str | Path, template: jinja2.Template, **values: Any) -> None:
    """Render `template` and write it, whole or not at all."""
    # A file name need not be valid Unicode, a page must be.
    write_text(path, template.render(values).encode("utf-8", "backslashreplace").decode("utf-8"))


# A picture inside a page: a JPEG as data URI, made from pixels alone, so that no metadata of a file comes along.


JPEG_QUALITY = 80


@dataclass(frozen=True)
class Picture:
    """A small JPEG. source: data URI; width, height: pixels."""

    source: str
    width: int
    height: int
    alt: str


def jpeg_picture(bgr: BgrImage, alt: str, jpeg_quality: int = JPEG_QUALITY) -> Picture:
    """Encode uint8 BGR [H, W, 3] for a page."""
    encoded = base64.b64encode(encode_image(bgr, ".jpg", jpeg_quality)).decode("ascii")
    return Picture(f"data:image/jpeg;base64,{encoded}", bgr.shape[1], bgr.shape[0], alt)


# Round numbers for the axes of charts.


TICK_STEPS = (1, 2, 5, 10)


def round_steps(low: float, high: float, n: int) -> list[float]:
    """Return about `n` round numbers in [low, high]: multiples of 1, 2 or 5 times a power of ten."""
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / n))
    step = power * next(factor for factor in TICK_STEPS if factor * power * n >= span * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]
