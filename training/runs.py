"""List the run folders: what each trains, whether it is finished, running or can be resumed, and its best epoch.

    python -m training.runs [--results results] [--csv FILE]
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_utils.errors import run_command

COLUMNS = ("run", "task", "data", "split", "state", "epoch", "best_epoch", "measure", "best", "started")
MEASURES = {"detection": "ap50", "denoise": "psnr"}  # task -> column of log.csv by which epochs are compared


def describe_runs(results_dir: str | Path) -> list[dict[str, Any]]:
    """Return a row of `COLUMNS` for each run folder below `results_dir`/runs, the oldest first."""
    records = Path(results_dir).glob("runs/*/run.json")
    return sorted((_describe(path.parent) for path in records), key=lambda row: (row["started"] or "", row["run"]))


def _describe(run_dir: Path) -> dict[str, Any]:
    from training.run.folder import read_record

    record = read_record(run_dir)
    task = record.get("task", "detection")
    rows, measure = _log_rows(run_dir / "log.csv"), record.get("measure", MEASURES.get(task, "ap50"))
    scored = [row for row in rows if row.get(measure)]
    best = max(scored, key=lambda row: float(row[measure]), default=None)
    return {
        "run": run_dir.name,
        "task": task,
        "data": record.get("dataset"),
        "split": record.get("split"),
        "state": _state(run_dir, record),
        "epoch": f"{len(rows)}/{_epochs(run_dir)}",
        "best_epoch": best["epoch"] if best else None,
        "measure": measure,
        "best": float(best[measure]) if best else None,
        "started": record.get("started"),
    }


def _state(run_dir: Path, record: dict[str, Any]) -> str:
    """Return finished; running, with its process; or what is to be done to go on."""
    from training.run.folder import is_held, owner
    from training.run.state import LAST

    if is_held(run_dir):
        return f"running ({owner(run_dir)})"
    if "result" in record:
        return "finished"
    if not record:
        return "unreadable run.json"
    if not (run_dir / LAST).is_file():
        return "nothing saved"
    return f"stopped ({record['stopped'].partition(';')[0]})" if "stopped" in record else "killed"


def _epochs(run_dir: Path) -> int | str:
    from data_utils.config.loading import read_yaml
    from data_utils.errors import InputError

    try:
        return read_yaml(run_dir / "config.yaml").get("epochs", "?")
    except InputError:
        return "?"


def _log_rows(path: Path) -> list[dict[str, str]]:
    """Return the whole rows of log.csv; a torn last line, as of a run that is being written, is passed over."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if None not in row.values() and None not in row]
    except OSError:
        return []


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m training.runs",
        description=(__doc__ or "").splitlines()[0],
        epilog="example: python -m training.runs",
    )
    parser.add_argument("--results", default="results", help="the results folder (default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="also write the table as CSV")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args(argv)
    from data_utils.command_line import format_table
    from data_utils.files import write_csv

    rows = describe_runs(arguments.results)
    if arguments.csv:
        write_csv(arguments.csv, COLUMNS, rows)
    if arguments.json:
        print(json.dumps(rows, indent=1))
    elif rows:
        print(format_table([{name: _cell(row[name]) for name in COLUMNS} for row in rows]))
        print("go on with one that is stopped or killed: python train.py --resume RUN (denoise: -m training.denoise)")
    else:
        print(f"no runs under {arguments.results}/runs")


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run_command(main)
