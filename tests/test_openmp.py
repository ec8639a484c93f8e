"""OpenMP's waiting threads."""

from __future__ import annotations

import os

import pytest

from models.openmp import limit_spinning


@pytest.mark.parametrize(
    ("before", "expected"),
    [({}, "20000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_the_users_own_setting_stands(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, str], expected: str | None
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    limit_spinning()
    assert os.environ.get("GOMP_SPINCOUNT") == expected
