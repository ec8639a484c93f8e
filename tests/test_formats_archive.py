"""Zip archives as raw sets: what is unpacked, what is refused with its entry named, and that nothing is left then."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import time
import unicodedata
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_utils.errors import InputError, ResumableError
from data_utils.formats import archive as archive_module
from data_utils.formats.archive import LEFTOVER, ArchiveLimits, is_archive, open_raw, unpack, unpacked

GOOD = {"images/ä b.jpg": b"picture", "labels/ä b.txt": b"0 0.5 0.5 0.1 0.1\n", "top.txt": b""}


def make_zip(path: Path, entries: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    pairs = list(entries.items()) if isinstance(entries, dict) else entries
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in pairs:
            zipped.writestr(name, data)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def refusal(archive: Path, limits: ArchiveLimits = archive_module.LIMITS) -> str:
    """Return the message of the refusal, having checked that nothing was left behind."""
    target = archive.parent / "cache" / "set"
    with pytest.raises(InputError) as error:
        unpack(archive, target, limits)
    assert list(target.parent.iterdir()) == []
    assert str(archive) in str(error.value)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_in_it_comes_out(tmp_path: Path) -> None:
    macos = {"__MACOSX/._a.jpg": b"x", "images/.DS_Store": b"x"}
    archive = make_zip(tmp_path / "a set.ZIP", {"empty folder/": b"", "./dotted/a.txt": b"1", **GOOD, **macos})
    folder = unpack(archive, tmp_path / "new" / "set")
    assert files(folder) == {"dotted/a.txt": b"1", **GOOD}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["set"]
    with pytest.raises(InputError, match="exists already"):
        unpack(archive, folder)


def test_the_content_decides_whether_work_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "set.zip", GOOD)
    first = unpacked(archive, tmp_path / "cache")
    assert first.parent == tmp_path / "cache"
    assert first.name.startswith("set-")
    with monkeypatch.context() as patch:
        patch.setattr(archive_module, "unpack", lambda *_: pytest.fail("unpacked again"))
        assert unpacked(archive, tmp_path / "cache") == first
    make_zip(archive, {**GOOD, "top.txt": b"changed"})
    second = unpacked(archive, tmp_path / "cache")
    assert second != first
    assert files(second)["top.txt"] == b"changed"


def test_open_raw_takes_folders_and_archives(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "set.zip", GOOD)
    unnamed = make_zip(tmp_path / "download", GOOD)
    other = tmp_path / "notes.txt"
    other.write_text("no archive")
    assert [is_archive(path) for path in (archive, unnamed, other, tmp_path)] == [True, True, False, False]
    assert open_raw(tmp_path, tmp_path / "cache") == tmp_path
    assert open_raw(tmp_path / "absent", tmp_path / "cache") == tmp_path / "absent"
    assert not (tmp_path / "cache").exists()
    assert files(open_raw(archive, tmp_path / "cache")) == files(open_raw(unnamed, tmp_path / "cache")) == GOOD
    with pytest.raises(InputError, match="neither a folder nor a zip"):
        open_raw(other, tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../out.txt", "leads out"), ("a/../../out.txt", "leads out"), ("a/..", "leads out"), ("/etc/x", "leads out"),
        ("C:/x.txt", "leads out"), ("c:x.txt", "leads out"), ("..\\out.txt", "backslash"), ("a\\b.txt", "backslash"),
        ("C:\\x.txt", "leads out"), ("a\nb.txt", "control character"), ("n" * 256, "too long"),
        ("/".join(["folder"] * 200), "too long"),
    ],
)  # fmt: skip
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str, why: str) -> None:
    message = refusal(make_zip(tmp_path / "a.zip", {**GOOD, name: b"x"}))
    assert why in message
    assert f"entry '{name.replace(chr(10), '?')[:200]}" in message
    assert not (tmp_path / "out.txt").exists()
    assert not (tmp_path / "cache" / "out.txt").exists()


def test_a_zero_byte_in_a_name_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"picture.jpgZ.txt": b"x"})
    archive.write_bytes(archive.read_bytes().replace(b".jpgZ", b".jpg\0"))
    assert "control character" in refusal(archive)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    archive = make_zip(tmp_path / "a.zip", [("a.txt", b""), (entry("link", kind | 0o644), b"/etc/passwd")])
    assert "entry 'link': a link or device" in refusal(archive)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.txt", "a.txt"), ("a.txt", "A.TXT"), ("x/Ä.txt", "X/ä.txt"), ("a.txt", "./a.txt"), ("a", "a/b.txt"),
        ("A/b.txt", "a"), (unicodedata.normalize("NFC", "é.txt"), unicodedata.normalize("NFD", "é.txt")),
    ],
)  # fmt: skip
def test_entries_that_overwrite_each_other_are_refused(tmp_path: Path, first: str, second: str) -> None:
    message = refusal(make_zip(tmp_path / "a.zip", [(first, b"1"), (second, b"2")]))
    assert "would overwrite" in message or "the folder of" in message


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"secret.txt": b"x"})
    data = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    archive.write_bytes(data)
    assert "entry 'secret.txt': encrypted" in refusal(archive)


def test_other_ways_of_packing_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as zipped:
        zipped.writestr("a.txt", b"x" * 1000)
    assert "method 14" in refusal(tmp_path / "a.zip")


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    bomb = make_zip(tmp_path / "bomb.zip", {"zeros": b"\0" * 3_000_000})
    started = time.monotonic()
    assert "unpacks to 3000000 bytes, over 100 times" in refusal(bomb, ArchiveLimits(ratio_from=1_000_000))
    assert "more than 2000000" in refusal(bomb, ArchiveLimits(max_bytes=2_000_000))
    assert "2 entries, at most 1" in refusal(make_zip(tmp_path / "b.zip", {"a": b"", "b": b""}), ArchiveLimits(1))
    # The default limits, with a size that is only claimed: nothing is unpacked to find out.
    data = bytearray(bomb.read_bytes())
    start = data.index(b"PK\x01\x02") + 24
    data[start : start + 4] = struct.pack("<L", 0xFFFFFFF0)
    bomb.write_bytes(data)
    assert "times its own size" in refusal(bomb)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("declared", [10, 4_000_000])
def test_sizes_that_lie_are_found_while_unpacking(tmp_path: Path, declared: int) -> None:
    archive = make_zip(tmp_path / "a.zip", {"zeros": b"\0" * 3_000_000})
    data = bytearray(archive.read_bytes())
    start = data.index(b"PK\x01\x02") + 24
    data[start : start + 4] = struct.pack("<L", declared)
    archive.write_bytes(data)
    assert "entry 'zeros'" in refusal(archive)


def test_what_is_written_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the library would hand out more than an entry declares."""
    archive = make_zip(tmp_path / "a.zip", {"a.txt": b"abc"})
    written = []

    def endless(*_: object):
        while True:
            written.append(1)
            yield b"x"

    monkeypatch.setattr(archive_module, "_chunks", endless)
    assert "other than the 3 bytes" in refusal(archive)
    assert len(written) == 4


