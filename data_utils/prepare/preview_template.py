"""The HTML of the preview page, a Jinja template; a module, so that it is installed wherever the package is."""

from __future__ import annotations

from data_utils.pages import BASE_STYLE, HEAD

PALETTE = """
:root { color-scheme: light dark; --ink: #1d2429; --soft: #5b6770; --page: #fff; --panel: #f4f6f7; --line: #d5dbdf;
  --kept: #3a6ea5; --out: #c2552d; --shade: rgba(194, 85, 45, .13); }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ec; --soft: #9fabb3; --page: #14181b; --panel: #1e2428;
  --line: #37424a; --kept: #76a9de; --out: #ee8a62; --shade: rgba(238, 138, 98, .17); } }
"""

OWN_STYLE = """
a { color: var(--kept); }
.limits { background: var(--panel); border-radius: 8px; padding: .5rem .9rem; margin: .6rem 0; }
.chart { padding: 0 10px 0 46px; margin: 1rem 0 0; }
.chart svg { display: block; width: 100%; height: 222px; overflow: visible; }
.chart text { font: 12px system-ui, sans-serif; fill: var(--soft); }
.chart .grid { stroke: var(--line); } .chart .base { stroke: var(--soft); }
.chart .cut { stroke: var(--out); stroke-width: 2; stroke-dasharray: 5 3; }
.chart .cut-label { fill: var(--out); font-weight: 600; }
.chart .shade { fill: var(--shade); } .kept { fill: var(--kept); } .out { fill: var(--out); }
.rows { display: flex; flex-wrap: wrap; gap: 0 2.5rem; }
.frames { display: flex; flex-wrap: wrap; gap: .75rem; }
figure.one { width: 160px; } figure.two { width: 324px; }
figure .pictures { display: flex; gap: 4px; align-items: flex-start; }
figure.two img { max-width: calc(50% - 2px); }
figcaption { font-size: .8rem; line-height: 1.35; margin-top: .25rem; } figcaption b { display: block; }
.broken { min-height: 6rem; padding: .5rem; border: 1px dashed var(--out); border-radius: 4px; font-size: .8rem; }
@media (max-width: 480px) { .rows { display: block; }
  .flip caption { white-space: nowrap; } .flip tbody { display: flex; }
  .flip tr { display: flex; flex-direction: column; flex: 0 1 8rem; }
  .flip th:first-child, .flip td:first-child, .flip th { text-align: left; } .flip td:first-child { text-align: right; }
  .frames { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: .6rem; }
  figure.one { width: auto; } figure.two { grid-column: span 3; width: auto; } figure.one img { width: 100%; }
  figure.two img { width: calc(50% - 2px); } }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --page: #fff; --panel: #f4f6f7; --line: #bbb;
  --kept: #3a6ea5; --out: #b0431b; --shade: rgba(194, 85, 45, .13); }
  html { font-size: 12px; } body { max-width: none; padding: 0; }
  h2, h3 { break-after: avoid; } .chart, .scroll { break-inside: avoid; }
  .totals div, .limits { border: 1px solid var(--line); } }
"""

STYLE = PALETTE.strip() + BASE_STYLE + OWN_STYLE.lstrip()

