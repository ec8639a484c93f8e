"""What is checked about the output folders: not the source, writable, room enough, ours alone, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from data_utils.config_sections import Config
from data_utils.dataset_section import DatasetSection
from data_utils.errors import InputError, ResumableError

COPY_FOLDERS = (Path("lr/images"), Path("lr/labels"), Path("lr/crowd"), Path("hr/images"))  # below dataset.processed
# Low estimates, in bytes a pixel: they catch a disk that cannot do, and never refuse one that can.
LEAST_BYTES_PER_PIXEL = {"jpg": 0.05, "png": 0.3}


def check_outputs_outside_raw(dataset: DatasetSection) -> None:
    """Raise InputError if anything would be written into the raw folder, which is read-only for us."""
    raw = _real(dataset.raw)
    processed = Path(dataset.processed)
    outputs = {
        "dataset.processed": (processed, *(processed / folder for folder in COPY_FOLDERS)),  # each may be a link
        "dataset.splits": (Path(dataset.splits),),
        "dataset.filter_log": (Path(dataset.filter_log),),
    }
    for key, paths in outputs.items():
        for path in paths:
            if _real(path).is_relative_to(raw):
                raise InputError(
                    f"{key} = {path} lies in the source folder {raw}, which is never written; change {key}"
                )
    for path in (processed / "lr", processed / "hr"):
        if raw.is_relative_to(_real(path)):
            raise InputError(f"dataset.raw = {raw} lies in the output folder {path}; change dataset.processed")


def _real(path: str | Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve() raises on a circle of links


def make_writable(folder: Path) -> None:
    """Make a folder and write a byte into it. Raises InputError for a path that is a file, else ResumableError."""
    probe = folder / f".tmp-probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0")
        probe.unlink()
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{folder}: a file is in the way of this output folder; move it or change the path") from None
    except OSError as error:
        raise ResumableError(
            f"{folder}: cannot be written ({error.strerror}); free the folder or choose another, and run again"
        ) from None


def check_room(config: Config, n_frames: int) -> None:
    """Raise ResumableError if the disk surely cannot hold the copies of `n_frames` more frames."""
    dataset = config.dataset
    pixels = config.imgsz_lr**2 + config.imgsz_hr**2
    needed = n_frames * pixels * LEAST_BYTES_PER_PIXEL[dataset.image_format]
    free = shutil.disk_usage(dataset.processed).free
    if free < needed:
        raise ResumableError(
            f"{dataset.processed}: {free / 1e9:.2f} GB free, but {n_frames} frames need {needed / 1e9:.2f} GB or more; "
            "free some space or change dataset.processed, and run again"
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone, where the system can; the lock ends with the process, whatever happens.

    Raises InputError when another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two runs at once are then the user's to avoid
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InputError(f"{folder}: another `prepare` is at work here; wait for it, or stop it") from None
    except OSError:  # a network file system without locks
        pass
    try:
        yield
    finally:
        os.close(handle)


def remove_leftovers(processed: Path) -> None:
    """Remove the temporary files that killed runs left in a locked folder; the raw set may lie below it."""
    for folder in (processed, *(processed / folder for folder in COPY_FOLDERS)):
        for path in sorted(folder.glob(".tmp-*")):
            path.unlink(missing_ok=True)


def strangers(processed: Path, stems: set[str]) -> list[Path]:
    """Return the files among the copies that belong to none of `stems`: nobody's, or put there by hand."""
    folders = [processed / folder for folder in COPY_FOLDERS]
    return sorted(path for folder in folders if folder.is_dir() for path in folder.iterdir() if path.stem not in stems)
