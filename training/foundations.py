"""What a run stands on - settings, data and the project's own code - and what of it changed before it was resumed.

A resumed run ends as the uninterrupted one would only on the same foundations, so they are kept with every checkpoint.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from data_utils.config import config_from_dict, config_hash
from data_utils.config_sections import Config
from data_utils.errors import InputError
from data_utils.imaging.images import file_hash

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("data_utils", "models", "evaluation", "training")  # whose code decides what a training computes
PACKAGES = ("torch", "ultralytics", "numpy", "opencv-python", "opencv-python-headless")
SHOWN = 5  # differences of a kind that are named; the others are counted
# Settings that change where and how fast a run runs, never what it computes: they may differ without a word.
NEUTRAL = {
    "run.name", "run.results_dir", "run.weights_dir", "run.fixed_copies", "run.workers", "run.cache", "run.panel_every",
    "run.sr_metric_frames", "run.fps_iters", "run.wandb", "run.tensorboard",
}  # fmt: skip

Digests = dict[str, str]


def config_part(config: Config) -> dict[str, Any]:
    """Return the settings as plain values, with their hash."""
    return {"config": config.model_dump(mode="json"), "config_hash": config_hash(config)}


def data_part(files: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """Return {"data": {part: {file: digest of its bytes}}, "lists": {part: digest of its files' order}}.

    files: of each part (train, val), in the order of its list. A file is named by its last three path components, so
    that a moved data folder is the same data. Raises InputError for a file that cannot be read.
    """
    data = {part: _digests(paths) for part, paths in files.items()}
    order = {part: _digest("\n".join(map(_name, paths)).encode()) for part, paths in files.items()}
    return {"data": data, "lists": order}


def code_part() -> dict[str, Any]:
    """Return {"code": {source file: digest}, "versions": {package: version}}."""
    sources = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    code = {path.relative_to(ROOT).as_posix(): _digest(path.read_bytes()) for path in sources}
    return {"code": code, "versions": {name: found for name in PACKAGES if (found := _version(name))}}


def differences(saved: Mapping[str, Any], now: Mapping[str, Any], where: str) -> list[str]:
    """Say what differs between two foundations, a clause for each kind; empty where nothing of weight does.

    saved: a checkpoint, or whatever holds the keys of the parts above. Raises InputError for settings this version
    cannot read.
    """
    unrecorded = [key for key in ("data", "lists", "code", "versions", "config_hash") if not saved.get(key)]
    found = [f"not recorded in this checkpoint: {', '.join(unrecorded)}"] if unrecorded else []
    found += _listed("settings", _changed_settings(saved, now, where))
    for key, label in (("data", "data"), ("code", "code"), ("versions", "versions")):
        if key not in unrecorded:
            found += _listed(label, _changed(_flat(saved[key]), _flat(now[key]), with_values=key == "versions"))
    if "lists" not in unrecorded and not any(clause.startswith("data:") for clause in found):
        moved = [part for part in now["lists"] if saved["lists"].get(part) != now["lists"][part]]
        found += _listed("lists", [f"the order of {part}" for part in moved])
    return found


def _changed_settings(saved: Mapping[str, Any], now: Mapping[str, Any], where: str) -> list[str]:
    if not isinstance(saved.get("config"), Mapping):
        return ["not recorded in this checkpoint"]
    if saved.get("config_hash", "") not in ("", config_hash(saved["config"])):
        return ["their hash does not fit them"]
    # Read back as settings: a key that is newer than the checkpoint has its default in both.
    before = config_from_dict(saved["config"], f"{where}: config").model_dump(mode="json")
    old, new = _flat(before), _flat(now["config"])
    return _changed(
        {key: value for key, value in old.items() if key not in NEUTRAL},
        {key: value for key, value in new.items() if key not in NEUTRAL},
        with_values=True,
    )


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], *, with_values: bool = False) -> list[str]:
    def shown(key: str) -> str:
        if not with_values:
            return f"{key} {'added' if key not in old else 'gone' if key not in new else 'changed'}"
        return f"{key} {_value(old.get(key))} -> {_value(new.get(key))}"

    return [shown(key) for key in sorted({*old, *new}) if old.get(key) != new.get(key)]


def _listed(label: str, items: Sequence[str]) -> list[str]:
    if not items:
        return []
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return [f"{label}: {', '.join(items[:SHOWN])}{more}"]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _digests(paths: Iterable[Path]) -> Digests:
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor() as threads:  # reading and hashing free the interpreter
        return dict(zip(map(_name, unique), threads.map(_file_digest, unique), strict=True))


def _file_digest(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; prepare the data set again") from None


def _name(path: Path) -> str:
    return "/".join(path.parts[-3:])


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
