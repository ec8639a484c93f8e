"""The folder a conversion writes: built under a hidden name beside its place, then renamed, so it is whole or absent.

.convert.json in it records every file. Only a folder in which nothing changed since is ever replaced.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_utils.atomic import write_text
from data_utils.errors import EXIT_TERMINATED, InputError
from data_utils.imaging.images import file_hash

MARKER = ".convert.json"  # hidden, so that no reader takes it for labels


class TargetFolder:
    """A folder to be written whole; use as a context manager, fill `building`, then call `finish`.

    staging: hidden folder on the same disk, gone when the block ends. building: the folder in it that will be renamed.
    Making one raises InputError where `target` holds something that must not be replaced, or overlaps with `source`.
    """

    def __init__(self, target: Path, source: Path, overwrite: bool) -> None:
        self.target, self._place = target, target.resolve()
        # Not the target's own name, which may be as long as names can be.
        digest = hashlib.sha256(str(self._place).encode("utf-8", "surrogateescape")).hexdigest()
        self._handler: Any = None  # of SIGTERM, before us
        self.staging = self._place.parent / f".convert-{digest[:12]}"
        self.building = self.staging / "set"
        self._old = self.staging.with_name(self.staging.name + "-old")
        real = source.resolve()
        if self._place.is_relative_to(real) or real.is_relative_to(self._place):
            raise InputError(f"{target}: lies in the source {source} or holds it; the source is never written")
        if self._old.exists() and not self._place.exists():
            self._old.rename(self._place)  # an earlier run was killed between its last two steps
        self._check_replaceable(overwrite)

    def __enter__(self) -> TargetFolder:
        shutil.rmtree(self.staging, ignore_errors=True)  # of a killed run
        self.building.mkdir(parents=True)
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, _leave)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)

    def finish(self, record: Mapping[str, object]) -> None:
        """Write .convert.json with `record` and a mark of each file, and rename the folder into its place."""
        text = json.dumps({**record, "files": file_marks(self.building)}, indent=1, ensure_ascii=False)
        write_text(self.building / MARKER, text + "\n")
        shutil.rmtree(self._old, ignore_errors=True)
        if self._place.exists():
            self._place.rename(self._old)
        self.building.rename(self._place)
        shutil.rmtree(self._old, ignore_errors=True)

    def _check_replaceable(self, overwrite: bool) -> None:
        place = self._place
        if not place.exists() or (place.is_dir() and not any(place.iterdir())):
            return
        if not overwrite:
            raise InputError(f"{self.target}: is there already; choose another folder, or --overwrite for one that "
                             "this command wrote")  # fmt: skip
        written = _read_marks(place)
        if written is None:
            raise InputError(f"{self.target}: was not written by this command (no {MARKER}), so it is not overwritten; "
                             "move it away")  # fmt: skip
        now = file_marks(place)
        changed = sorted(name for name in now.keys() | written.keys() if now.get(name) != written.get(name))
        if changed:
            raise InputError(f"{self.target}: {len(changed)} files changed since they were written, the first is "
                             f"{changed[0]}; move the folder away")  # fmt: skip


def _leave(*_: object) -> None:
    """End on SIGTERM as on Ctrl-C: the unfinished folder is removed on the way out."""
    print("error: terminated", file=sys.stderr)
    sys.exit(EXIT_TERMINATED)


def file_marks(folder: Path) -> dict[str, str]:
    """Return {path: hash} of all files below `folder` but .convert.json."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / MARKER)
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}


def _read_marks(folder: Path) -> dict[str, Any] | None:
    try:
        files = json.loads((folder / MARKER).read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return files if isinstance(files, dict) else None
