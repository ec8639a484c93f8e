"""The HTML of the report, a Jinja template; a module, so that it is installed wherever the package is."""

from __future__ import annotations

from data_utils.pages import BASE_STYLE, HEAD

PALETTE = """
:root { color-scheme: light; --ink: #1d2429; --soft: #55606a; --page: #fff; --panel: #f2f5f7; --line: #d5dbdf;
  --accent: #2f5f93; --warn: #8a3b12; --warn-panel: #fdf1e7; --mark: #dcebf9;
  --c0: #1f5fa8; --c1: #b8480f; --c2: #1b7a46; --c3: #7a3fa0; --c4: #94660a; --c5: #5b6770; }
"""

OWN_STYLE = """
a { color: var(--accent); }
h3 { margin-top: 1.5rem; }
nav p { display: flex; flex-wrap: wrap; gap: .15rem 1rem; }
p { max-width: 75ch; } .lead { font-size: 1.1rem; }
.warning { background: var(--warn-panel); border-left: 4px solid var(--warn); color: var(--warn);
  padding: .4rem .8rem; }
.points { padding-left: 1.2rem; max-width: 75ch; }
.scroll { margin: .8rem 0; } .scroll:focus-visible { outline: 2px solid var(--accent); }
thead th { border-bottom: 2px solid var(--line); vertical-align: bottom; }
tbody th { color: var(--ink); }
.mark { background: var(--mark); font-weight: 600; }
.long th { text-align: left; } .long td { text-align: left; white-space: normal; min-width: 12rem; }
caption { font-weight: 600; color: var(--ink); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 310px), 1fr)); gap: 1.25rem 2rem; }
.plot { max-width: 620px; } .plots figcaption { font-size: .95rem; font-weight: 600; }
.chart { padding: 0 14px 0 40px; }
.chart svg { display: block; width: 100%; height: 256px; overflow: visible; }
.chart svg svg { height: 200px; overflow: hidden; }
.chart text { font: 12px system-ui, sans-serif; fill: var(--soft); }
.grid { stroke: var(--line); } .base { stroke: var(--soft); }
.cut { stroke: var(--ink); stroke-dasharray: 4 3; } .chart .cut-label { fill: var(--ink); }
.curve { fill: none; stroke-width: 2; vector-effect: non-scaling-stroke; stroke-linejoin: round; }
.band { stroke: none; opacity: .16; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); stroke-dasharray: 7 3; }
.s2 { stroke: var(--c2); stroke-dasharray: 2 3; }
.s3 { stroke: var(--c3); stroke-dasharray: 9 3 2 3; } .s4 { stroke: var(--c4); stroke-dasharray: 4 2; }
.s5 { stroke: var(--c5); stroke-dasharray: 1 4; }
.f0 { fill: var(--c0); } .f1 { fill: var(--c1); } .f2 { fill: var(--c2); } .f3 { fill: var(--c3); }
.f4 { fill: var(--c4); } .f5 { fill: var(--c5); }
.plots .legend { margin: 0; } .plots .legend svg { width: 26px; height: 10px; }
.frames { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 1rem .8rem;
  align-items: start; }
.frames img { width: 100%; image-rendering: auto; }
.wide { margin: 1rem 0 1.5rem; }
.strip { display: grid; grid-template-columns: repeat(4, 1fr); gap: .5rem; } .strip img { width: 100%; }
.strip p { margin: 0; font-size: .8rem; line-height: 1.35; }
figcaption { font-size: .8rem; line-height: 1.35; margin-top: .25rem; }
pre { overflow-x: auto; font-size: .8rem; background: var(--panel); border-radius: 8px; padding: .6rem .9rem; }
@media (max-width: 560px) { caption span { position: sticky; left: 0; display: inline-block;
  max-width: calc(100vw - 2.2rem); }
  tbody th:first-child { white-space: normal; min-width: 8.5rem; }
  .strip { grid-template-columns: 1fr 1fr; }
  .frames { grid-template-columns: 1fr 1fr; } .totals div { flex-basis: 40%; } }
@media (min-width: 700px) { caption { white-space: nowrap; } }
@media print { html { font-size: 12px; } body { max-width: none; padding: 0; }
  h2, h3 { break-after: avoid; } .chart, tr, .strip { break-inside: avoid; } nav { display: none; }
  .scroll { overflow: visible; } th, td { white-space: normal; }
  .totals div, .warning, pre { border: 1px solid var(--line); } }
"""

STYLE = PALETTE.strip() + BASE_STYLE + OWN_STYLE.lstrip()

