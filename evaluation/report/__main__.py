"""Print or rewrite what saved results say: `python -m evaluation.report`; the words stand in text.py."""

from __future__ import annotations

from data_utils.errors import run_command
from evaluation.report.text import main

if __name__ == "__main__":
    run_command(main)
