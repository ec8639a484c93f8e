"""Findings and pairs."""

from __future__ import annotations

import pytest

from data_utils.audit.report import Finding, FramePair


@pytest.mark.parametrize(
    ("severity", "messages", "verdict", "blocks"),
    [
        ("leak", ["a"], "LEAK", True),
        ("error", ["a", "b"], "ERROR", True),
        ("warning", ["a"], "warning", False),
        ("note", ["a"], "note", False),
        ("leak", [], "ok", False),
        ("error", [], "ok", False),
    ],
)
def test_what_was_found_decides_the_verdict(severity, messages, verdict, blocks) -> None:
    finding = Finding("split1", "a check", severity, messages)
    assert (finding.verdict, finding.blocks, finding.count) == (verdict, blocks, len(messages))


def test_a_pair_names_files_without_folders() -> None:
    pair = FramePair("split1", "near-duplicates", "val", "/x/a.jpg", "train", "/y/b.jpg", 0.876)
    assert str(pair) == "val/a.jpg ~ train/b.jpg (0.88)"
