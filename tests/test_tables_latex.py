"""One laid-out table as LaTeX."""

from __future__ import annotations

from dataclasses import replace

from study_samples import TABLE

from evaluation.paper.layout import latex


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
