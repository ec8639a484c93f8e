"""Zip archives as raw sets: checked, then unpacked into a cache folder named by the archive's content.

The whole list of entries is judged before a byte is written, and what is written is counted, so that an archive which
lies about its sizes is found too. A folder in the cache is complete: it is filled under another name, then renamed.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_utils.errors import InputError, ResumableError
from data_utils.formats.labels import breaks_line
from data_utils.imaging.images import file_hash

CHUNK_BYTES = 1 << 20
MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 1000  # what file systems take
LEFTOVER = ".unpacking-"
LITTER_FOLDER, LITTER_FILE = "__MACOSX", ".DS_Store"  # macOS leaves these in every archive
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_DRIVE = re.compile(r"[A-Za-z]:")
# What Python's zipfile raises on damaged archives.
_DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError, OverflowError, LookupError)


@dataclass(frozen=True)
class ArchiveLimits:
    """Beyond these an archive is refused. max_ratio: unpacked over packed bytes, judged above ratio_from bytes."""

    max_entries: int = 500_000
    max_bytes: int = 1 << 38  # 256 GiB
    max_ratio: int = 100  # pictures shrink hardly, label files tenfold
    ratio_from: int = 1 << 28


LIMITS = ArchiveLimits()


def is_archive(path: str | Path) -> bool:
    """Whether `path` is a file that is a zip archive, or is named like one."""
    path = Path(path)
    return path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path))


def open_raw(raw: str | Path, cache: str | Path) -> Path:
    """Return the folder of a raw set: `raw` itself, or, for a zip archive, its copy unpacked below `cache`.

    A path that does not exist is returned as it is. Raises InputError for a file that is no archive, and as `unpack`.
    """
    raw = Path(raw)
    if not raw.is_file():
        return raw
    if not is_archive(raw):
        raise InputError(f"{raw}: neither a folder nor a zip archive; unpack it, or set dataset.raw to its folder")
    return unpacked(raw, cache)


def unpacked(archive: str | Path, cache_folder: str | Path) -> Path:
    """Return cache_folder/<name>-<hash of the archive's bytes>, unpacking into it if it is not there yet."""
    archive = Path(archive)
    try:
        digest = file_hash(archive)[:12]
    except OSError as error:
        raise InputError(f"{archive}: cannot be read ({error.strerror or error})") from None
    target = Path(cache_folder) / f"{archive.stem[:60]}-{digest}"
    return target if target.is_dir() else unpack(archive, target)