MACROS = """
{% macro frames_word(n) %}{{ '{:,}'.format(n) }} {{ 'frame' if n == 1 else 'frames' }}{% endmacro %}
{% macro percent(n, of) %}{{ (100 * n / of) | precise(3) if of else 0 }}&nbsp;%{% endmacro %}

{% macro cut(x, row, label, shade_from, shade_to) %}
<rect class="shade" x="{{ shade_from }}%" y="40" width="{{ (shade_to - shade_from) | round(3) }}%" height="150"/>
<line class="cut" x1="{{ x }}%" x2="{{ x }}%" y1="{{ 16 * row + 6 }}" y2="190"/>
<text class="cut-label" x="{{ x }}%" y="{{ 16 * row + 13 }}" \
{% if x > 55 %}dx="-5" text-anchor="end"{% else %}dx="5"{% endif %}>{{ label }}</text>
{% endmacro %}

{% macro drawing(part) %}
{% set chart, test = part.chart, part.test %}
<div class="chart">
<svg role="img" aria-label="Histogram of {{ test.title | lower }}: {{ chart.n_kept }} kept by this test, \
{{ chart.n_excluded }} excluded by it; the numbers are in the tables below">
{% for tick in chart.y_ticks %}
<line class="{{ 'grid' if tick.at else 'base' }}" x1="0" x2="100%" y1="{{ 190 - tick.at }}" y2="{{ 190 - tick.at }}"/>
<text x="-6" y="{{ 194 - tick.at }}" text-anchor="end">{{ tick.label }}</text>
{% endfor %}
{% if chart.line_low is not none %}
{{ cut(chart.line_low, 0, (part.settings | first).label, 0, chart.line_low) }}
{% endif %}
{% if chart.line_high is not none %}
{{ cut(chart.line_high, 1, (part.settings | last).label, chart.line_high, 100) }}
{% endif %}
{% for bar in chart.bars if bar.count %}
<rect class="{{ 'out' if bar.is_excluded else 'kept' }}" x="{{ bar.x }}%" y="{{ (190 - bar.height) | round(1) }}" \
width="{{ [bar.width * 0.94, 0.3] | max | round(3) }}%" height="{{ bar.height }}"><title>\
{{ test.interval(bar) | join(' to ') }}: {{ frames_word(bar.count) }}</title></rect>
{% endfor %}
{% for tick in chart.x_ticks %}
<line class="base" x1="{{ tick.at }}%" x2="{{ tick.at }}%" y1="190" y2="195"/>
<text x="{{ tick.at }}%" y="210" text-anchor="middle">{{ tick.label }}</text>
{% endfor %}
</svg>
</div>
<p class="legend small">
<span><svg aria-hidden="true"><rect class="kept" width="12" height="12"/></svg>kept by this test: \
{{ frames_word(chart.n_kept) }}</span>
<span><svg aria-hidden="true"><rect class="out" width="12" height="12"/></svg>excluded by this test\
{% if chart.line_low is not none or chart.line_high is not none %} (shaded){% endif %}: \
{{ frames_word(chart.n_excluded) }} ({{ percent(chart.n_excluded, chart.n_kept + chart.n_excluded) }})</span>
</p>
<p class="soft small">Across: {{ test.title | lower }} ({{ test.unit }})\
{% if test.axis.log_from is not none %}, logarithmic with room for 0{% endif %}. \
Up: frames; no bar with a frame is lower than 2 pixels. No bar straddles a threshold, so some are narrower.\
{% if part.n_without %} {{ frames_word(part.n_without) }} without this score.{% endif %}</p>
{% endmacro %}

{% macro numbers(part) %}
<div class="scroll"><table class="flip"><caption>This share of the frames scores at most</caption>
<tr>{% for share, _ in part.percentiles %}<th scope="col">{{ 'least' if share == 0 else 'most' if share == 100 else \
'half' if share == 50 else '%s %%' % share }}</th>{% endfor %}</tr>
<tr>{% for _, value in part.percentiles %}<td>{{ value }}</td>{% endfor %}</tr></table></div>
<details><summary>The histogram in numbers</summary><div class="scroll"><table>
<tr><th scope="col">from</th><th scope="col">to</th><th scope="col">frames</th><th scope="col">this test</th></tr>
{% for bar in part.chart.bars if bar.count %}
<tr>{% for end in part.test.interval(bar) %}<td>{{ end }}</td>{% endfor %}\
<td>{{ '{:,}'.format(bar.count) }}</td><td>{{ 'excludes' if bar.is_excluded else 'keeps' }}</td></tr>
{% endfor %}
</table></div></details>
{% endmacro %}

{% macro shown(row) %}
<h3>{{ row.heading }}</h3>
{% if row.frames %}
<div class="frames">
{% for frame in row.frames %}
<figure class="{{ 'two' if frame.pictures | length > 1 else 'one' }}">
<div class="pictures">
{% for picture in frame.pictures %}
<img src="{{ picture.source }}" width="{{ picture.width }}" height="{{ picture.height }}" alt="{{ picture.alt }}">
{% endfor %}
</div>
{% if frame.problem %}<div class="broken">{{ frame.problem }}</div>{% endif %}
<figcaption><b>{{ frame.score }}</b><bdi>{{ frame.filename }}</bdi><br>\
<span class="soft">{{ frame.fate }}</span></figcaption>
</figure>
{% endfor %}
</div>
{% else %}
<p class="soft">No frame.</p>
{% endif %}
{% endmacro %}
"""

