"""Tables are aligned, words to the left and numbers to the right."""

from __future__ import annotations

from data_utils.command_line import format_table


def test_alignment_by_hand() -> None:
    rows = [{"name": "a", "n_frames": 5}, {"name": "long", "n_frames": 12}]
    assert format_table(rows) == "name  n frames\na            5\nlong        12"
    assert format_table(rows, str.upper).startswith("NAME  N_FRAMES")


def test_no_rows_are_no_text() -> None:
    assert format_table([]) == ""
