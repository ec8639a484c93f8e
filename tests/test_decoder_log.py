"""What decoders print is caught, what others print is passed on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from image_samples import JPEG

from data_utils.imaging.images import UnreadableImage, captured_stderr, decode_bgr


def test_foreign_lines_on_stderr_are_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_stderr() as lines:
        os.write(2, b"Corrupt JPEG data: bad Huffman code\nepoch 3 done\n")
    assert lines == ["Corrupt JPEG data: bad Huffman code"]
    assert capfd.readouterr().err == "epoch 3 done\n"


def test_an_exception_inside_the_capture_restores_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), captured_stderr():
        raise RuntimeError
    os.write(2, b"still here\n")
    assert capfd.readouterr().err == "still here\n"


def test_threads_do_not_blame_each_other(tmp_path: Path) -> None:
    damaged = JPEG[: len(JPEG) // 2] + b"\xff\xd9"
    wrong: list[str] = []

    def work(data: bytes, is_damaged: bool) -> None:
        for _ in range(25):
            try:
                decode_bgr(data, "frame")
                refused = False
            except UnreadableImage:
                refused = True
            if refused != is_damaged:
                wrong.append("damaged" if is_damaged else "whole")

    threads = [threading.Thread(target=work, args=case) for case in [(JPEG, False), (damaged, True)] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_closed_stderr_does_no_harm(tmp_path: Path, repo_root: Path) -> None:
    (tmp_path / "damaged.jpg").write_bytes(JPEG[: len(JPEG) // 2] + b"\xff\xd9")
    code = (
        "import os, sys; os.close(2); sys.stderr = None\n"
        "from data_utils.imaging.images import UnreadableImage, read_bgr\n"
        "try:\n    read_bgr(sys.argv[1])\nexcept UnreadableImage as error:\n    print(error)\n"
        "try:\n    os.fstat(2)\nexcept OSError:\n    print('still closed')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "damaged.jpg")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repo_root, timeout=60)
    assert done.returncode == 0
    assert "damaged JPEG image" in done.stdout
    assert done.stdout.endswith("still closed\n")


def test_more_than_a_pipe_holds_does_not_block() -> None:
    with captured_stderr() as lines:
        for _ in range(5000):
            try:
                os.write(2, b"Corrupt JPEG data: premature end of data segment\n")
            except BlockingIOError:
                break
    assert len(lines) > 100
