"""What a YOLO folder says about itself: class names, and where its images are listed.

Ultralytics and CVAT write data.yaml; darknet and CVAT's "YOLO 1.1" write obj.names and obj.data; drawing tools leave
classes.txt. All of them count class ids from 0 in their own order, so they must agree with dataset.names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data_utils.atomic import write_text
from data_utils.config import read_yaml
from data_utils.errors import InputError
from data_utils.formats.class_list import CLASS_LIST, read_class_list
from data_utils.formats.labels import breaks_line, read_label_bytes
from data_utils.visible_files import is_hidden

YAML_FILES = ("data.yaml", "dataset.yaml", "data.yml")
OBJ_NAMES, OBJ_DATA = "obj.names", "obj.data"
LIST_KEYS = ("train", "val", "valid", "validation", "test")  # in any case: tools write Train and Validation too
OTHER_DARKNET_KEYS = ("classes", "names", "backup", "eval")  # of obj.data; all others name lists of images
DARKNET_LISTS = ("train.txt", "valid.txt", "test.txt")  # beside obj.names, where there is no obj.data
MAX_BYTES = 1 << 17  # 128 KiB hold five thousand names, and PyYAML needs seconds for them
MAX_CLASSES = 100_000


@dataclass(frozen=True)
class YoloIndex:
    """One file that names classes or lists images.

    names, nc: None where the file does not say. entries: (key it stands under, what it says) of each list or folder of
    images. root: `path` of a data.yaml, what its entries are relative to. has_keypoints: its labels are poses.
    """

    path: Path
    names: tuple[str, ...] | None
    nc: int | None = None
    entries: tuple[tuple[str, str], ...] = ()
    root: str = "."
    has_keypoints: bool = False


def read_indexes(raw: Path) -> list[YoloIndex]:
    """Read the index of `raw` and of each folder right below it; of each folder one: data.yaml before obj.names before
    classes.txt. Raises InputError naming file and key for one that cannot be read.
    """
    indexes = []
    for folder in index_folders(raw):
        yaml_file = next((folder / name for name in YAML_FILES if (folder / name).is_file()), None)
        if yaml_file is not None:
            indexes.append(_read_data_yaml(yaml_file))
        elif (folder / OBJ_NAMES).is_file():
            indexes.append(_read_darknet(folder))
        elif (folder / CLASS_LIST).is_file():
            indexes.append(YoloIndex(folder / CLASS_LIST, read_class_list(folder / CLASS_LIST)))
    return indexes


def index_folders(raw: Path) -> list[Path]:
    """Return `raw` and the folders right below it, where archives have their one top folder; hidden ones left out."""
    below = sorted(path for path in raw.iterdir() if path.is_dir() and not is_hidden(path.name))
    return [raw, *below]


def write_data_yaml(path: Path, names: Sequence[str]) -> None:
    """Write a data.yaml whose images are all of `images/` beside it, classes in their order."""
    lines = ["path: .", "train: images", "names:"]
    # Always quoted: as plain words 1e-3, no or ~ would come back as something else.
    lines += [f"  {number}: {_quoted(name)}" for number, name in enumerate(names)]
    write_text(path, "\n".join([*lines, ""]))


def _read_data_yaml(path: Path) -> YoloIndex:
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes, too large for a data.yaml; list images in a .txt file")
    values = read_yaml(path)
    names = _names_of(values.get("names"), path)
    nc = values.get("nc")
    if nc is not None and (isinstance(nc, bool) or not isinstance(nc, int) or not 0 < nc <= MAX_CLASSES):
        raise InputError(f"{path}: nc must be a number of classes")
    if names is not None and nc not in (None, len(names)):
        raise InputError(f"{path}: nc = {nc}, but names lists {len(names)}: {_shown(names)}; mend one of them")
    root = values.get("path")
    if not isinstance(root, str | None):
        raise InputError(f"{path}: path must be text, the folder of the images")
    written = {str(key).lower(): str(key) for key in values}
    keys = [written[key] for key in LIST_KEYS if key in written]
    entries = [(key, entry) for key in keys for entry in _entries_of(values[key], key, path)]
    return YoloIndex(path, names, nc, tuple(entries), root or ".", "kpt_shape" in values)


def _read_darknet(folder: Path) -> YoloIndex:
    names = read_class_list(folder / OBJ_NAMES)
    data = folder / OBJ_DATA
    if not data.is_file():
        entries = [(name, name) for name in DARKNET_LISTS if (folder / name).is_file()]
        return YoloIndex(folder / OBJ_NAMES, names, None, tuple(entries))
    try:
        text = read_label_bytes(data).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{data}: not UTF-8 text; save it as UTF-8, 'key = value' a line") from None
    pairs = [(key.strip(), value.strip()) for key, _, value in (line.partition("=") for line in text.split("\n"))]
    settings = dict(pairs)
    nc = settings.get("classes", str(len(names)))
    if nc != str(len(names)):
        raise InputError(f"{data}: classes = {nc[:40]}, but {OBJ_NAMES} lists {len(names)}: {_shown(names)}; mend one")
    entries = [(key, value) for key, value in pairs if value and key not in OTHER_DARKNET_KEYS]
    return YoloIndex(folder / OBJ_NAMES, names, None, tuple(entries))


def _names_of(value: Any, path: Path) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, dict):
        keys = list(value)
        if any(isinstance(key, bool) or not isinstance(key, int) for key in keys) or set(keys) != set(range(len(keys))):
            raise InputError(f"{path}: names must be numbered 0, 1, 2, ... without a gap, or be a list")
        value = [value[key] for key in sorted(keys)]
    if not isinstance(value, list) or len(value) > MAX_CLASSES:
        raise InputError(f"{path}: names must be a list, [a, b], or numbered lines, 0: a")
    return _distinct([_name_of(name, path) for name in value], path)


def _name_of(name: Any, path: Path) -> str:
    if not isinstance(name, str) or any(map(breaks_line, name)):
        raise InputError(f"{path}: class names must be words, each on one line")
    return name


def _entries_of(value: Any, key: str, path: Path) -> list[str]:
    entries = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(entry, str) and not any(map(breaks_line, entry)) for entry in entries):
        raise InputError(f"{path}: {key} must be a folder, a list file, or a list of those")
    return [entry.strip() for entry in entries if entry.strip()]


def _distinct(names: Sequence[str], path: Path) -> tuple[str, ...]:
    if not names or len(set(names)) != len(names) or not all(name.strip() for name in names):
        raise InputError(f"{path}: class names must be distinct and not empty, found {_shown(names)}; mend the list")
    return tuple(names)


def _shown(names: Sequence[str]) -> str:
    return str(list(names))[:200]


def _quoted(name: str) -> str:
    return yaml.safe_dump(name, default_style='"', allow_unicode=True, width=1 << 20).strip()
