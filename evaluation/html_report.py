"""One page about a run, drawn from its saved files: `python -m evaluation.html_report RUN` writes RUN/report.html.

RUN is a run folder, or one eval_*.json. The page loads nothing: pictures and charts are inside it. It holds parts of
frames (unless --no-pictures), so handle it as the frames themselves; patients are hashed, file names left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_utils.errors import run_command

PAGE = "report.html"


def write_report(record_file: Path, with_pictures: bool = True) -> Path:
    """Write the page about one evaluation beside it, whole or not at all, and return it.

    It is report.html for what `find_record` would choose in a run folder, else report_<weights>_<data>.html. Raises
    InputError when `record_file` is no evaluation of today's evaluate.py.
    """
    from data_utils.pages import environment, write_page
    from evaluation.report.page import page_values
    from evaluation.report.pictures import write_key
    from evaluation.report.run_files import read_run
    from evaluation.report.template import STYLE, TEMPLATE

    files = read_run(record_file)
    values = page_values(files, with_pictures)
    path = page_path(record_file)
    write_key(files, path)  # beside the page, never in it: file names may hold a patient's id
    write_page(path, environment().from_string(TEMPLATE), style=STYLE, **values)
    return path


def page_path(record_file: Path) -> Path:
    """Return where the page about an evaluation goes."""
    from evaluation.report.run_files import find_record, is_run_folder

    folder = record_file.parent
    if is_run_folder(folder) and find_record(folder) == record_file:
        return folder / PAGE
    return folder / f"report{record_file.stem.removeprefix('eval')}.html"


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page and say where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.html_report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m evaluation.html_report results/runs/RUN",
    )
    parser.add_argument("run", type=Path, help="run folder, or one eval_*.json")
    parser.add_argument("--data", help="which evaluation of the folder: test, val or an external set; default: test")
    parser.add_argument("--no-pictures", action="store_true", help="leave out everything that shows a frame")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    from evaluation.report.run_files import find_record

    record_file = find_record(arguments.run, arguments.data)
    print(f"written: {write_report(record_file, with_pictures=not arguments.no_pictures)}")


if __name__ == "__main__":
    run_command(main)
