"""Exit codes and the one line a user sees, through real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_utils.errors import InputError, InterruptedRun, ResumableError

HEADER = "import errno\nfrom data_utils.errors import *\ndef main():\n    "


def run(body: str, repo_root: Path, shell_tail: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command whose main function is `body`."""
    command = [sys.executable, "-c", f"{HEADER}{body}\nrun_command(main)"]
    if shell_tail:
        command = ["bash", "-c", f'set -o pipefail; "$0" "$@" {shell_tail}', *command]
    # Unbuffered output would meet a closed pipe at the first print; by default it is met when the process ends.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.run(command, cwd=repo_root, env=environment, capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        ("return None", 0, ""),
        ("return 0", 0, ""),
        ("return 3", 3, ""),
        ("raise InputError('labels/a.txt:3: class 9; use 0 to 2')", 2, "error: labels/a.txt:3: class 9; use 0 to 2\n"),
        ("raise InputError('one\\ntwo')", 2, "error: one two\n"),
        ("raise ResumableError('stopped; go on with --resume')", 75, "error: stopped; go on with --resume\n"),
        ("raise InterruptedRun('stopped by SIGTERM', 143)", 143, "error: stopped by SIGTERM\n"),
        ("raise InterruptedRun('stopped by Ctrl-C', 130)", 130, "error: stopped by Ctrl-C\n"),
        ("raise KeyboardInterrupt", 130, "error: interrupted\n"),
        (
            "raise OSError(errno.ENOSPC, 'No space left on device', 'weights/last.pt')",
            75,
            "error: weights/last.pt: No space left on device; free or change the folder and run again\n",
        ),
        (
            "raise OSError(errno.EROFS, 'Read-only file system')",
            75,
            "error: output: Read-only file system; free or change the folder and run again\n",
        ),
        (
            "raise OSError(errno.EISDIR, 'Is a directory', 'out/.tmp-1', None, 'out/log.csv')",
            2,
            "error: out/log.csv: Is a directory; change the path, or move what is in the way\n",
        ),
        (
            "open('x' * 300)",
            2,
            f"error: {'x' * 300}: File name too long; change the path, or move what is in the way\n",
        ),
    ],
)
def test_each_ending_has_its_code_and_one_line(repo_root, body, code, line):
    result = run(body, repo_root)
    assert (result.returncode, result.stderr) == (code, line)


@pytest.mark.parametrize("body", ["raise ValueError('ours')", "raise OSError(errno.EIO, 'bad disk')", "1 / 0"])
def test_our_own_faults_show_where(repo_root, body):
    result = run(body, repo_root)
    assert result.returncode == 1
    assert "Traceback" in result.stderr


@pytest.mark.parametrize("lines", [1, 200_000])
def test_a_reader_that_goes_away_is_no_error(repo_root, lines):
    result = run(f"import time; time.sleep(0.2); print('line\\n' * {lines})", repo_root, shell_tail="| true")
    assert (result.returncode, result.stderr) == (0, "")


def test_bad_input_is_a_value_error_and_an_interruption_is_resumable():
    assert issubclass(InputError, ValueError)
    assert isinstance(InterruptedRun("stopped", 130), ResumableError)
    assert ResumableError("x").exit_code == 75


def test_output_that_cannot_show_a_name_is_no_fault(repo_root, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = run("print('r\\xe4w')", repo_root)
    assert (result.returncode, result.stdout) == (0, "r\\xe4w\n")
