"""A table whose rows do not fit its headers is our own fault, found when it is made."""

from __future__ import annotations

import pytest

from evaluation.report.parts import Table


def test_rows_must_fit_the_headers():
    assert Table("c", ["a", "b"], [["1", "2"]]).kind == "table"
    with pytest.raises(AssertionError, match="c"):
        Table("c", ["a", "b"], [["1"]])
