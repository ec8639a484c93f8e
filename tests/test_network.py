"""Network streams, on loopback: an HTTP server that serves a clip whole, in parts, never, or not at all.

RTSP needs a server of its own and is not tested; it goes the same way through FFmpeg.
"""

from __future__ import annotations

import http.server
import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from test_predictor import FakeBackend, raw_of

from data_utils.errors import InputError, InterruptedRun
from deployment import network
from deployment.inference import InferenceRun, find_sources
from deployment.network import NetworkReader, shown_address
from deployment.outputs import DetectionFiles
from models.predictor import Predictor

N_FRAMES, RATE = 50, 25


def clip(path: Path) -> Path:
    with av.open(str(path), "w", options={"movflags": "+faststart"} if path.suffix == ".mp4" else {}) as container:
        stream: Any = container.add_stream("libx264", rate=RATE, options={"g": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(N_FRAMES):
            noise = np.random.default_rng(index).integers(0, 255, (48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="bgr24")))
        container.mux(stream.encode(None))
    return path


class Handler(http.server.BaseHTTPRequestHandler):
    """/whole/NAME, /cut/NAME (half of the first request's answer), /once/NAME (then 503); anything else is 404."""

    folder: Path
    served: dict[str, int]

    def do_GET(self) -> None:
        _, how, name = self.path.split("?")[0].split("/")
        count = self.served[how] = self.served.get(how, 0) + 1
        if how == "lost":
            self.send_error(404)
            return
        if how == "once" and count > 1:
            self.send_error(503)
            return
        content = (self.folder / name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        short = how == "once" or (how == "cut" and count == 1)
        self.wfile.write(content[: len(content) // 2] if short else content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(network, "WAITS", (0.01, 0.01))
    monkeypatch.setattr(network, "ANSWER_SECONDS", 2.0)
    (tmp_path / "served").mkdir()
    for name in ("clip.ts", "clip.mp4"):
        clip(tmp_path / "served" / name)
    handler = type("Bound", (Handler,), {"folder": tmp_path / "served", "served": {}})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()


@pytest.mark.parametrize("name", ["clip.ts", "clip.mp4"])
def test_a_clip_over_http_gives_all_its_frames_at_its_times(server: str, name: str) -> None:
    with NetworkReader(f"{server}/whole/{name}") as reader:
        times = [float(frame.pts * reader.time_base) for frame in reader]
    assert times == pytest.approx([k / RATE for k in range(N_FRAMES)], abs=1e-3)
    assert not reader.counts


@pytest.mark.parametrize("how", ["cut", "once"])
def test_a_lost_connection_is_taken_up_again_or_said_to_be_lost(server: str, how: str) -> None:
    with NetworkReader(f"{server}/{how}/clip.ts") as reader:
        frames = list(reader)
    pts = [frame.pts for frame in frames]
    assert pts == sorted(set(pts))
    told = " ".join(reader.counts)
    if how == "cut":
        assert len(frames) == N_FRAMES  # what was seen is passed over
        assert "connection lost and taken up again" in told
    else:
        assert 0 < len(frames) < N_FRAMES
        assert "lost for good" in told


def test_a_run_over_http_writes_a_whole_file_and_no_secret(server: str, tmp_path: Path) -> None:
    predictor, out = Predictor(FakeBackend(raw_of((32, 32, 32, 32, 0.87)))), tmp_path / "out"
    files = DetectionFiles(out, ("lesion",), text=True, json=True)
    summary = InferenceRun(predictor, out, files=files).run(find_sources(f"{server}/whole/clip.ts?token=secret"))
    (video,) = out.glob("*.mp4")
    with av.open(str(video)) as container:
        assert sum(1 for _ in container.decode(video=0)) == N_FRAMES
    assert files.json_path is not None
    lines = [json.loads(line) for line in files.json_path.read_text().splitlines()]
    assert len(lines) == N_FRAMES
    assert lines[0]["source"].endswith("/whole/clip.ts")
    everything = [files.json_path.read_text(), *summary.lines(), *(str(path) for path in out.rglob("*"))]
    assert not any("secret" in text or "user" in text for text in everything)


def test_ctrl_c_leaves_a_playable_file(server: str, tmp_path: Path) -> None:
    class Interrupting(FakeBackend):
        n = 0

        def __call__(self, images: Any) -> Any:
            self.n += 1
            if self.n == 5:
                signal.raise_signal(signal.SIGINT)
            return super().__call__(images)

    backend = Interrupting(raw_of((32, 32, 32, 32, 0.87)))
    backend.parallel = 1
    with pytest.raises(InterruptedRun, match="whole up to there"):
        InferenceRun(Predictor(backend), tmp_path / "out").run(find_sources(f"{server}/whole/clip.ts"))
    (video,) = (tmp_path / "out").glob("*.mp4")
    with av.open(str(video)) as container:
        assert 0 < sum(1 for _ in container.decode(video=0)) < N_FRAMES


def test_what_cannot_be_opened_is_one_line_without_the_secret(server: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and never answers
        addresses = [f"{server}/lost/clip.ts", f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}/a.ts",
                     "rtsp://user:secret@127.0.0.1:9/a", "ftp://user:secret@127.0.0.1/a"]  # fmt: skip
        for address in addresses:
            with pytest.raises(InputError, match=r"^--source [a-z]+://127\.0\.0\.1") as caught:
                NetworkReader(address)
            assert "secret" not in str(caught.value)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://user:p%40ss@host:554/live/1?key=x#y", "rtsp://host:554/live/1"),
        ("rtsp://user:p@ss@host/live", "rtsp://host/live"),
        ("rtsp://user:p/ss@host/live", "rtsp://host/live"),
        ("RTMP://host", "rtmp://host"),
    ],
)
def test_addresses_are_shown_without_secrets(address: str, shown: str) -> None:
    assert shown_address(address) == shown