def unpack(archive: str | Path, target: str | Path, limits: ArchiveLimits = LIMITS) -> Path:
    """Unpack a zip archive into the new folder `target`, whole or not at all, and return it.

    Raises InputError, naming archive and entry, for what is no archive, damaged, encrypted, too large or too tightly
    packed; for an entry that is a link or device, whose path leads out of the folder (`..`, absolute, a drive,
    backslashes), or that would overwrite another, also where case does not count; for a `target` that is there already.
    ResumableError where the disk has no room.
    """
    archive, target = Path(archive), Path(target)
    if target.exists():
        raise InputError(f"{target}: exists already; remove it, or unpack {archive} somewhere else")
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target.parent)
    temporary = target.parent / f"{LEFTOVER}{os.getpid()}-{target.name[-20:]}"  # short: the names inside may be long
    try:
        with _opened(archive) as zipped:
            entries = _checked_entries(archive, zipped, limits)
            _check_room(archive, entries, target.parent)
            temporary.mkdir()
            for path, info in entries.items():
                _write_entry(archive, zipped, info, temporary / path)
        return _renamed(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _opened(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except (*_DAMAGE, OSError) as error:
        raise InputError(f"{archive}: not a readable zip archive ({error}); download or export it again") from None


def _checked_entries(archive: Path, zipped: zipfile.ZipFile, limits: ArchiveLimits) -> dict[str, zipfile.ZipInfo]:
    """Return {path below the target: entry} of the files, all of them harmless."""
    infos = zipped.infolist()
    if len(infos) > limits.max_entries:
        raise InputError(f"{archive}: {len(infos)} entries, at most {limits.max_entries} are taken; split it")
    entries: dict[str, zipfile.ZipInfo] = {}
    owners: dict[str, str] = {}  # spelling without case -> path of a file
    folders: dict[str, str] = {}  # spelling without case -> path of a file in that folder
    for info in infos:
        parts = [part for part in info.orig_filename.split("/") if part not in ("", ".")]
        if LITTER_FOLDER in parts[:1] or parts[-1:] == [LITTER_FILE]:
            continue
        wrong = _what_is_wrong(info, parts)
        if wrong is not None:
            raise InputError(f"{archive}: entry {_shown(info.orig_filename)}: {wrong}")
        if info.is_dir():
            continue  # made with the files in it
        path = "/".join(parts)
        key = _key(path)
        other = owners.setdefault(key, path)
        if path in entries or other != path:
            raise InputError(f"{archive}: entry {_shown(path)}: would overwrite {_shown(other)}; rename one")
        entries[path] = info
        for end in range(1, len(parts)):
            folders.setdefault(_key("/".join(parts[:end])), path)
    for key in owners.keys() & folders.keys():
        raise InputError(f"{archive}: entry {_shown(owners[key])}: a file, and the folder of {_shown(folders[key])}")
    if not entries:
        raise InputError(f"{archive}: holds no files; export it again")
    _check_sizes(archive, entries, limits)
    return entries


def _what_is_wrong(info: zipfile.ZipInfo, parts: list[str]) -> str | None:
    name = info.orig_filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    path_bytes = [part.encode("utf-8", "surrogatepass") for part in parts]
    long = max(map(len, path_bytes), default=0) > MAX_NAME_BYTES or sum(map(len, path_bytes)) > MAX_PATH_BYTES
    if name.startswith("/") or _DRIVE.match(name) or ".." in parts:
        return "its path leads out of the folder; zip the folder itself, with relative paths"
    if "\\" in name:
        return "a backslash in its path, as some tools on Windows write; unpack it and give the folder, or zip it anew"
    if not parts or any(map(breaks_line, name)) or long:
        return "its name is empty, too long, or holds a control character; rename it"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or device, no file; zip the files themselves"
    if info.flag_bits & 1:
        return "encrypted; zip it without a password"
    if info.compress_type not in METHODS:
        return f"packed with method {info.compress_type}, only stored and deflated are taken; zip it again"
    return None


def _check_sizes(archive: Path, entries: dict[str, zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    total = sum(info.file_size for info in entries.values())
    largest = max(entries.values(), key=lambda info: info.file_size)
    if total > limits.max_bytes:
        raise InputError(f"{archive}: unpacks to {total} bytes, more than {limits.max_bytes}, most of it entry "
                         f"{_shown(largest.orig_filename)}; split it")  # fmt: skip
    if total > limits.ratio_from and total > limits.max_ratio * archive.stat().st_size:
        raise InputError(f"{archive}: unpacks to {total} bytes, over {limits.max_ratio} times its own size, most of it "
                         f"entry {_shown(largest.orig_filename)}: a zip bomb? unpack it by hand if not")  # fmt: skip


def _check_room(archive: Path, entries: dict[str, zipfile.ZipInfo], folder: Path) -> None:
    needed, free = sum(info.file_size for info in entries.values()), shutil.disk_usage(folder).free
    if needed > free:
        raise ResumableError(f"{folder}: {archive} unpacks to {needed} bytes, {free} are free; make room and run again")


def _write_entry(archive: Path, zipped: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    n_bytes = 0
    with path.open("xb") as file:
        for chunk in _chunks(archive, zipped, info):
            n_bytes += len(chunk)
            if n_bytes > info.file_size:
                break
            file.write(chunk)
    if n_bytes != info.file_size:
        raise InputError(f"{archive}: entry {_shown(info.orig_filename)}: unpacks to other than the {info.file_size} "
                         "bytes it declares; download or export it again")  # fmt: skip


def _chunks(archive: Path, zipped: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with zipped.open(info) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except (*_DAMAGE, OSError) as error:
        raise InputError(f"{archive}: entry {_shown(info.orig_filename)}: damaged ({error}); download or export it "
                         "again") from None  # fmt: skip


def _renamed(temporary: Path, target: Path) -> Path:
    try:
        temporary.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was faster, with the same content
            raise
    return target


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed runs left; one that still works is left alone."""
    for path in folder.glob(f"{LEFTOVER}*"):
        process = path.name.removeprefix(LEFTOVER).partition("-")[0]
        if process.isdigit() and not _is_running(int(process)):
            shutil.rmtree(path, ignore_errors=True)


def _is_running(process: int) -> bool:
    if os.name == "nt":
        return True  # cannot be asked there: signal 0 would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def _shown(name: str) -> str:
    return "'" + "".join("?" if breaks_line(char) else char for char in name[:200]) + "'"
