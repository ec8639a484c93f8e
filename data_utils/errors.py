"""What a command tells its user when something goes wrong, and the exit code it ends with."""

from __future__ import annotations

import difflib
import errno
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Self

NEAR = 0.6  # likeness, 0 to 1, from which a word is taken for a typo of another
NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EPERM)
BAD_PATH = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOENT)
EXAMPLES = 5  # of one cause, and causes, that a message spells out
# What sets two problems of one cause apart: names in quotes, paths, numbers. Kept: a class, a key, a code point.
_PARTICULAR = re.compile(
    r"""(?P<kept>class\ (?:'[^']*'|"[^"]*") | '[^']*'\ must | U\+[0-9A-F]+)
    | (?P<name>'[^']*' | "[^"]*" | [^\s'"(]*[/\\][^\s'",;)]*) | -?\d[\d.]*(?:e[+-]?\d+)?""",
    re.VERBOSE,
)
EXIT_OK, EXIT_FAULT, EXIT_BAD_INPUT, EXIT_RESUMABLE, EXIT_INTERRUPTED, EXIT_TERMINATED = 0, 1, 2, 75, 130, 143


class InputError(ValueError):
    """Bad input or usage: the message says where (file:line or key), what, and how to mend it. Exit code 2."""


class MissingFile(InputError):
    """A file that the user has to bring is not there; `file` is where it is expected."""

    def __init__(self, message: str, file: str) -> None:
        super().__init__(message)
        self.file = file


class ResumableError(RuntimeError):
    """The work stopped, lost nothing that was saved, and can go on; the message says how. Exit code 75."""

    exit_code = EXIT_RESUMABLE


class InterruptedRun(ResumableError):
    """A signal stopped the work, losing nothing that was saved; `exit_code` is 130 (SIGINT) or 143 (SIGTERM)."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass
class _Cause:
    first: str
    names: list[str]
    count: int = 0
    others: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.count == 1:
            return self.first
        return f"{self.first} ({self.count} such, also {', '.join(self.others)}{', ...' * (self.count > EXAMPLES)})"


class Causes:
    """Problems told by their cause: each once, with its count and at most EXAMPLES places.

    A message says "place: what". Two whose `what` differ by names in quotes, paths and numbers alone have one cause.
    """

    def __init__(self, messages: Iterable[str] = ()) -> None:
        self.n_problems = 0
        self._causes: dict[str, _Cause] = {}
        for message in messages:
            self.add(message)

    def add(self, message: str) -> None:
        """Count one problem; beyond EXAMPLES causes, a new one is counted alone."""
        self.n_problems += 1
        place, colon, what = message.partition(": ")
        names: list[str] = []

        def general(match: re.Match[str]) -> str:
            names.extend(filter(None, [match["name"]]))
            return match["kept"] or "#"

        key = _PARTICULAR.sub(general, what if colon else place)
        if key not in self._causes and len(self._causes) == EXAMPLES:
            return
        cause = self._causes.setdefault(key, _Cause(message, names))
        cause.count += 1
        if 1 < cause.count <= EXAMPLES:
            cause.others.append(" ".join([place, *(name for name in names if name not in cause.names)]))

    def texts(self) -> list[str]:
        """Return a text for each cause, in the order they were met."""
        return [str(cause) for cause in self._causes.values()]

    @property
    def n_untold(self) -> int:
        """How many problems no text stands for."""
        return self.n_problems - sum(cause.count for cause in self._causes.values())

    def __str__(self) -> str:
        more = f" (and {self.n_untold} more problems)" if self.n_untold else ""
        return "; ".join(self.texts()) + more


def run_command(main: Callable[[], int | None]) -> None:
    """Run `main` and leave the process: one line on stderr for bad input, a traceback only for our own faults."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal or pipe without unicode shows \xfc, no traceback
    try:
        code = main() or EXIT_OK
        sys.stdout.flush()  # here, so that a closed pipe is met below and not while Python shuts down
    except InputError as error:
        code = _complain(error, EXIT_BAD_INPUT)
    except ResumableError as error:
        code = _complain(error, error.exit_code)
    except KeyboardInterrupt:
        code = _complain("interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (`head`, a pager) went away: not an error, but stdout can no longer be flushed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = EXIT_OK
    except OSError as error:
        place = error.filename2 or error.filename or "output"  # the second is the target of a rename
        if error.errno in NO_ROOM:
            code = _complain(f"{place}: {error.strerror}; free or change the folder and run again", EXIT_RESUMABLE)
        elif error.errno in BAD_PATH:
            code = _complain(f"{place}: {error.strerror}; change the path, or move what is in the way", EXIT_BAD_INPUT)
        else:
            raise
    sys.exit(code)


def _complain(message: object, code: int) -> int:
    print("error:", " ".join(str(message).splitlines()), file=sys.stderr)
    return code


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a typo most likely meant, whatever its case; None where nothing is near."""
    by_letters = {each.casefold(): each for each in reversed(list(known))}
    near = difflib.get_close_matches(name[:80].casefold(), by_letters, n=1, cutoff=NEAR)
    return by_letters[near[0]] if near else None


# Stopping at the edge of a frame or a batch, so that what is being written can be finished.


class StopSignal:
    """Within this block the first Ctrl-C or SIGTERM only sets `number`; a second one stops hard."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers there alone
            self._previous = {number: signal.signal(number, self._raised) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def __bool__(self) -> bool:
        return self.number is not None

    def _raised(self, number: int, _frame: FrameType | None) -> None:
        self.number = number
        self.__exit__()
