"""Optional packages, imported when something needs them."""

from __future__ import annotations

import importlib
from typing import Any

from data_utils.errors import InputError


def import_extra(name: str, what: str) -> Any:
    """Import an optional package or module. Raises InputError, saying what needs it, where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise InputError(f"{what} needs {package} ({error}); install it: pip install {package}") from None