MACROS = """
{% macro table(part) %}
<div class="scroll" tabindex="0" role="group" aria-label="{{ part.caption }}">
<table{% if part.headers[0] == '' %} class="long"{% endif %}>
<caption><span>{{ part.caption }}</span></caption>
<thead><tr>{% for header in part.headers %}<th scope="col">{{ header }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in part.rows %}
{% set place = loop.index0 %}
<tr>{% for cell in row %}{% if loop.first %}<th scope="row">{{ cell }}</th>{% else %}\
<td{% if (place, loop.index0) in part.marked %} class="mark"{% endif %}>{{ cell }}</td>{% endif %}{% endfor %}</tr>
{% else %}
<tr><td colspan="{{ part.headers | length }}">none</td></tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}

{% macro chart(chart) %}
<figure class="plot">
<figcaption>{{ chart.title }}</figcaption>
<div class="chart"><svg role="img" aria-label="{{ chart.words }}">
<title>{{ chart.words }}</title>
{% for tick in chart.y_ticks %}
<line class="grid" x1="0" x2="100%" y1="{{ tick.at + 12 }}" y2="{{ tick.at + 12 }}"/>
<text x="-6" y="{{ tick.at + 16 }}" text-anchor="end">{{ tick.label }}</text>
{% endfor %}
<line class="base" x1="0" x2="100%" y1="212" y2="212"/>
{% for tick in chart.x_ticks %}
<line class="base" x1="{{ tick.at }}%" x2="{{ tick.at }}%" y1="212" y2="216"/>
<text x="{{ tick.at }}%" y="230" text-anchor="middle">{{ tick.label }}</text>
{% endfor %}
<text x="50%" y="249" text-anchor="middle">{{ chart.x_label }}</text>
<svg x="0" y="12" width="100%" height="200" viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">
{% for curve in chart.curves %}
{% if curve.band %}
<path class="band f{{ curve.style }}" d="{{ curve.band }}"/>
{% endif %}
{% if curve.path %}
<path class="curve s{{ curve.style }}" d="{{ curve.path }}"/>
{% endif %}
{% endfor %}
</svg>
{% for curve in chart.curves %}
{% for x, y, words in curve.dots %}
<circle class="f{{ curve.style }}" cx="{{ x }}%" cy="{{ y + 12 }}" r="4"><title>{{ words }}</title></circle>
{% endfor %}
{% endfor %}
{% if chart.mark %}
<line class="cut" x1="{{ chart.mark[0] }}%" x2="{{ chart.mark[0] }}%" y1="4" y2="212"/>
<text class="cut-label" x="{{ chart.mark[0] }}%" y="10" \
{% if chart.mark[0] > 50 %}dx="-5" text-anchor="end"{% else %}dx="5"{% endif %}>{{ chart.mark[1] }}</text>
{% endif %}
</svg></div>
<p class="legend small">
{% if chart.y_label %}<span class="soft">Up: {{ chart.y_label }}.</span>{% endif %}

{% for curve in chart.curves %}
<span><svg aria-hidden="true"><line class="curve s{{ curve.style }}" x1="0" x2="26" y1="5" y2="5"/></svg>\
{{ curve.name }}</span>
{% endfor %}
</p>
</figure>
{% endmacro %}

{% macro gallery(part) %}
<h3>{{ part.heading }}</h3>
<div{% if not part.is_wide %} class="frames"{% endif %}>
{% for shown in part.shown %}
<figure{% if part.is_wide %} class="wide"{% endif %}>
<div{% if part.is_wide %} class="strip"{% endif %}>
{% for picture in shown.pictures %}
<div><img src="{{ picture.source }}" width="{{ picture.width }}" height="{{ picture.height }}" alt="{{ picture.alt }}">
{% if shown.titles %}<p>{{ shown.titles[loop.index0] }}</p>{% endif %}</div>
{% endfor %}
</div>
<figcaption>{{ shown.caption }}</figcaption>
</figure>
{% endfor %}
</div>
{% endmacro %}

{% macro draw(part, is_lead) %}
{% if part.kind == 'text' %}
<p{% if part.is_warning %} class="warning"{% elif is_lead %} class="lead"{% endif %}>{{ part.words }}</p>
{% elif part.kind == 'points' %}
{% if part['items'] %}
<ul class="points small">{% for item in part['items'] %}<li>{{ item }}</li>{% endfor %}</ul>
{% endif %}
{% elif part.kind == 'table' %}
{{ table(part) }}
{% elif part.kind == 'charts' %}
<div class="plots">
{% for one in part.charts %}
{{ chart(one) }}
{% endfor %}
</div>
{% elif part.kind == 'gallery' %}
{{ gallery(part) }}
{% elif part.kind == 'folded' %}
<details><summary>{{ part.summary }}</summary>
{% if part.table %}{{ table(part.table) }}{% else %}<pre tabindex="0">{{ part.text }}</pre>{% endif %}
</details>
{% endif %}
{% endmacro %}
"""

BODY = """
<title>{{ title }}</title>
<style>{{ style | safe }}</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
<p class="soft small">{{ subtitle }}</p>
<div class="totals">
{% for value, label in totals %}
<div><b>{{ value }}</b>{{ label }}</div>
{% endfor %}
</div>
<nav class="small" aria-label="Sections"><p>{% for section in sections %}<a href="#{{ section.anchor }}">\
{{ section.title }}</a> {% endfor %}</p></nav>
</header>
<main>
{% for section in sections %}
<section id="{{ section.anchor }}" aria-labelledby="{{ section.anchor }}-title">
<h2 id="{{ section.anchor }}-title">{{ section.title }}</h2>
{% set is_first = loop.first %}
{% for part in section.parts %}
{{ draw(part, is_first and loop.first) }}
{% endfor %}
</section>
{% endfor %}
</main>
<footer class="soft small"><p>{{ closing }}</p></footer>
</body>
</html>
"""

TEMPLATE = MACROS.strip() + HEAD.lstrip() + BODY.lstrip()