BODY = """
<title>{{ title }}: frame quality</title>
<style>{{ style | safe }}</style>
</head>
<body>
<header>
<h1>{{ title }}: frame quality</h1>
<div class="totals">
<div><b>{{ '{:,}'.format(n_read) }}</b>{{ 'frame' if n_read == 1 else 'frames' }} read</div>
<div><b>{{ '{:,}'.format(n_kept) }}</b>kept ({{ percent(n_kept, n_read) }})</div>
<div><b>{{ '{:,}'.format(n_excluded) }}</b>excluded ({{ percent(n_excluded, n_read) }})</div>
</div>
{% if reasons %}
<div class="scroll"><table><caption>Why frames are excluded</caption>
<tr><th scope="col">reason</th><th scope="col">frames</th><th scope="col">of all</th>\
<th scope="col">this reason alone</th></tr>
{% for kind, n, n_alone in reasons %}
<tr><td>{% if kind in sections %}<a href="#{{ sections[kind] }}">{{ kind }}</a>{% else %}{{ kind }}{% endif %}</td>\
<td>{{ '{:,}'.format(n) }}</td><td>{{ percent(n, n_read) }}</td><td>{{ '{:,}'.format(n_alone) }}</td></tr>
{% endfor %}
</table></div>
<p class="soft small">A frame can have several reasons. With one alone it would come back if that test were \
switched off.</p>
{% endif %}
<nav class="small"><p>Scores: {% for part in parts %}<a href="#{{ part.test.section }}">{{ part.test.title }}</a>\
{{ '' if loop.last else ' · ' }}{% endfor %}</p></nav>
<p class="soft small">Thresholds belong to a data set: change them in its config under <code>filter</code>, or on the \
command line, and look again. A score equal to a threshold is kept, but for near-duplicates.</p>
</header>
<main>
{% for part in parts %}
{% set test = part.test %}
<section id="{{ test.section }}">
<h2>{{ test.title }} <span class="soft small">{{ 'share of the pixels' if test.unit == '%' else test.unit }}</span></h2>
<p>{{ test.meaning }}</p>
<p><b>Low:</b> {{ test.low_looks }}. <b>High:</b> {{ test.high_looks }}.</p>
<div class="limits small">
{% for setting in part.settings %}
<p><code>dataset.filter.{{ setting.key }}: {{ setting.value }}</code> &ndash; {{ setting.rule }}</p>
{% endfor %}
</div>
{% if part.chart is none %}
<p class="soft">No frame has this score.</p>
{% else %}
{{ drawing(part) }}
{{ numbers(part) }}
{% if test.picture_note %}
<p class="soft small">{{ test.picture_note }}</p>
{% endif %}
<div class="rows">
{% for row in part.rows %}
<div>{{ shown(row) }}</div>
{% endfor %}
</div>
{% endif %}
</section>
{% endfor %}
<section id="unreadable">
<h2>Unreadable frames</h2>
{% if unreadable %}
<ul class="small">
{% for filename, why in unreadable %}
<li><bdi>{{ filename }}</bdi>: {{ why }}</li>
{% endfor %}
</ul>
{% if n_unreadable > unreadable | length %}
<p>and {{ frames_word(n_unreadable - unreadable | length) }} more, listed in the filter log.</p>
{% endif %}
{% else %}
<p class="soft">None.</p>
{% endif %}
</section>
</main>
<footer class="soft small"><p>This page holds pictures and file names of the data set: handle it as the frames \
themselves. It loads nothing and sends nothing.</p></footer>
</body>
</html>
"""

TEMPLATE = MACROS.strip() + HEAD.lstrip() + BODY.lstrip()
