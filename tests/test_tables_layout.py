"""One laid-out table in its languages."""

from __future__ import annotations

from dataclasses import replace

from study_samples import TABLE

from evaluation.paper.layout import Reasons, letter, markdown, page


def test_letters() -> None:
    assert [letter(index) for index in (0, 1, 25, 26, 27, 51, 52)] == ["a", "b", "z", "aa", "ab", "az", "ba"]


def test_equal_reasons_share_a_letter() -> None:
    reasons = Reasons()
    marked = [reasons.mark("not run", why) for why in ("x", "y", "x", "")]
    assert marked == ["not run (a)", "not run (b)", "not run (a)", "not run"]
    assert reasons.found == ["x", "y"]


def test_markdown() -> None:
    lines = markdown([TABLE], "Tables", "a legend").splitlines()
    assert lines[:6] == ["# Tables", "", "a legend", "", "## Table 4: a & b", ""]
    assert lines[6] == "| run | AP50: ours | AP50: verdict | GFLOPs: ours |"
    assert lines[8] == "| sr_light \\| x | 0.800 ± 0.010 [0.700, 0.900] | within tolerance | 8.1 |"
    assert "- (a) needs C:\\x_1 {50 %}" in lines
    assert len({line.replace("\\|", "").count("|") for line in lines if line.startswith("|")}) == 1


def test_markdown_swallows_no_tag() -> None:
    own = replace(TABLE, notes=["one <note> of 3 < 4, `cat <IN`", "<!-- x"])
    lines = markdown([own], "<i>", "5 <b>").splitlines()
    assert lines[:3] == ["# &lt;i>", "", "5 &lt;b>"]
    assert "- one &lt;note> of 3 < 4, `cat <IN`" in lines
    assert "- &lt;!-- x" in lines
    assert any(line.startswith("| &lt;b> | - |") for line in lines)


def test_a_table_that_is_none_of_the_papers_has_no_number() -> None:
    own = replace(TABLE, paper=None)
    assert "## a & b" in markdown([own], "Tables", "a legend").splitlines()
    assert own.caption == "a & b"


def test_html_escapes_and_colours() -> None:
    text = page([TABLE], "Tables", "a legend", [("Figure 3", "data:image/png;base64,AA==")])
    assert '<th colspan="2">AP50</th><th colspan="1">GFLOPs</th>' in text
    assert "<td>&lt;b&gt;</td>" in text
    assert '<td class="within">within tolerance</td>' in text
    assert '<td class="missing">not run (a)</td>' in text
    assert "0.800 ± 0.010<br><small>[0.700, 0.900]</small>" in text
    assert '<img alt="Figure 3" src="data:image/png;base64,AA==">' in text
    assert "one &lt;note&gt;" in text
    assert "http" not in text  # self-contained


def test_html_colours_no_row_label() -> None:
    own = replace(TABLE, rows=[["within_ring", "-", "outside", "-"], ["other[1]", "-", "-", "-"]])
    text = page([replace(own, notes=["`cat <x`"])], "Tables", "a legend")
    assert "<li><code>cat &lt;x</code></li>" in text
    assert "<tr><td>within_ring</td><td>-</td><td class=\"outside\">outside</td>" in text
    assert "<td>other[1]</td>" in text
