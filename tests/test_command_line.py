"""Arguments that several commands share."""

from __future__ import annotations

import argparse

import pytest

from data_utils.command_line import overrides_last


@pytest.mark.parametrize(
    "words",
    [
        ["--seeds", "0", "1", "lr0=0.01", "run.name=a b", "--epochs", "3"],
        ["lr0=0.01", "--epochs", "3", "run.name=a b", "--seeds", "0", "1"],
        ["--epochs", "3", "--seeds", "0", "1", "lr0=0.01", "run.name=a b"],
    ],
)
def test_settings_may_stand_anywhere(words: list[str]):
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("overrides", nargs="*")
    found = parser.parse_args(overrides_last(words))
    assert (found.seeds, found.epochs, found.overrides) == ([0, 1], 3, ["lr0=0.01", "run.name=a b"])


def test_options_with_an_equals_sign_stay_options():
    assert overrides_last(["--seeds=0", "a=1"]) == ["--seeds=0", "--", "a=1"]


def test_the_process_s_own_arguments_are_the_default(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["command", "a=1", "--epochs", "3"])
    assert overrides_last() == ["--epochs", "3", "--", "a=1"]
