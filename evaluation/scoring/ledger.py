"""The ledger of test scorings: a test set is spent a little each time it is looked at, and a report says how often.

`results/test_ledger.jsonl` gets one line for each scoring of a list that is not for choosing: the test lists and
external sets. Lines are only ever added.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from data_utils.errors import InputError

LEDGER = "test_ledger.jsonl"
SENTENCE = "This list has been scored"
FOR_CHOOSING = ("train", "val", "val_healthy")  # parts of a split that thresholds, epochs and settings are chosen on


@dataclass(frozen=True)
class Scorings:
    """What the ledger holds on one list of frames: scorings, different weights among them, torn lines left out."""

    n_scorings: int
    n_weights: int
    n_torn: int

    def sentence(self) -> str:
        """Return it in words."""
        times = "once" if self.n_scorings == 1 else f"{self.n_scorings} times"
        weights = "one set of weights" if self.n_weights == 1 else f"{self.n_weights} different sets of weights"
        torn = f" ({self.n_torn} torn lines of the ledger not counted)" if self.n_torn else ""
        return f"{SENTENCE} {times}, with {weights}{torn}."


def is_spent_by_scoring(data: str) -> bool:
    """Return whether scoring `data` goes into the ledger."""
    return data not in FOR_CHOOSING


def note_scoring(results_dir: Path, about: Mapping[str, Any], command: str) -> Scorings:
    """Append one scoring, and return what the ledger now holds on its list.

    about: the first line of a prediction file (data, split, list_sha256, weights_sha256, config_sha256, n_frames).
    """
    ledger = results_dir / LEDGER
    names = ("data", "label", "split", "list_sha256", "n_frames", "weights_sha256", "config_sha256")
    line = {"time": datetime.now().astimezone().isoformat(timespec="seconds"), "command": command}
    line |= {name: about.get(name) for name in names}
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{ledger}.lock"):
        torn = ledger.is_file() and not ledger.read_bytes().endswith(b"\n") and ledger.stat().st_size > 0
        with ledger.open("a", encoding="utf-8") as stream:
            stream.write("\n" * torn + json.dumps(line) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    return scorings_of(ledger, about["list_sha256"])


def scorings_of(ledger: Path, list_sha256: str) -> Scorings:
    """Count the scorings of the list with this hash."""
    lines, n_torn = _read(ledger)
    own = [line for line in lines if line.get("list_sha256") == list_sha256]
    return Scorings(len(own), len({line.get("weights_sha256") for line in own}), n_torn)


def _read(ledger: Path) -> tuple[Sequence[dict[str, Any]], int]:
    lines, n_torn = [], 0
    try:
        text = ledger.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise InputError(f"{ledger}: not readable ({error})") from None
    for line in text.splitlines():
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError
            lines.append(row)
        except ValueError:
            n_torn += bool(line.strip())
    return lines, n_torn
