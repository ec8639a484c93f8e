"""One process in a run folder: the lock, and who holds it."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from data_utils.atomic import write_text
from data_utils.errors import InputError

LOCK, OWNER = "run.lock", "run.owner.json"


class RunLock:
    """Held from construction until `release`; the system frees it when the process ends in whatever way.

    Raises InputError naming the owner's process id when another process holds it.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._lock = FileLock(run_dir / LOCK)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"{run_dir}: {owner(run_dir)} works in this run folder; wait for it, or stop it") from None
        write_text(run_dir / OWNER, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")

    def release(self) -> None:
        """Let others in."""
        if self._lock.is_locked:
            (self.run_dir / OWNER).unlink(missing_ok=True)
            self._lock.release()


def is_held(run_dir: Path) -> bool:
    """Say whether a process works in this run folder now; leaves no trace."""
    if not (run_dir / LOCK).is_file():
        return False
    lock = FileLock(run_dir / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def owner(run_dir: Path) -> str:
    """Return "process <pid> on <host>" of the lock's holder, as far as it is known."""
    try:
        record = json.loads((run_dir / OWNER).read_text(encoding="utf-8"))
        return f"process {record['pid']} on {record['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
