"""Reading back what we saved as JSON, where a file that is missing or torn counts as one that says nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any


def read_saved_json(path: Path) -> dict[str, Any]:
    """Return the object a JSON file holds; empty when it is missing, torn or no object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def finite(value: Any) -> float | None:
    """Return what was read as a float; None for NaN, infinities and anything that is no number, true and false too."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None
