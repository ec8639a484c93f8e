"""Prepared frames by index: read from their files, or kept in memory once they were decoded.

The memory is anonymous, never a file and never a pickle, and is shared with loader processes forked afterwards: what
one of them decodes, all have. Legend: frames are uint8 RGB [H, W, 3].
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np

from data_utils.augment import Image
from data_utils.imaging.images import read_bgr

AUTO_SHARE = 4  # `auto` takes at most a quarter of the free memory


class Frames(Protocol):
    """Frames by index."""

    def __getitem__(self, index: int) -> Image:
        """Return frame `index`, not to be written to; raises UnreadableImage (an InputError) naming the file."""
        ...


class FrameFiles:
    """Frames decoded from their files every time."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __getitem__(self, index: int) -> Image:
        return cv2.cvtColor(read_bgr(self.paths[index]).bgr, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


class CachedFrames:
    """Frames of `side` x `side` pixels, decoded when first asked for and kept."""

    def __init__(self, files: FrameFiles, side: int) -> None:
        self._files = files
        n_frames, n_bytes = len(files.paths), frame_bytes(files, side)
        memory = mmap.mmap(-1, n_bytes + n_frames)  # taken from the system page by page, as frames come in
        self._frames = np.frombuffer(memory, np.uint8, n_bytes).reshape(n_frames, side, side, 3)
        self._known = np.frombuffer(memory, np.uint8, n_frames, offset=n_bytes)

    def __getitem__(self, index: int) -> Image:
        if not self._known[index]:
            # Two processes may do this at once: both write the same bytes, and the mark is set when they are there.
            self._frames[index] = self._files[index]
            self._known[index] = 1
        return self._frames[index]

    def __reduce__(self) -> tuple[type[FrameFiles], tuple[Sequence[Path]]]:
        """Travel to a spawned process, which cannot share the memory, as a plain reader of the files."""
        return FrameFiles, (self._files.paths,)


def open_frames(mode: Literal["auto", "ram", "none"], sets: Sequence[tuple[Sequence[Path], int]]) -> list[Frames]:
    """Return the frames of several sets of (paths, side in pixels), all cached or none, as `mode` (run.cache) says."""
    files = [FrameFiles(paths) for paths, _ in sets]
    needed = sum(frame_bytes(each, side) for each, (_, side) in zip(files, sets, strict=True))
    if mode == "none" or (mode == "auto" and needed * AUTO_SHARE > free_memory()):
        return list(files)
    return [CachedFrames(each, side) for each, (_, side) in zip(files, sets, strict=True)]


def frame_bytes(files: FrameFiles, side: int) -> int:
    """Return the bytes that all frames take when decoded."""
    return 3 * side * side * len(files.paths)


def free_memory() -> int:
    """Return the bytes that may still be taken, by the system's and the container's count; 0 where neither is known."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return 0
    fields = dict(line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines())
    available = int(fields.get("MemAvailable", "0 kB").split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file():
        most, taken = (path.read_text(encoding="utf-8").strip() for path in (limit, used))
        if most != "max":
            available = min(available, max(int(most) - int(taken), 0))
    return available
