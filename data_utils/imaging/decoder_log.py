"""Catch what the C image decoders print.

libjpeg decodes damaged pixel data without complaint to its caller: the one sign is a line it prints on the process's
stderr. `captured_stderr` collects those lines, so that damage is noticed and the user's terminal stays clean.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator

PIPE_BYTES = 1 << 16
# What libjpeg, libpng, libtiff, libwebp and OpenCV's logger print; anything else belongs to somebody else.
_DECODER_LINE = re.compile(
    rb"^(\[ ?(WARN|ERROR|INFO|DEBUG)|lib(png|tiff|webp)|Corrupt JPEG|Premature end|Unsupported |Invalid |Inconsistent |"
    rb"Unknown Adobe|Warning: unknown JFIF|Application transferred|Bogus |TIFF|OpenCV)|^\s*$"
)
_locks: dict[int, threading.Lock] = {}  # by process: a lock inherited through fork could be held for ever


@contextlib.contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Collect the decoders' lines printed inside the block into the yielded list, filled when the block ends.

    File descriptor 2 belongs to the whole process, so blocks run one at a time: decode in several processes, not in
    several threads. Lines that are not a decoder's (a progress bar of another thread) are passed on afterwards.
    """
    lines: list[str] = []
    with _locks.setdefault(os.getpid(), threading.Lock()):
        reader, writer = os.pipe()
        # Never wait: not for room in a full pipe, nor for the end of a pipe that a forked child inherited.
        os.set_blocking(reader, False)
        os.set_blocking(writer, False)
        saved = _duplicate_stderr()
        os.dup2(writer, 2)
        os.close(writer)
        try:
            yield lines
        finally:
            if saved is None:
                os.close(2)
            else:
                os.dup2(saved, 2)
                os.close(saved)
            lines += _sort_out(_drain(reader), pass_on=saved is not None)
            os.close(reader)


def _duplicate_stderr() -> int | None:
    try:
        return os.dup(2)
    except OSError:
        return None  # a daemon may run with stderr closed


def _drain(reader: int) -> bytes:
    try:
        return os.read(reader, PIPE_BYTES)
    except BlockingIOError:
        return b""


def _sort_out(output: bytes, pass_on: bool) -> list[str]:
    if not output:
        return []
    ours, foreign = [], []
    for line in output.splitlines(keepends=True):
        (ours if _DECODER_LINE.match(line) else foreign).append(line)
    if foreign and pass_on:
        with contextlib.suppress(OSError):  # the user's terminal is gone
            os.write(2, b"".join(foreign))
    return [line.decode("utf-8", "replace").strip() for line in ours if line.strip()]
