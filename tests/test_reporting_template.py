"""The report's template needs nothing from outside, trusts only its style, and can be read by everyone."""

from __future__ import annotations

import re

import pytest

from data_utils.pages import environment
from evaluation.report.template import STYLE, TEMPLATE


def test_the_template_is_well_formed():
    environment().parse(TEMPLATE)
    assert "<!DOCTYPE html>" in TEMPLATE
    assert re.findall(r"\{\{([^}]*safe[^}]*)\}\}", TEMPLATE) == [" style | safe "]


@pytest.mark.parametrize(
    "forbidden", ["<script", "http:", "https:", "url(", "@import", "<link", "javascript", " onload"]
)
def test_nothing_is_loaded_or_run(forbidden):
    assert forbidden not in (TEMPLATE + STYLE).lower()


def test_every_class_and_colour_used_is_defined():
    used = {name for names in re.findall(r'class="([a-z -]+)"', TEMPLATE) for name in names.split()}
    assert {name for name in used if not re.search(rf"\.{name}\b", STYLE)} == set()
    assert set(re.findall(r"var\((--[\w-]+)\)", STYLE)) <= set(re.findall(r"(--[\w-]+):", STYLE))


def test_a_caption_of_a_table_wider_than_a_phone_is_read_whole():
    assert "<caption><span>" in TEMPLATE
    assert re.search(r"caption span \{ position: sticky;[^}]*max-width: calc\(100vw", STYLE)


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(ink, paper):
    light, dark = sorted((luminance(ink), luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(
    ("ink", "paper"),
    [("ink", "page"), ("soft", "page"), ("soft", "panel"), ("accent", "page"), ("warn", "warn-panel"), ("ink", "mark"),
     *((f"c{place}", "page") for place in range(6))],
)  # fmt: skip
def test_colours_are_far_enough_apart_to_be_read(ink, paper):
    colours = {name: "#" + "".join(d * 2 for d in value) if len(value) == 3 else f"#{value}"
               for name, value in re.findall(r"--([\w-]+): #([0-9a-f]{3,6});", STYLE)}  # fmt: skip
    assert contrast(colours[ink], colours[paper]) >= 4.5  # WCAG AA for text
