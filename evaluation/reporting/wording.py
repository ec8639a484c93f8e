"""Numbers and counts in words. What is not defined reads "n/a", never NaN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.report import NOT_DEFINED


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share as per cent: "74.0 %"."""
    return NOT_DEFINED if value is None else f"{100 * value:.{digits}f}\u00a0%"


def counted(count: int, noun: str) -> str:
    """Write a count with its noun: "1 frame", "1,200 frames", "2 classes", "no frame"."""
    if count == 1:
        return f"1 {noun}"
    plural = noun + ("es" if noun.endswith(("s", "x")) else "s")
    return f"{count:,} {plural}" if count else f"no {noun}"


def between(interval: Mapping[str, Any] | None, as_percent: bool = False, kind: str = "bca_", digits: int = 3) -> str:
    """Write an interval: "0.766 to 0.853", in per cent if asked; empty where there is none. kind: "bca_" or ""."""
    low, high = (None, None) if interval is None else (interval[f"{kind}low"], interval[f"{kind}high"])
    if low is None or high is None:
        return ""
    if as_percent:
        return f"{100 * low:.1f} to {100 * high:.1f}\u00a0%"
    return f"{low:.{digits}f} to {high:.{digits}f}"


def object_noun(metrics: Mapping[str, Any]) -> str:
    """Return what a true box is called: "lesion" in a one-class detector, "object" among several classes."""
    return "lesion" if len(metrics["per_class"]) == 1 else "object"


def knows_patients(metrics: Mapping[str, Any]) -> bool:
    """Return whether frames are told apart by patient; else each frame stands for a patient of its own."""
    return metrics["unit"] in ("patient", "sequence")