def test_damage_is_named_with_its_entry(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a.bin": os.urandom(5000), "b.bin": os.urandom(5000)})
    data = bytearray(archive.read_bytes())
    data[data.index(b"b.bin") + 100] ^= 0xFF
    archive.write_bytes(data)
    assert "entry 'b.bin': damaged" in refusal(archive)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip archive" * 50])
def test_no_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    assert "not a readable zip archive" in refusal(path)


def test_an_archive_without_files(tmp_path: Path) -> None:
    assert "holds no files" in refusal(make_zip(tmp_path / "a.zip", {"folder/": b"", "__MACOSX/x": b""}))


def test_no_room_is_found_before_work_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a.bin": b"12345"})
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 4}))
    with pytest.raises(ResumableError, match="unpacks to 5 bytes, 4 are free"):
        unpack(archive, tmp_path / "cache" / "set")
    assert list((tmp_path / "cache").iterdir()) == []


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    # Beyond the largest process number there is, and one that runs.
    gone, running = tmp_path / f"{LEFTOVER}4194999-set", tmp_path / f"{LEFTOVER}{os.getppid()}-set"
    for folder in (gone, running):
        folder.mkdir()
        (folder / "a.txt").write_text("half")
    unpack(make_zip(tmp_path / "a.zip", GOOD), tmp_path / "set")
    assert (gone.exists(), running.exists()) == (False, True)


@given(
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 3000),
    junk=st.binary(max_size=30),
)
@settings(max_examples=150, deadline=None)
def test_random_edits_raise_input_errors_only(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]], cut: int, junk: bytes
) -> None:
    folder = tmp_path_factory.mktemp("random zip")
    archive = make_zip(folder / "a.zip", {**GOOD, "c.txt": b"0 0.5 0.5 0.1 0.1\n" * 50})
    data = bytearray(archive.read_bytes())
    for position, value in edits:
        data[position % len(data)] = value
    archive.write_bytes(bytes(data)[: max(len(data) - cut, 0) if cut > 2500 else len(data)] + junk)
    with contextlib.suppress(InputError):
        unpack(archive, folder / "cache" / "set")
    left = {path.name for path in (folder / "cache").iterdir()}
    assert left <= {"set"}
    assert {path.name for path in folder.iterdir()} == {"a.zip", "cache"}
