"""classes.txt: the class names of a set, one a line, in the order of their ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_utils.atomic import write_text
from data_utils.errors import InputError
from data_utils.formats.labels import breaks_line, read_label_bytes

CLASS_LIST = "classes.txt"


def read_class_list(path: str | Path) -> tuple[str, ...]:
    """Read the names of a class list; blanks around names and empty lines do not count.

    Raises InputError, naming file and line, for what is no UTF-8 text, a control character, a name that stands twice,
    and a list without names.
    """
    try:
        text = read_label_bytes(Path(path)).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8, one class name a line") from None
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        name = line.strip()
        if any(map(breaks_line, name)):
            raise InputError(f"{path}:{number}: a control character in a class name; write one name a line")
        if name in lines:
            raise InputError(f"{path}:{number}: class '{name}' stands in line {lines[name]} already; remove one")
        if name:
            lines[name] = number
    if not lines:
        raise InputError(f"{path}: no class names in it; write one a line")
    return tuple(lines)


def write_class_list(path: str | Path, names: Sequence[str]) -> Path:
    """Write a class list; raises InputError for names that could not be read back."""
    for name in names:
        if name != name.strip("\ufeff ").strip() or not name or any(map(breaks_line, name)):
            raise InputError(f"class name {name!r} cannot stand in {CLASS_LIST}; take line breaks and outer blanks out")
    write_text(path, "".join(f"{name}\n" for name in names))
    return Path(path)
