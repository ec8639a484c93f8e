"""One laid-out table in four languages."""

from __future__ import annotations

from dataclasses import replace

from evaluation.tables.layout import Laid, Reasons, latex, letter, markdown, page

TABLE = Laid(
    title="a & b",
    groups=[("AP50", 2), ("GFLOPs", 1)],
    columns=["ours", "verdict", "ours"],
    rows=[
        ["sr_light | x", "0.800 ± 0.010 [0.700, 0.900]", "within tolerance", "8.1"],
        ["<b>", "-", "not run (a)", "-"],
    ],
    reasons=["needs C:\\x_1 {50 %}"],
    notes=["one <note>"],
    first="run",
    paper=4,
)


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
    assert r"\caption{a \& b}" in latex([own])


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


def test_latex_escapes_and_counts_columns() -> None:
    text = latex([TABLE])
    assert r"\begin{tabular}{lrrr}" in text
    assert r" & \multicolumn{2}{c}{AP50} & \multicolumn{1}{c}{GFLOPs} \\" in text
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-4}" in text
    assert r"sr\_light $|$ x & 0.800 $\pm$ 0.010 [0.700, 0.900] & within tolerance & 8.1 \\" in text
    assert r"\par (a) needs C:\textbackslash{}x\_1 \{50 \%\}" in text
    assert r"\caption{a \& b (Table 4 of the paper)}" in text
    assert text.count("resizebox{") == text.count(r"\end{tabular}}") == 1  # closed where it was opened


def test_latex_prints_signs_dashes_and_letters_its_fonts_lack() -> None:
    own = replace(TABLE, rows=[["a-b", "-0.011 [-0.107, +0.061]", "-", "≥ 5"]], notes=["`--only x`, 2026-1-2, ü ę 日"])
    text = latex([own])
    assert r"a-b & $-$0.011 [$-$0.107, +0.061] & - & $\ge$ 5 \\" in text
    assert r"\par '-{}-only x', 2026-1-2, ü e (U+65E5)" in text


def test_latex_lets_paths_end_a_line_and_cuts_tables_that_are_higher_than_a_page() -> None:
    rows = [[f"run{i}", "-", "-", "-"] for i in range(90)]
    text = latex([replace(TABLE, rows=rows, notes=["in a/b"])])
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    assert [text.count(f"run{i} &") for i in range(90)] == [1] * 90
    assert text.count(r"\caption{a \& b, continued (Table 4 of the paper)}") == 2
    assert text.count(r"\par in a/\allowbreak{}b") == 1
