"""The page's template needs nothing from outside, and its colours are there in light, in the dark and on paper."""

from __future__ import annotations

import re

import jinja2
import pytest

from data_utils.prepare.preview_template import STYLE, TEMPLATE


def test_the_template_is_well_formed_and_starts_a_page():
    jinja2.Environment(autoescape=True).parse(TEMPLATE)
    assert "<!DOCTYPE html>" in TEMPLATE
    assert 'lang="en"' in TEMPLATE


@pytest.mark.parametrize(
    "forbidden", ["<script", "http:", "https:", "url(", "@import", "<link", "javascript", " onload"]
)
def test_nothing_is_loaded_or_run(forbidden):
    assert forbidden not in (TEMPLATE + STYLE).lower()


def test_the_browser_is_told_to_load_nothing():
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in TEMPLATE


def test_only_the_style_is_trusted():
    assert re.findall(r"\{\{([^}]*safe[^}]*)\}\}", TEMPLATE) == [" style | safe "]


@pytest.mark.parametrize("mode", ["@media (prefers-color-scheme: dark)", "@media print"])
def test_every_colour_is_defined_in_every_mode(mode):
    used = set(re.findall(r"var\((--\w+)\)", STYLE))
    for block in (STYLE, STYLE[STYLE.index(mode) :]):
        rules = re.search(r":root \{([^}]*)\}", block)
        assert rules is not None
        assert used <= set(re.findall(r"(--\w+):", rules[1]))


def test_every_class_used_has_a_style():
    used = {name for names in re.findall(r'class="([a-z -]+)"', TEMPLATE) for name in names.split()}
    assert {name for name in used if not re.search(rf"\.{name}\b", STYLE)} == set()
