"""What several commands' argument lists share."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence

_OVERRIDE = re.compile(r"[A-Za-z_][\w.]*=")


def overrides_last(arguments: Sequence[str] | None = None) -> list[str]:
    """Return a command's arguments (default: this process's) with key=value words moved behind all options.

    An option of several values would take them otherwise: `--seeds 0 1 lr0=0.01`.
    """
    words = sys.argv[1:] if arguments is None else arguments
    overrides = [word for word in words if _OVERRIDE.match(word)]
    return [*(word for word in words if not _OVERRIDE.match(word)), "--", *overrides]


def whole_from(least: int) -> Callable[[str], int]:
    """Return a `type` for argparse: a whole number of at least `least`."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"'{text}': a whole number from {least}")
        return int(text)

    return read
