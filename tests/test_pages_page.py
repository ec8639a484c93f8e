"""Pages escape what they are given, refuse what they are not, and are written whole."""

from __future__ import annotations

import jinja2
import pytest

from data_utils.pages import BASE_STYLE, HEAD, environment, write_page


def test_values_are_escaped_and_undecodable_names_written(tmp_path):
    template = environment().from_string("<p>{{ name }}</p>")
    write_page(tmp_path / "new" / "page.html", template, name="<b>\udcff&")
    assert (tmp_path / "new" / "page.html").read_text(encoding="utf-8") == "<p>&lt;b&gt;\\udcff&amp;</p>"


def test_a_value_that_is_missing_leaves_the_old_page(tmp_path):
    (tmp_path / "page.html").write_text("old")
    with pytest.raises(jinja2.UndefinedError):
        write_page(tmp_path / "page.html", environment().from_string("{{ nothing }}"))
    assert (tmp_path / "page.html").read_text() == "old"


@pytest.mark.parametrize("forbidden", ["<script", "http:", "https:", "url(", "@import", "<link", "javascript"])
def test_nothing_is_loaded(forbidden):
    assert forbidden not in (HEAD + BASE_STYLE).lower()
